"""Which adapter a transformers model computes with: PEFT's, loaded once, switched between answers, never merged."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from assistant.adapters import WEIGHTS_FILE, check_adapter
from assistant.engine import AdapterFiles
from assistant.loading import fetch_no_kernels
from memory.errors import ModelUnavailable

ADAPTERS_LOADED = 2
"""Versions kept in memory at once: the active one, and one that somebody compares it with."""


class Switch:
    """A model and the adapters in it. For one thread at a time.

    Args:
        model: from `assistant.loading.load`, without an adapter.
        model_id: for messages.
    """

    def __init__(self, model: Any, model_id: str) -> None:
        self.model = model
        self._model_id = model_id
        self._adapters: OrderedDict[str, str] = OrderedDict()

    def clear(self) -> None:
        """Leave no trace of an adapter in the model."""
        if self._adapters:
            self.model = self.model.unload()
            self._adapters.clear()

    def to(self, adapter: AdapterFiles | None) -> None:
        """Let `adapter` (None: the base) compute. Raises: ModelUnavailable; what was on before may be off then."""
        if adapter is None:
            if self._adapters:
                self.model.base_model.disable_adapter_layers()
            return
        # Only now: PEFT brings bitsandbytes, two seconds that a start without an adapter need not wait for.
        fetch_no_kernels()
        from peft import PeftModel
        from safetensors import SafetensorError

        # By its weights: two versions can have the same, and a candidate becomes a version.
        key = adapter.sha256
        name = self._adapters.get(key)
        if name is None:
            check_adapter(adapter)
            # A module name of torch's: no dots.
            name = f"adapter-{adapter.sha256[:16]}"
            try:
                if not self._adapters:
                    with_it = PeftModel.from_pretrained(self.model, str(adapter.path), adapter_name=name)
                else:
                    with_it = self.model
                    with_it.load_adapter(str(adapter.path), adapter_name=name)
                _all_in_place(with_it, adapter, name)
                self.model = with_it
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
                self._forget(name)
                text = str(error).strip().splitlines() or [type(error).__name__]
                raise ModelUnavailable(
                    f"adapter {adapter.version} does not go with {self._model_id} ({text[0]}):"
                    " roll back to another version, or to the base"
                ) from error
            self.model.eval()
            self._adapters[key] = name
        self._adapters.move_to_end(key)
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(name)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        while len(self._adapters) > ADAPTERS_LOADED:
            _, oldest = self._adapters.popitem(last=False)
            self.model.delete_adapter(oldest)

    def _forget(self, name: str) -> None:
        """Take out what a load that failed half-way may have left in the model."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        if self._adapters:
            if name in self.model.peft_config:
                self.model.delete_adapter(name)
            return
        for parent in list(self.model.modules()):
            for part, child in list(parent.named_children()):
                if isinstance(child, BaseTunerLayer):
                    setattr(parent, part, child.get_base_layer())
        if hasattr(self.model, "peft_config"):
            del self.model.peft_config


def _all_in_place(model: Any, adapter: AdapterFiles, name: str) -> None:
    """PEFT passes over what the model has no place for: half of an adapter would serve. Raises: ValueError."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter.path / WEIGHTS_FILE, "pt") as opened:
        wanted = {key for key in opened.keys() if ".lora_" in key}  # noqa: SIM118 - no mapping
    # Of embeddings there are none; asked for them, PEFT looks on the hub for a model by this one's name.
    placed = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    if strange := sorted(wanted - set(placed)):
        raise ValueError(f"it has no place for {strange[0]}")
