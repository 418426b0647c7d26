"""What a teacher decides before a night: which lessons are approved, held back or rewritten. And cancelling a night.

The night decides over the rest: what is approved may still be too long, or contradict another lesson.
"""

from __future__ import annotations

from assistant import feedback
from assistant.turn import Assistant, clean
from memory.accounts import Account, Deed
from memory.errors import BadInput
from memory.records import Lesson, LessonEvent, LessonState, Night

APPROVED = ("approved by", "a better answer by")
"""How the reasons begin by which a teacher lets a lesson go to the next night."""

DECIDABLE = (LessonState.QUEUED, LessonState.HELD)
"""States of a lesson that no night has trained yet."""


def approve(assistant: Assistant, lesson_id: str, *, by: Account) -> Lesson:
    """Let a lesson that is held back go to the next night. Raises: NotFound, BadInput."""
    lesson = _decidable(assistant, lesson_id)
    if lesson.wanted is None:
        raise BadInput("it says what is wrong and not what is right: write a better answer instead")
    return _decide(assistant, lesson, LessonState.QUEUED, f"{APPROVED[0]} {by.name}", by, hold=None)


def hold(assistant: Assistant, lesson_id: str, *, by: Account) -> Lesson:
    """Keep a lesson out of the nights until somebody approves it. Raises: NotFound, BadInput."""
    why = f"held back by {by.name}"
    return _decide(assistant, _decidable(assistant, lesson_id), LessonState.HELD, why, by, hold=why)


def edit(assistant: Assistant, lesson_id: str, wanted: str, *, by: Account) -> Lesson:
    """Put a better answer in place of the lesson's, and approve it.

    One's own lesson follows its rating, so that recall has the better answer at once; of another user's it is the
    lesson alone that changes, for the rating is that user's word.

    Raises: NotFound, BadInput.
    """
    lesson = _decidable(assistant, lesson_id)
    text = clean(wanted, limit=assistant.settings.message_chars, what="better answer")
    if lesson.unwanted is not None and text == lesson.unwanted.strip():
        raise BadInput("this is the answer that was not wanted: write what it should have been")
    if lesson.user == by.id:
        feedback.rate(assistant, lesson.exchange_id, -1, correction=text, user=by.id)
        return _decide(assistant, lesson, LessonState.QUEUED, f"{APPROVED[1]} {by.name}", by, hold=None)
    return _decide(assistant, lesson, LessonState.QUEUED, f"{APPROVED[1]} {by.name}", by, hold=None, wanted=text)


def cancel_night(assistant: Assistant, night_id: str, *, by: Account) -> Night:
    """End a night that waits or runs; the version that serves goes on. Raises: NotFound, BadInput."""
    at = assistant.clock()
    deed = Deed(at, by.name, "night cancelled", night_id)
    return assistant.ledger.cancel_night(night_id, why=f"cancelled by {by.name}", at=at, deed=deed)


def _decidable(assistant: Assistant, lesson_id: str) -> Lesson:
    lesson = assistant.ledger.lesson(lesson_id)
    if lesson.state not in DECIDABLE:
        raise BadInput(f"the lesson is {lesson.state}: only what waits for a night can be decided over")
    return lesson


def _decide(
    assistant: Assistant,
    lesson: Lesson,
    state: LessonState,
    why: str,
    by: Account,
    *,
    hold: str | None,
    wanted: str | None = None,
) -> Lesson:
    at = assistant.clock()
    deed = Deed(at, by.name, "lesson reviewed", f"{lesson.id}: {why}")
    event = LessonEvent(at, state, why)
    return assistant.ledger.review_lesson(lesson.id, hold=hold, event=event, deed=deed, wanted=wanted)
