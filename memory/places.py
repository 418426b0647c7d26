"""How lexicon and index number what they hold: four places to a `seq` of the ledger. Pure."""

from __future__ import annotations

from enum import IntEnum


class Part(IntEnum):
    """What of an exchange or a document lies under a place."""

    QUESTION = 0
    """An exchange's question; in the lexicon, the whole exchange."""
    ROUND = 1
    """An exchange's question with the answer that holds."""
    PASSAGE = 2
    """A piece of a document."""


def place(seq: int, part: Part) -> int:
    """The number under which that part is found."""
    return seq * 4 + part


def seq_of(number: int) -> tuple[int, Part]:
    """What `place` was made of."""
    return number >> 2, Part(number & 3)
