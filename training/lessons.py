"""The lessons in force tonight: every rating that holds, as the ledger tells it.

Which lessons a night trains is a pure function of the ledger's rows, so that a lesson that was undone is as if it had
never been, and the same ledger gives the same night.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memory.ledger import Ledger
from memory.records import Lesson, LessonState


def in_force(ledger: Ledger) -> list[Lesson]:
    """All lessons but the undone ones, and those of conversations that may not be trained on; oldest first."""
    kept_out = ledger.not_to_be_trained()
    lessons = ledger.lessons()
    return [x for x in lessons if x.state is not LessonState.UNDONE and x.exchange_id not in kept_out]


def untaught(lesson: Lesson) -> Lesson:
    """A lesson as it would be if no night had ever been: as people left it."""
    events = [event for event in lesson.events if event.night_id is None]
    if not events:
        return lesson
    last = events[-1]
    return replace(lesson, state=last.state, reason=last.reason, night_id=None, adapter=None, events=events)


def all_in_force(ledger: Ledger, lesson_ids: Collection[str]) -> bool:
    """Whether each of the lessons is `in_force`; asked of a version's few, without reading all that there are."""
    kept_out, found = ledger.not_to_be_trained(), ledger.lessons_named(lesson_ids)
    return len(found) == len(set(lesson_ids)) and all(
        x.state is not LessonState.UNDONE and x.exchange_id not in kept_out for x in found.values()
    )


def unsigned(ledger: Ledger, lessons: Sequence[Lesson], key: bytes) -> dict[str, str]:
    """Lesson id → why it may not be trained, for those whose exchange this assistant did not say."""
    said = ledger.spoken([lesson.exchange_id for lesson in lessons])
    return {
        lesson.id: "the exchange does not bear this assistant's signature"
        for lesson in lessons
        if not said[lesson.exchange_id].signed_by(key)
    }


def mark(lessons: Sequence[Lesson]) -> dict[str, Any]:
    """What was in force: how many `lessons` (all of them, oldest first), and a hash of which. See `holds`."""
    return {"lessons": len(lessons), "sha256": _hashes(lessons, {len(lessons)})[len(lessons)]}


def holds(marks: Sequence[Mapping[str, Any]], lessons: Sequence[Lesson]) -> list[bool]:
    """Of each mark, whether everything that was in force then is so still; `lessons` are those in force now.

    New lessons come after all others. So what a mark was made of is how these begin, unless one of it was taken back.
    """
    found = _hashes(lessons, {mark["lessons"] for mark in marks})
    return [found.get(mark["lessons"]) == mark["sha256"] for mark in marks]


def _hashes(lessons: Sequence[Lesson], counts: set[int]) -> dict[int, str]:
    """Count → hash of the ids of the first so many lessons, for those counts that there are."""
    so_far, found = hashlib.sha256(), {}
    for count in range(len(lessons) + 1):
        if count in counts:
            found[count] = so_far.hexdigest()
        if count < len(lessons):
            so_far.update(f"{lessons[count].id}\n".encode())
    return found
