"""The engine in this process: transformers, bitsandbytes NF4 with double quantisation, LoRA adapters through PEFT.

One answer at a time, whoever asks first. The night trains and examines on the same class, so that what is examined is
what serves. It does not know where an adapter came from, only the hash it must have.

NF4 weights are held *packed* (4 bits, unpacked again in every product) or *unpacked* once into float: the very same
values either way, so the answers are the same. `auto` keeps them packed on a GPU and unpacks them on a CPU, where that
is up to three times faster.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistant import unpacked
from assistant.engine import AdapterFiles, Capabilities, FinishReason, Piece, Sampling
from assistant.models import ModelFiles, context_of, sha256_of
from assistant.prefix import key_values, may_share, shared
from assistant.rendering import read_tokenizer, render
from memory.errors import ModelUnavailable
from memory.records import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Weights = Literal["auto", "packed", "unpacked"]

WEIGHTS_FILE = "adapter_model.safetensors"
"""The file of an adapter folder whose sha256 is the adapter's."""

MANIFEST = "manifest.json"
"""The file of a published adapter's folder that holds the sha256 of each of the others."""

ADAPTERS_LOADED = 2
"""Versions kept in memory at once: the active one, and one that somebody compares it with."""


class GivenUp(Exception):
    """Who waited for the model no longer wants it."""


