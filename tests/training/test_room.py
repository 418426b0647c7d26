"""A night with too little memory: it takes the card over, then makes its steps smaller, and only then gives up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assistant import takeover
from memory import testing as nouns
from memory.ledger import Ledger
from memory.testing import Clock
from training.room import Card, RoomyTeacher, out_of_memory
from training.settings import NightSettings
from training.testing import ScriptedTeacher

pytestmark = pytest.mark.usefixtures("no_older_garbage")

FULL = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@dataclass
class Tight(ScriptedTeacher):
    """A teacher whose steps fit with so many rows at most, and with none before the day has let go."""

    ledger: Any = None
    fits: int = 8
    fits_beside_the_day: int = 0
    tried: list[int] = field(default_factory=list)

    def train(self, dialogues: Sequence[Any], settings: NightSettings, **more: Any) -> Any:
        rows = settings.batch_rows
        self.tried.append(rows)
        taken = self.ledger.choices(takeover.CARD).get("wanted") is not None
        if rows > (self.fits if taken else self.fits_beside_the_day):
            raise FULL
        return super().train(dialogues, settings, **more)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in which a night runs."""
    opened = Ledger.in_memory()
    opened.request_night(nouns.night("n1"))
    opened.begin_night("n1", holder="test", at=nouns.NOON, ttl=timedelta(minutes=1))
    yield opened
    opened.close()


@pytest.fixture
def card(ledger: Ledger) -> Card:
    """A card that nobody holds: the day is no longer waited for than a moment."""
    return Card(ledger, Clock(), sleep=lambda seconds: None, within=1.0)


def train(teacher: RoomyTeacher, folder: Path) -> list[str]:
    """What is told on the way."""
    told: list[str] = []
    settings = NightSettings(batch_rows=8)
    teacher.train([], settings, seed=0, folder=folder, progress=lambda share, words: told.append(words))
    return told


def test_first_the_day_lets_go(ledger: Ledger, card: Card, tmp_path: Path) -> None:
    """And the same step is tried again; what was taken is given back."""
    tight = Tight(ledger=ledger)
    train(RoomyTeacher(tight, card, "auto"), tmp_path / "a")
    assert tight.tried == [8, 8]
    assert ledger.choices(takeover.CARD)["wanted"] == "n1"
    card.give_back()
    assert ledger.choices(takeover.CARD) == {}


def test_then_steps_get_smaller(ledger: Ledger, card: Card, tmp_path: Path) -> None:
    """Down to what fits, and it is told."""
    tight = Tight(ledger=ledger, fits=2)
    told = train(RoomyTeacher(tight, card, "auto"), tmp_path / "a")
    assert tight.tried == [8, 8, 4, 2]
    assert "out of memory: again with 2 rows a step" in told


def test_where_the_day_keeps_its_memory_steps_get_smaller_at_once(ledger: Ledger, card: Card, tmp_path: Path) -> None:
    """`share` never asks it to let go."""
    tight = Tight(ledger=ledger, fits_beside_the_day=4)
    train(RoomyTeacher(tight, card, "share"), tmp_path / "a")
    assert tight.tried == [8, 4]
    assert ledger.choices(takeover.CARD) == {}


def test_not_even_one_row_fits(ledger: Ledger, card: Card, tmp_path: Path) -> None:
    """The error is the night's end."""
    tight = Tight(ledger=ledger, fits=0)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(RoomyTeacher(tight, card, "auto"), tmp_path / "a")
    assert tight.tried == [8, 8, 4, 2, 1]


def test_other_errors_are_not_tried_again(ledger: Ledger, card: Card, tmp_path: Path) -> None:
    """They would come again."""
    broken = ScriptedTeacher(breaks={"train": RuntimeError("device-side assert triggered")})
    with pytest.raises(RuntimeError, match="assert"):
        train(RoomyTeacher(broken, card, "auto"), tmp_path / "a")
    assert ledger.choices(takeover.CARD) == {}


@pytest.mark.parametrize(
    ("how", "needs", "free", "taken"),
    [
        ("take", None, None, True),
        ("share", 9000, 100, False),
        ("auto", None, 100, False),
        ("auto", 9000, None, False),
        ("auto", 9000, 20000, False),
        ("auto", 9000, 9500, True),
    ],
)
def test_whether_the_card_is_shared_is_measured(
    ledger: Ledger, card: Card, how: str, needs: float | None, free: float | None, taken: bool
) -> None:
    """What a night needed before against what is free now, with a tenth to spare; looked at once."""
    teacher = RoomyTeacher(ScriptedTeacher(), card, how, needs_mb=lambda: needs, free_mb=lambda: free)
    teacher.tokens(nouns.lesson("l1"))
    assert card.taken is taken


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (FULL, True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, is_it: bool) -> None:
    """By the error's words: torch has a class for the card's alone."""
    assert out_of_memory(error) is is_it
