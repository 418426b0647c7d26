"""The lessons in force tonight: every rating that holds, as the ledger tells it.

Which lessons a night trains is a pure function of the ledger's rows, so that a lesson that was undone is as if it had
never been, and the same ledger gives the same night.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory.ledger import Ledger
from memory.records import Lesson, LessonState


def in_force(ledger: Ledger) -> list[Lesson]:
    """All lessons but the undone ones, and those of conversations that may not be trained on; oldest first."""
    kept_out = ledger.not_to_be_trained()
    lessons = ledger.lessons()
    return [x for x in lessons if x.state is not LessonState.UNDONE and x.exchange_id not in kept_out]


def unsigned(ledger: Ledger, lessons: Sequence[Lesson], key: bytes) -> dict[str, str]:
    """Lesson id → why it may not be trained, for those whose exchange this assistant did not say."""
    said = ledger.spoken([lesson.exchange_id for lesson in lessons])
    return {
        lesson.id: "the exchange does not bear this assistant's signature"
        for lesson in lessons
        if not said[lesson.exchange_id].signed_by(key)
    }