class LocalEngine:
    """An `Engine` over weights on this machine. Making one is cheap; `load` takes seconds and happens once.

    Args:
        files: from `assistant.models.resolve`.
        weights: see the module's text.
        copies: folder where unpacked weights are kept for the next start (see `assistant.unpacked`); None: nowhere.
    """

    def __init__(self, files: ModelFiles, *, weights: Weights = "auto", copies: Path | None = None) -> None:
        self.files = files
        self._weights: Weights = weights
        self._copies = copies
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._model: Any = None
        self._tokenizer: Any = None
        self._adapters: OrderedDict[str, str] = OrderedDict()

    @property
    def model_id(self) -> str:
        return self.files.model_id

    @property
    def capabilities(self) -> Capabilities:
        context = context_of(self.files.path)
        return Capabilities(adapters=True, seeds=True, counts_exactly=True, context=context, at_once=1)

    @property
    def ready(self) -> bool:
        return self._model is not None

    def admit(self, adapter: AdapterFiles) -> None:
        """See `Engine.admit`. No weights are loaded for it."""
        from assistant.fits import check_fit

        check_adapter(adapter)
        check_fit(adapter, self.files.path)

    def load(self) -> None:
        """Read, quantise and place the weights. Raises: ModelUnavailable."""
        with self._loading:
            if self._model is None:
                self._tokenizer, self._model = _load(self.files, self._weights, self._copies)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        self.load()
        return self._tokenizer

    @contextmanager
    def using(
        self, adapter: AdapterFiles | None, *, unless: threading.Event | None = None
    ) -> Iterator[PreTrainedModel]:
        """The model with `adapter` on (None: the base), for the caller alone until the block ends.

        Raises:
            ModelUnavailable: the adapter's weights are not the ones with its hash.
            GivenUp: `unless` was set while another caller had the model.
        """
        self.load()
        while not self._lock.acquire(timeout=0.05):
            if unless is not None and unless.is_set():
                raise GivenUp
        try:
            self._switch(adapter)
            yield self._model
        finally:
            self._lock.release()

    @contextmanager
    def base(self) -> Iterator[PreTrainedModel]:
        """The model without a trace of an adapter, for training one on it. What was loaded is dropped."""
        self.load()
        with self._lock:
            if self._adapters:
                self._model = self._model.unload()
                self._adapters.clear()
            yield self._model

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Iterator[Piece]:
        """See `Engine.generate`. The words are computed in a thread of their own and handed over as they come."""
        stream = _Stream(self.tokenizer, stop)
        worker = threading.Thread(target=self._answer, args=(prompt, sampling, adapter, stream), daemon=True)
        worker.start()
        try:
            yield from stream
        finally:
            stream.stop.set()
            worker.join()

    def _answer(
        self, prompt: Sequence[Message], sampling: Sampling, adapter: AdapterFiles | None, stream: _Stream
    ) -> None:
        import torch

        try:
            inputs = self.tokenizer(self.render(prompt), return_tensors="pt", add_special_tokens=False)
            with self.using(adapter, unless=stream.stop) as model, torch.inference_mode():
                stream.prompt_tokens = inputs["input_ids"].shape[1]
                if sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                chosen: dict[str, Any] = (
                    {} if sampling.greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p}
                )
                if not stream.stop.is_set():
                    model.generate(
                        **inputs.to(model.device),
                        max_new_tokens=sampling.max_tokens,
                        do_sample=not sampling.greedy,
                        eos_token_id=self.end_ids,
                        pad_token_id=self._tokenizer.pad_token_id,
                        streamer=stream,
                        stopping_criteria=[stream.should_stop],
                        **chosen,
                    )
            stream.finish(self.end_ids)
        except GivenUp:
            stream.finish([])
        except Exception as error:
            stream.fail(error)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None, batch: int = 32
    ) -> Iterator[tuple[int, str]]:
        """Greedy answers to many prompts, in batches of similar length: (place in `prompts`, answer), as they come."""
        ids = [self.tokens(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            answers = self._greedy([ids[i] for i in places], max_tokens=max_tokens, adapter=adapter)
            yield from zip(places, answers, strict=True)

    def _greedy(self, rows: Sequence[list[int]], *, max_tokens: int, adapter: AdapterFiles | None) -> list[str]:
        import torch

        longest = max(map(len, rows))
        may = may_share(self._model, longest + max_tokens)
        common = shared(rows, most=min(map(len, rows)) - 1) if may else 0
        # Padding stands behind what all rows share, so that all prompts end together.
        padding = [longest - len(row) for row in rows]
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([row[:common] + [pad] * n + row[common:] for row, n in zip(rows, padding, strict=True)])
        mask = torch.ones_like(ids)
        for i, n in enumerate(padding):
            mask[i, common : common + n] = 0
        with self.using(adapter) as model, torch.inference_mode():
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                past_key_values=key_values(model, ids[0, :common], len(rows)),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=self.end_ids,
                pad_token_id=pad,
            )
        texts = self._tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def tokens(self, prompt: Sequence[Message]) -> list[int]:
        """The token ids of a prompt as the model reads it."""
        found: list[int] = self.tokenizer(self.render(prompt), add_special_tokens=False)["input_ids"]
        return found

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        return len(self.tokens(prompt))

    def render(self, prompt: Sequence[Message]) -> str:
        """The prompt as the model reads it, with the turn opened for the assistant."""
        return render(self.tokenizer, self.model_id, prompt)

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer, the chat template's own first."""
        configured = self._model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return [i for i in dict.fromkeys([self._tokenizer.eos_token_id, *several]) if i is not None]

    def _switch(self, adapter: AdapterFiles | None) -> None:
        if adapter is None:
            if self._adapters:
                self._model.base_model.disable_adapter_layers()
            return
        # Only now: PEFT brings bitsandbytes, two seconds that a start without an adapter need not wait for.
        _fetch_no_kernels()
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
                    self._model = PeftModel.from_pretrained(self._model, str(adapter.path), adapter_name=name)
                else:
                    self._model.load_adapter(str(adapter.path), adapter_name=name)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
                self._forget(name)
                text = str(error).strip().splitlines() or [type(error).__name__]
                raise ModelUnavailable(
                    f"adapter {adapter.version} does not go with {self.model_id} ({text[0]}):"
                    " roll back to another version, or to the base"
                ) from error
            self._model.eval()
            self._adapters[key] = name
        self._adapters.move_to_end(key)
        self._model.base_model.enable_adapter_layers()
        self._model.set_adapter(name)
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        while len(self._adapters) > ADAPTERS_LOADED:
            _, oldest = self._adapters.popitem(last=False)
            self._model.delete_adapter(oldest)

    def _forget(self, name: str) -> None:
        """Take out what a load that failed half-way may have left in the model."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        if self._adapters:
            if name in self._model.peft_config:
                self._model.delete_adapter(name)
            return
        for parent in list(self._model.modules()):
            for part, child in list(parent.named_children()):
                if isinstance(child, BaseTunerLayer):
                    setattr(parent, part, child.get_base_layer())
        if hasattr(self._model, "peft_config"):
            del self._model.peft_config


class _Stream:
    """What `generate` puts tokens into and a turn reads words from: transformers' text streamer over a queue.

    The streamer's own rule decides when a word is whole, so that no half of a multi-byte character is shown.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: threading.Event) -> None:
        from transformers import TextStreamer

        self.stop = stop
        self.prompt_tokens = 0
        self._ids: list[int] = []
        self._pieces: queue.Queue[Piece | Exception] = queue.Queue()
        self._words = TextStreamer(tokenizer, skip_special_tokens=True)
        self._words.on_finalized_text = lambda text, stream_end=False: self._pieces.put(Piece(text))
        self._prompt_seen = False

    def put(self, ids: torch.Tensor) -> None:
        """Called by `generate`: the prompt first, then each token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self._ids.extend(ids.flatten().tolist())
        self._words.put(ids)

    def end(self) -> None:
        """Called by `generate` when the last token has been put."""
        self._words.end()

    def should_stop(self, ids: torch.Tensor, _scores: object, **_: Any) -> torch.Tensor:
        """A stopping criterion: (batch,) of bool, true for all once somebody has pressed stop."""
        import torch

        return torch.full((ids.shape[0],), self.stop.is_set(), device=ids.device)

    def finish(self, end_ids: Sequence[int]) -> None:
        ended = bool(self._ids) and self._ids[-1] in end_ids
        why: FinishReason = "stop" if ended else "stopped" if self.stop.is_set() else "length"
        self._pieces.put(Piece("", why, self.prompt_tokens, len(self._ids) - ended))

    def fail(self, error: Exception) -> None:
        self._pieces.put(error)

    def __iter__(self) -> Iterator[Piece]:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if piece.finish:
                return


def check_adapter(adapter: AdapterFiles) -> None:
    """Whether its files are whole: the weights as the ledger knows them, the others as the manifest does, which a
    candidate that was not published yet does not have.

    Raises: ModelUnavailable when one is missing or not the one that was published.
    """
    file = adapter.path / WEIGHTS_FILE
    if not file.is_file():
        raise ModelUnavailable(
            f"adapter {adapter.version} has no {WEIGHTS_FILE} in {adapter.path}: roll back to another version"
        )
    found = sha256_of(file)
    if found != adapter.sha256:
        raise ModelUnavailable(
            f"adapter {adapter.version} is damaged (sha256 {found[:12]}…, published {adapter.sha256[:12]}…):"
            " roll back to another version"
        )
    for name, published in _manifest(adapter).items():
        if not (adapter.path / name).is_file() or sha256_of(adapter.path / name) != published:
            raise ModelUnavailable(
                f"adapter {adapter.version} is damaged ({name} is not the one that was published):"
                " roll back to another version"
            )


def _manifest(adapter: AdapterFiles) -> dict[str, str]:
    """File name → its sha256."""
    try:
        content = json.loads((adapter.path / MANIFEST).read_bytes())
        return {str(name): str(published) for name, published in content["sha256"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            f"adapter {adapter.version} is damaged ({MANIFEST} can't be read): roll back to another version"
        ) from error


def _load(files: ModelFiles, weights: Weights, copies: Path | None) -> tuple[Any, Any]:
    import torch
    import transformers
    from safetensors import SafetensorError

    _fetch_no_kernels()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    on_cpu = not torch.cuda.is_available()
    try:
        tokenizer = read_tokenizer(files.path)
        if not on_cpu or weights == "packed":
            model = _quantised(files, "cpu" if on_cpu else "cuda")
            _compute_exactly(model)
        else:
            model = _from_copy(files, copies) if copies else None
            if model is None:
                model = _quantised(files, "cpu")
                _unpack(model)
                if copies:
                    unpacked.keep(model, files, copies)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"the weights of {files.model_id} can't be loaded from {files.path}: {text[0]}"
        ) from error
    model.eval()
    return tokenizer, model


def _fetch_no_kernels() -> None:
    """Where the package `kernels` is installed, bitsandbytes fetches one from the hub as it is imported, and where it
    is not it says so. Nobody asked for either: the kernel is for the bfloat16 path that is switched off here.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def _from_copy(files: ModelFiles, copies: Path) -> Any:
    """The model as an earlier start unpacked it, or None: a copy that can't be read is none."""
    import torch
    import transformers

    copy = unpacked.find(files, copies)
    try:
        return copy and transformers.AutoModelForCausalLM.from_pretrained(
            str(copy), dtype=torch.float32, local_files_only=True
        )
    except Exception:
        return None


def _quantised(files: ModelFiles, device: str) -> Any:
    import torch
    import transformers

    # On a CPU, NF4 computes well in float32 and terribly in bfloat16.
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    quantisation = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(files.path), dtype=dtype, quantization_config=quantisation, device_map={"": device}, local_files_only=True
    )


