"""What a night teaches, of the lessons in force."""

from __future__ import annotations

from memory.ledger import Ledger
from memory.records import LessonEvent, LessonState
from memory.testing import KEY, NOON
from training.settings import NightSettings
from training.syllabus import Syllabus, collect
from training.testing import ScriptedTeacher, rate


def syllabus(ledger: Ledger, *, new_only: bool) -> Syllabus:
    """Tonight's."""
    return collect(ledger, ScriptedTeacher(), NightSettings(new_only=new_only), key=KEY, system="", seed=0)


def test_all_lessons_are_taught_or_only_new_ones(ledger: Ledger) -> None:
    """With `new_only`, those that no version was trained on: not learned is trained, and back in the queue is not."""
    states = {
        "verified": (LessonState.VERIFIED, "v1"),
        "missed": (LessonState.NOT_LEARNED, "v1"),
        "rejected": (LessonState.QUEUED, None),
    }
    for number, name in enumerate([*states, "new"]):
        rate(ledger, name, f"Question number {number}?", correction=f"Answer {number}.")
    ledger.advance_lessons({name: LessonEvent(NOON, state, "so", None, v) for name, (state, v) in states.items()})
    everything = ["verified", "missed", "rejected", "new"]
    whole, new = syllabus(ledger, new_only=False), syllabus(ledger, new_only=True)
    assert [lesson.id for lesson in whole.taught] == [lesson.id for lesson in whole.kept] == everything
    assert [lesson.id for lesson in new.taught] == ["rejected", "new"]
    assert [lesson.id for lesson in new.kept] == everything
    assert whole.identity != new.identity
