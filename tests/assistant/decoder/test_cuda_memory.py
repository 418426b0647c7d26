"""How many blocks of keys and values a card gives memory for: a card of any size, here, that others take of."""

from __future__ import annotations

import pytest
import torch

from assistant.decoder.cuda.memory import reserve


class Card:
    """Has room for `most` blocks, and keeps what was tried."""

    def __init__(self, most: int, refuses: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.most, self.refuses, self.tried = most, refuses, list[int]()

    def make(self, blocks: int) -> None:
        self.tried.append(blocks)
        if blocks > self.most:
            raise self.refuses("CUDA error: out of memory")


@pytest.mark.parametrize(
    ("free", "blocks"),
    [(1000, 50), (100_000, 80), (200, 10), (40, 6)],
    ids=["half of what is free", "no more than is wanted", "half of a little", "no less than one prompt needs"],
)
def test_as_many_as_half_of_what_is_free_holds(free: int, blocks: int) -> None:
    """Of ten bytes each, six at least and eighty at most."""
    card = Card(80)
    assert reserve(card.make, free, 10, at_least=6, at_most=80) == blocks
    assert card.tried == [blocks]


@pytest.mark.parametrize(("there", "tried"), [(30, [50, 25]), (12, [50, 25, 12]), (6, [50, 25, 12, 6])])
def test_what_is_not_given_after_all_is_halved(there: int, tried: list[int]) -> None:
    """Others have taken it since the card was asked; a recording is refused in CUDA's own words."""
    for refuses in (torch.OutOfMemoryError, RuntimeError):
        card = Card(there, refuses)
        assert reserve(card.make, 1000, 10, at_least=6, at_most=80) == tried[-1]
        assert card.tried == tried


def test_less_than_one_prompt_needs_is_told() -> None:
    """In one line, as a want of memory: a night asks the day for the card by it."""
    from training.room import out_of_memory

    with pytest.raises(torch.OutOfMemoryError, match=r"^CUDA out of memory: 12 MB of keys and values.*\bcard$") as told:
        reserve(Card(5).make, 10**8, 2 * 10**6, at_least=6, at_most=80)
    assert out_of_memory(told.value)


def test_what_else_goes_wrong_is_tried_once() -> None:
    """Fewer blocks would not help."""
    tried = []

    def fail(blocks: int) -> None:
        tried.append(blocks)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        reserve(fail, 1000, 10, at_least=6, at_most=80)
    assert tried == [50]