def _linears4bit(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """(parent, name in it, module) of every NF4 layer."""
    from bitsandbytes.nn import Linear4bit

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear4bit):
                yield parent, name, child


def _compute_exactly(model: Any) -> None:
    """Keep bitsandbytes from its AVX512-bf16 kernel: it rounds to bfloat16, so that a server on such a CPU would give
    other answers than those that passed the exam, and it lets no gradient through.
    """
    for _, _, layer in _linears4bit(model):
        layer.support_avx512bf16_for_cpu = False


def _unpacked(layer: Any) -> Any:
    """A plain linear layer with the values of a packed one. It must not have computed yet: on CPUs with AVX512-bf16 a
    first product repacks the weights, and unpacking them after that gives garbage.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    values = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)
    plain.weight = torch.nn.Parameter(values, requires_grad=False)
    if layer.bias is not None:
        plain.bias = torch.nn.Parameter(layer.bias.data.to(layer.compute_dtype), requires_grad=False)
    return plain


def _unpack(model: Any) -> None:
    """Replace every packed layer by a plain one with the same values; the model no longer says it is quantised."""
    for parent, name, layer in _linears4bit(model):
        setattr(parent, name, _unpacked(layer))
    model.hf_quantizer = None
    model.is_loaded_in_4bit = model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
