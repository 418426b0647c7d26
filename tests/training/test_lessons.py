"""What was in force: a mark that holds until something of it is taken back."""

from __future__ import annotations

from memory.testing import lesson
from training.lessons import holds, mark

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
