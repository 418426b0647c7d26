"""Sets of places, a bit for each: what FAISS asks of every vector that it meets. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
"""Bit p % 8 of byte p // 8 says whether place p is in the set."""


def bits(places: Iterable[int]) -> Bits:
    """These places as a set."""
    held = np.fromiter(places, dtype=np.int64)
    made = np.zeros(int(held.max()) // 8 + 1 if len(held) else 0, dtype=np.uint8)
    np.bitwise_or.at(made, held >> 3, np.left_shift(1, held & 7).astype(np.uint8))
    return made


def united(one: Bits, other: Bits) -> Bits:
    """What is in either."""
    shorter, longer = sorted((one, other), key=len)
    if not len(shorter):
        return longer
    made = longer.copy()
    made[: len(shorter)] |= shorter
    return made


def common(one: Bits, other: Bits) -> Bits:
    """What is in both."""
    length = min(len(one), len(other))
    return one[:length] & other[:length]


def count(chosen: Bits) -> int:
    """How many places it has."""
    return int(np.bitwise_count(chosen).sum())
