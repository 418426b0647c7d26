"""An adapter's folder in PEFT's format → its matrices as the products want them.

Adapters are never merged: the base is the one that was examined, and versions answer side by side.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.decoder.packing import Floats, PackedModel
from assistant.decoder.shape import FUSED, PARTS, NotPacked, Shape
from assistant.decoder.vectors import LANES

WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"

_KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight")

_PLAIN = {
    "bias": ("none",),
    "use_dora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "peft_type": ("LORA",),
}
"""What an adapter's config may say beside its sizes; anything else is PEFT's to compute."""


@dataclass(frozen=True)
class PackedAdapter:
    """A low-rank pair for each of a layer's four matrices.

    `table` (layers, 4, 4) int64 holds what `forward` reads: the addresses of A, in panels of sixteen of its rows
    (rank of a part, times parts), and of B, in panels of sixteen rows of the matrix, each (rank, 16) and scaled; the
    rank of a part, filled up to whole panels; the number of A's panels, 0 where there is no adapter.
    """

    table: NDArray[np.int64]
    kept: tuple[Floats, ...]
    """The memory that the addresses are of."""

    @property
    def widest(self) -> int:
        """Floats that the product with A has at most."""
        return int(self.table[..., 3].max(initial=0)) * LANES

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return sum(array.nbytes for array in self.kept)


Pairs = dict[tuple[int, str], tuple[Floats, Floats]]
"""By layer and part: A (rank, columns), and B (rows, rank) times its strength."""


def read_adapter(folder: Path, shape: Shape) -> Pairs:
    """The adapter in `folder`. Raises: NotPacked: it is not one that can be computed here, or is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
        tensors = load_file(folder / WEIGHTS_FILE)
        different = [name for name, allowed in _PLAIN.items() if config.get(name, allowed[0]) not in allowed]
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise NotPacked(f"the adapter can't be read: {error}") from error
    if different:
        raise NotPacked(f"the adapter has {', '.join(different)}")
    found: dict[tuple[int, str], dict[str, Floats]] = {}
    for key, tensor in tensors.items():
        named = _KEY.fullmatch(key)
        if not named or int(named[1]) >= shape.depth or named[2] not in PARTS:
            raise NotPacked(f"the adapter has weights for {key[:80]}")
        found.setdefault((int(named[1]), named[2]), {})[named[3]] = tensor.astype(np.float32)
    for (_, part), pair in found.items():
        rank = pair["A"].shape[0] if "A" in pair else 0
        shapes = {name: matrix.shape for name, matrix in pair.items()}
        if shapes != {"A": (rank, shape.columns_of(part)), "B": (shape.rows_of(part), rank)}:
            raise NotPacked(f"the adapter's matrices for {part} have other shapes than the model's")
    return {place: (pair["A"], pair["B"] * _strength(config, len(pair["A"]))) for place, pair in found.items()}


def _strength(config: dict[str, Any], rank: int) -> np.float32:
    """By what B is multiplied: alpha / rank, or alpha / sqrt(rank)."""
    if config.get("alpha_pattern"):
        raise NotPacked("the adapter has an alpha_pattern")
    alpha = float(config["lora_alpha"])
    return np.float32(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def pack_adapter(folder: Path, model: PackedModel) -> PackedAdapter:
    """Read the adapter in `folder`. Raises: NotPacked, as `read_adapter`."""
    pairs = read_adapter(folder, model)
    table = np.zeros((len(model.layers), len(FUSED), 4), np.int64)
    kept: list[Floats] = []
    for layer in range(len(model.layers)):
        for which, parts in enumerate(FUSED):
            found_pairs = [pairs.get((layer, part)) for part in parts]
            if not any(found_pairs):
                continue
            a, b, rank = _fused(model, parts, found_pairs)
            kept += [a, b]
            table[layer, which] = a.ctypes.data, b.ctypes.data, rank, len(a)
    return PackedAdapter(table, tuple(kept))


def _fused(
    model: PackedModel, parts: tuple[str, ...], pairs: list[tuple[Floats, Floats] | None]
) -> tuple[Floats, Floats, int]:
    """A (panels, columns, 16), B (panels, rank, 16) of a matrix of several parts, and the rank of each."""
    ranks = [len(pair[0]) for pair in pairs if pair]
    rank = -(-max(ranks) // LANES) * LANES
    columns = model.columns_of(parts[0])
    low = np.zeros((len(parts), rank, columns), np.float32)
    high = []
    for i, (part, pair) in enumerate(zip(parts, pairs, strict=True)):
        rows = np.zeros((model.rows_of(part), rank), np.float32)
        if pair:
            own = len(pair[0])
            low[i, :own], rows[:, :own] = pair
        high.append(rows)
    a = low.reshape(-1, LANES, columns).transpose(0, 2, 1)
    b = np.concatenate(high).reshape(-1, LANES, rank).transpose(0, 2, 1)
    return np.ascontiguousarray(a), np.ascontiguousarray(b), rank
