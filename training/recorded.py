"""A training step's model recorded as CUDA graphs: a step costs a process two calls, and not twenty thousand.

Handing the kernels of an 8B's step to a card takes a process several times as long as the card needs to compute them.
A graph is for one size, so packs are filled up to one of few; a size is recorded when it comes for the third time, and
until then computed as it is written, which is what warms it up. All graphs share their memory, so that one step is
under way at a time: forward, then backward.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from training.examples import Pack
from training.room import out_of_memory

TOKENS, ANSWERS = 128, 128
"""What packs are filled up to multiples of: a tenth more to compute, for few sizes to record."""

MOST = 3
"""Sizes that are recorded: each keeps its logits and its gradients, half a gigabyte of an 8B's."""

SEEN = 2
"""Times that a size is computed as it is written before it is recorded."""

Said = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(ids, positions, mask, predicting) → (predicting, vocabulary) logits."""

log = logging.getLogger(__name__)


class Recorded:
    """A model's logits, by graphs where there are some.

    Args:
        model: on a card, in training; what is trained of it must be its parameters, and stay them.
        said: how it computes.
    """

    def __init__(self, model: Any, said: Said) -> None:
        self._model, self._said = model, said
        self._seen: Counter[tuple[int, int]] = Counter()
        self._graphs: dict[tuple[int, int], Said] = {}
        self._pool: Any = None
        self._refused = False

    def logits(self, pack: Pack, mask: Callable[[Pack], Tensor]) -> Tensor:
        """(answer tokens, vocabulary) of a pack of several rows; the next call overwrites what was not gone back
        through.
        """
        size = self._size(_up(len(pack.ids), TOKENS), _up(len(pack.predicting), ANSWERS))
        filled = fill(pack, *size)
        given = (filled.ids[None], filled.positions[None], mask(filled), filled.predicting)
        self._seen[size] += 1
        if self._seen[size] > SEEN and size not in self._graphs and len(self._graphs) < MOST and not self._refused:
            self._record(size, given)
        return self._graphs.get(size, self._said)(*given)[: len(pack.predicting)]

    def _size(self, tokens: int, answers: int) -> tuple[int, int]:
        """The smallest recorded size that holds so much, unless it is far too large, or as much as it is."""
        holding = [size for size in self._graphs if tokens <= size[0] <= tokens + TOKENS and answers <= size[1]]
        return min(holding, default=(tokens, answers))

    def _record(self, size: tuple[int, int], given: tuple[Tensor, ...]) -> None:
        record: Any = torch.cuda.make_graphed_callables
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            # With steps behind it a size needs no more warming up than the recorder's own stream does.
            # Broken off, it would leave us on the stream that it records on.
            with torch.cuda.stream(torch.cuda.current_stream()):
                self._graphs[size] = record(
                    _Module(self._model, self._said),
                    given,
                    num_warmup_iters=1,
                    allow_unused_input=True,
                    pool=self._pool,
                )
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            # A layer that waits for the card, or whatever else can't be recorded: the night is slower without.
            log.warning("steps are not recorded", exc_info=error)
            self._refused = True
            _recover()


def _recover() -> None:
    """A recording that broke off leaves torch's dice in it: one that ends well takes them out."""
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros(1, device="cuda")


class _Module(torch.nn.Module):
    """What is recorded is a module, whose parameters' gradients are."""

    def __init__(self, model: Any, said: Said) -> None:
        super().__init__()
        self.model, self._said = model, said

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor, predicting: Tensor) -> Tensor:
        return self._said(ids, positions, mask, predicting)


def fill(pack: Pack, tokens: int, answers: int) -> Pack:
    """The pack with tokens behind it that no row sees, and places to predict from that nobody looks at."""

    def up(values: Tensor, to: int, value: int) -> Tensor:
        return torch.nn.functional.pad(values, (0, to - len(values)), value=value)

    return replace(
        pack,
        ids=up(pack.ids, tokens, 0),
        positions=up(pack.positions, tokens, 0),
        owners=up(pack.owners, tokens, -1),
        predicting=up(pack.predicting, answers, 0),
    )


def _up(size: int, to: int) -> int:
    return -(-size // to) * to
