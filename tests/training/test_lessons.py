"""What was in force: a mark that holds until something of it is taken back."""

from __future__ import annotations

from memory.ledger import Ledger
from memory.testing import lesson, rating
from training.lessons import all_in_force, holds, in_force, mark
from training.testing import rate

LESSONS = [lesson(name, f"r-{name}", f"e-{name}") for name in ("a", "b", "c", "d")]


def test_new_lessons_change_nothing() -> None:
    """They come after all others."""
    marks = [mark(LESSONS[:count]) for count in range(4)]
    assert holds(marks, LESSONS) == [True] * 4


def test_what_is_taken_back() -> None:
    """Marks from before it was queued hold, all later ones do not; however many came since."""
    marks = [mark(LESSONS[:count]) for count in range(5)]
    without_b = [LESSONS[0], *LESSONS[2:]]
    assert holds(marks, without_b) == [True, True, False, False, False]
    assert holds(marks, [*without_b, lesson("e", "r-e", "e-e")]) == [True, True, False, False, False]


def test_no_lessons() -> None:
    """Of nothing nothing can be taken back."""
    assert holds([mark([])], []) == [True]
    assert holds([], LESSONS) == []


def test_of_a_version_every_lesson_must_be_in_force(ledger: Ledger) -> None:
    """One that was taken back, may no longer be trained, or is forgotten is not; whatever else the ledger holds."""
    for name in ("turkey", "peru", "mali"):
        rate(ledger, name, f"What is the capital of {name.title()}?", correction="Something else.")
    assert all_in_force(ledger, ["turkey", "peru"])
    assert all_in_force(ledger, [])
    assert not all_in_force(ledger, ["turkey", "forgotten"])
    ledger.rate(rating("r-undone", "e-peru", value=0), None)
    assert not all_in_force(ledger, ["turkey", "peru"])
    assert [x.id for x in in_force(ledger)] == ["turkey", "mali"]
    ledger.set_use("c1", remember=True, train=False)
    assert not all_in_force(ledger, ["turkey"])
