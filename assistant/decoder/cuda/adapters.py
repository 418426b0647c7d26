"""Adapters in slots: the matrices of several versions next to each other, so that one pass answers with any of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assistant.decoder.cuda.weights import CudaModel
from assistant.decoder.lora import read_adapter
from assistant.decoder.shape import FUSED

if TYPE_CHECKING:
    import torch

SLOTS = 4
"""Versions in one pass; rows of more are computed in the next."""

LANES = 16
"""What ranks are filled up to multiples of."""


@dataclass(frozen=True, eq=False)
class CudaAdapter:
    """A version's low-rank pairs: for each layer and fused matrix A (parts * rank, columns) bfloat16, split, and B
    (rows, rank), with its strength in it; None where it has none.
    """

    pairs: tuple[tuple[tuple[torch.Tensor, torch.Tensor] | None, ...], ...]
    rank: int


def read(folder: Path, model: CudaModel) -> CudaAdapter:
    """Read the adapter in `folder`, onto the model's device. Raises: NotPacked."""
    import torch

    found = read_adapter(folder, model)
    rank = LANES
    while rank < max((len(a) for a, _ in found.values()), default=1):
        rank *= 2
    pairs = []
    for layer in range(model.depth):
        of_layer: list[tuple[torch.Tensor, torch.Tensor] | None] = []
        for parts in FUSED:
            if not any((layer, part) in found for part in parts):
                of_layer.append(None)
                continue
            low = np.zeros((len(parts), rank, model.columns_of(parts[0])), np.float32)
            high = [np.zeros((model.rows_of(part), rank), np.float32) for part in parts]
            for i, part in enumerate(parts):
                if pair := found.get((layer, part)):
                    low[i, : len(pair[0])], high[i][:, : len(pair[0])] = pair
            split = np.concatenate([low[..., ::2], low[..., 1::2]], axis=2).reshape(len(parts) * rank, -1)
            a, b = (torch.from_numpy(array).to(torch.bfloat16) for array in (split, np.concatenate(high)))
            of_layer.append((a.to(model.head.device), b.to(model.head.device)))
        pairs.append(tuple(of_layer))
    return CudaAdapter(tuple(pairs), rank)


class Slots:
    """The memory that passes read adapters from.

    Args:
        rank: of the adapters that fit, filled up.
    """

    def __init__(self, model: CudaModel, rank: int) -> None:
        import torch

        self.rank = rank
        device = model.head.device

        def empty(*sizes: int) -> torch.Tensor:
            return torch.zeros(sizes, dtype=torch.bfloat16, device=device)

        self.low = [[empty(SLOTS, len(m.parts) * rank, m.columns) for m in layer] for layer in model.layers]
        """A of each layer and matrix: (SLOTS, parts * rank, columns), split."""
        self.high = [[empty(m.rows, SLOTS, rank) for m in layer] for layer in model.layers]
        """B: (rows, SLOTS, rank)."""
        self._held: OrderedDict[CudaAdapter, int] = OrderedDict()

    def hold(self, adapters: list[CudaAdapter]) -> list[int]:
        """The slots of `adapters`, at most SLOTS of them, filled where they were not yet. On the current stream."""
        for adapter in adapters:
            if adapter in self._held:
                self._held.move_to_end(adapter)
        for adapter in adapters:
            if adapter not in self._held:
                taken = set(self._held.values())
                slot = next((i for i in range(SLOTS) if i not in taken), None)
                if slot is None:
                    _, slot = self._held.popitem(last=False)
                self._fill(slot, adapter)
                self._held[adapter] = slot
        return [self._held[adapter] for adapter in adapters]

    def _fill(self, slot: int, adapter: CudaAdapter) -> None:
        for layer, pairs in enumerate(adapter.pairs):
            for which, pair in enumerate(pairs):
                low, high = self.low[layer][which][slot], self.high[layer][which][:, slot]
                if pair is None or adapter.rank < self.rank:
                    low.zero_()
                    high.zero_()
                if pair is not None:
                    parts = low.shape[0] // self.rank
                    low.view(parts, self.rank, -1)[:, : adapter.rank] = pair[0].view(parts, adapter.rank, -1)
                    high[:, : adapter.rank] = pair[1]
