"""The layers below the first that learns: what they hand on is the base's own, so it is computed once a night.

A row is trained in up to eight epochs. With the adapter in the upper half of the layers, the lower half says the same
of it each time, and as much to the base's own pass before: near a third of a step's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from training.examples import Pack, Row


class Lower:
    """What the lower layers of a model hand on of each row, and the model without them where that is known.

    It is kept where the model is and in its arithmetic: hidden_size numbers a token, what a pack's rows share once a
    pack.

    Args:
        layers: all layers of the model, in order; each takes and returns (1, tokens, hidden_size).
        first: the place of the first that learns, over 0.
    """

    def __init__(self, layers: Sequence[Any], first: int) -> None:
        self._below, self._above = layers[:first], layers[first:]
        self._of: dict[Row, tuple[Tensor, Tensor]] = {}

    def read(self, packs: Iterable[Pack], compute: Callable[[Pack], object]) -> None:
        """Keep what the lower layers hand on of `packs`; `compute` gives one to the model.

        Raises: TypeError, AttributeError or IndexError: they hand on, or take, several things.
        """
        for pack in packs:

            def hear(_layer: Any, _given: Any, hidden: Tensor, pack: Pack = pack) -> None:
                if not isinstance(hidden, Tensor):
                    raise TypeError(f"a layer that hands on a {type(hidden).__name__}")
                shared, *tails = torch.split(hidden[0], _sizes(pack))
                self._of.update((row, (shared, tail)) for row, tail in zip(pack.rows, tails, strict=True))

            hook = self._below[-1].register_forward_hook(hear)
            try:
                with _instead(self._above, lambda hidden, *_, **__: hidden):
                    compute(pack)
            finally:
                hook.remove()

    @contextmanager
    def handing_on(self, pack: Pack) -> Iterator[None]:
        """While the model computes `pack` in the block, its lower layers do nothing, if they have read all rows."""
        if not all(row in self._of for row in pack.rows):
            yield
            return
        shared = _sizes(pack)[0]
        wholes = [torch.cat(self._of[row]) for row in pack.rows]
        hidden = torch.cat([wholes[0][:shared], *(whole[shared:] for whole in wholes)])[None]
        with _instead(self._below, lambda *_, **__: hidden):
            yield


def _sizes(pack: Pack) -> list[int]:
    """How many tokens are shared, then of each row, how many are its own."""
    counts: list[int] = torch.bincount(pack.owners, minlength=len(pack.rows) + 1).tolist()
    return counts


@contextmanager
def _instead(layers: Sequence[Any], compute: Callable[..., Tensor]) -> Iterator[None]:
    """While the block runs, each of `layers` computes that."""
    for layer in layers:
        layer.forward = compute
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
