"""Whether an adapter is for the weights that would serve it, told from its files and the heads of theirs: no model is
loaded.

PEFT and vLLM notice most of it too, but only with the first answer, when the version is already the one that serves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE
from memory.errors import ModelUnavailable

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""What PEFT puts before the name of each of the model's modules."""

EXPONENTS: dict[str, tuple[str, int]] = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}
"""Of the kinds of numbers that adapters are written in: how wide they are, and the bits of their exponent."""

LAYER = re.compile(r"(?:[a-z_]+\.)*?\d+\.")
"""How a module's name begins, up to the number of its layer."""

Shapes = dict[str, tuple[int, ...]]


def check_fit(adapter: AdapterFiles, model: Path) -> None:
    """Whether an intact adapter says of itself what it is, and is for the weights in the folder `model`.

    Raises:
        ModelUnavailable: it is no LoRA, has another rank than its config says, other shapes than the model or layers
            that this has not, or numbers that are none.
    """
    other = "let another version serve"
    try:
        config: dict[str, Any] = json.loads((adapter.path / CONFIG).read_text("utf-8"))
        kind, rank, varies = config.get("peft_type"), config.get("r"), bool(config.get("rank_pattern"))
        shapes, finite = _shapes(adapter.path / WEIGHTS_FILE), _finite(adapter.path / WEIGHTS_FILE)
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise ModelUnavailable(f"adapter {adapter.version} can't be read ({_line(error)}): {other}") from error
    if kind != "LORA" or not isinstance(rank, int):
        raise ModelUnavailable(f"adapter {adapter.version} is no LoRA (peft_type {kind!r}, r {rank!r}): {other}")
    if not isinstance(alpha := config.get("lora_alpha", rank), int | float) or not isfinite(alpha):
        told = f"has no strength (lora_alpha {str(alpha)[:40]!r})"
        raise ModelUnavailable(f"adapter {adapter.version} {told}: {other}")
    base = _model_shapes(model)
    _check_layers(adapter, shapes, base, other)
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
    if not finite:
        raise ModelUnavailable(f"adapter {adapter.version} has weights that are no numbers: {other}")


def _check_layers(adapter: AdapterFiles, shapes: Shapes, base: Shapes, other: str) -> None:
    """Whether the layers that it changes are there. Of a module within a layer nothing can be told from files: some
    models store their weights under other names (see `Switch.to`).
    """

    def layers(names: Iterable[str]) -> set[str]:
        return {found[0] for name in names if (found := LAYER.match(name))}

    there = layers(base)
    changed = layers(name.removeprefix(PREFIX) for name in shapes if ".lora_" in name)
    # Where the model's files call everything otherwise than its modules, none is known.
    if changed & there and (strange := sorted(changed - there)):
        told = f"was trained for another model: there is no {strange[0].rstrip('.')}"
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
    """Raises: OSError, ValueError."""
    return {name: tuple(about["shape"]) for name, about in _head(file)[0].items()}


def _head(file: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and where they begin: eight bytes of a length, then JSON, then they.

    Raises: OSError, ValueError.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length < 100_000_000:
            raise ValueError(f"{file.name} is no safetensors file")
        head = json.loads(opened.read(length))
    return {name: about for name, about in head.items() if name != "__metadata__"}, 8 + length


def _finite(file: Path) -> bool:
    """Whether no tensor holds infinity or what is no number: both have every bit of the exponent."""
    import numpy as np

    head, begin = _head(file)
    data = np.fromfile(file, np.uint8, offset=begin)
    for about in head.values():
        if about["dtype"] in EXPONENTS:
            width, exponent = EXPONENTS[about["dtype"]]
            bits = data[slice(*about["data_offsets"])].view(width)
            if ((bits & exponent) == exponent).any():
                return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
