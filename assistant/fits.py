"""Whether an adapter is for the weights that would serve it, told from the files' heads alone: nothing is loaded.

PEFT and vLLM notice most of it too, but only with the first answer, when the version is already the one that serves.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE
from memory.errors import ModelUnavailable

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""What PEFT puts before the name of each of the model's modules."""

Shapes = dict[str, tuple[int, ...]]


def check_fit(adapter: AdapterFiles, model: Path) -> None:
    """Whether an intact adapter says of itself what it is, and is for the weights in the folder `model`.

    Raises: ModelUnavailable: it is no LoRA, has another rank than its config says, or other shapes than the model.
    """
    other = "let another version serve"
    try:
        config: dict[str, Any] = json.loads((adapter.path / CONFIG).read_text("utf-8"))
        kind, rank, varies = config.get("peft_type"), config.get("r"), bool(config.get("rank_pattern"))
        shapes = _shapes(adapter.path / WEIGHTS_FILE)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnavailable(f"adapter {adapter.version} can't be read ({_line(error)}): {other}") from error
    if kind != "LORA" or not isinstance(rank, int):
        raise ModelUnavailable(f"adapter {adapter.version} is no LoRA (peft_type {kind!r}, r {rank!r}): {other}")
    base = _model_shapes(model)
    for name, shape in shapes.items():
        module, _, factor = name.removesuffix(".weight").removeprefix(PREFIX).rpartition(".")
        if factor not in ("lora_A", "lora_B") or len(shape) != 2:
            continue
        found, side = (shape[0], shape[1]) if factor == "lora_A" else (shape[1], shape[0])
        if found != rank and not varies:
            told = f"has rank {found} in {module}, and its {CONFIG} says {rank}"
            raise ModelUnavailable(f"adapter {adapter.version} {told}: {other}")
        whole = base.get(f"{module}.weight")
        if whole is None or len(whole) != 2:
            # Some models store their weights under other names than those of their modules.
            continue
        wanted = whole[1] if factor == "lora_A" else whole[0]
        if side != wanted:
            told = f"was trained for another model: {module} has {wanted} there where it has {side}"
            raise ModelUnavailable(f"adapter {adapter.version} {told}: {other}")


@cache
def _model_shapes(folder: Path) -> Shapes:
    found: Shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found |= _shapes(file)
        except (OSError, ValueError):
            # The engine says what is wrong with its own weights.
            continue
    return found


def _shapes(file: Path) -> Shapes:
    """The shapes in a safetensors file's head: eight bytes of its length, then JSON. Raises: OSError, ValueError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length < 100_000_000:
            raise ValueError(f"{file.name} is no safetensors file")
        head = json.loads(opened.read(length))
    return {name: tuple(about["shape"]) for name, about in head.items() if name != "__metadata__"}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
