"""What a pass is made of, and what computes one: on a CPU (`runner.py`) or on a card (`cuda/runner.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from assistant.decoder.shape import Shape
from assistant.engine import Sampling


@dataclass(frozen=True)
class Row:
    """A token to compute: of the conversation whose blocks are `blocks`, at `position` (from 0)."""

    token: int
    position: int
    blocks: Sequence[int]
    adapter: Any
    """As `Runs.adapter` made it; None: the base."""
    wanted: bool
    """Whether the token after it is."""


@dataclass(frozen=True)
class Pick:
    """How a wanted token is chosen."""

    sampling: Sampling
    dice: np.random.Generator


class Runs(Protocol):
    """What computes rows. For one thread at a time, but for `adapter`.

    Attributes:
        rows: most rows of a pass.
        blocks: of sixteen tokens' keys and values, that there are at most.
        ahead: passes that it can begin before the tokens of those before them are known.
    """

    rows: int
    blocks: int
    ahead: int

    @property
    def model(self) -> Shape:
        """What it computes."""
        ...

    def next_tokens(self, rows: Sequence[Row], picks: Sequence[Pick], passes: int = 1) -> list[list[int]]:
        """The `passes` tokens after each wanted row; `picks` has one for each of those.

        More than one pass, up to `ahead`: where all rows are wanted, and all picks greedy.

        Rows of one conversation stand in the order of their positions, and are best next to each other; so are those
        of one adapter.
        """
        ...

    def adapter(self, folder: Path) -> Any:
        """Read an adapter. From any thread. Raises: NotPacked."""
        ...

    def reserve(self, at_least: int) -> int:
        """Take memory for blocks, `at_least` so many of at most `blocks`: how many there are now.

        Where there are as many already, nothing changes; else those that there are are forgotten. Not while a pass is
        under way; before the first one that comes after `forget`. Raises: RuntimeError: so much memory can't be had.
        """
        ...

    def copy(self, block: int, to: int) -> None:
        """Let block `to` hold what `block` does."""
        ...

    def forget(self) -> None:
        """Give the memory of all keys and values back. Not while a pass is under way."""
        ...

    def close(self) -> None:
        """End its threads."""
        ...
