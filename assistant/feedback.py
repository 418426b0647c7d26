"""Ratings: what a person said of an answer, and the lesson that becomes of it.

A rating is stored together with its lesson in one transaction, so that none is ever lost between the two; the night
decides what is trained. The last rating of an exchange holds; value 0 takes it back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from assistant.turn import Assistant, clean
from memory.errors import BadInput, NotFound
from memory.ledger import Ledger
from memory.records import Exchange, Lesson, LessonState, Rating

REASONS: dict[int, tuple[str, ...]] = {
    1: ("correct", "clear", "well written", "creative", "other"),
    -1: ("inaccurate", "off-topic", "too long", "bad style", "refused without cause", "unsafe", "other"),
}
"""The closed list of reasons a thumb can have: value → reasons."""

COMMENT_CHARS = 4_000

WAITS = "waits until a teacher approves it"
"""Why a lesson is held that somebody must look at first."""

DOWN_ALONE = "a thumb down alone says what is wrong, not what is right: add a better answer"
"""Why a lesson is held that nothing says the answer to."""


def rate(
    assistant: Assistant,
    exchange_id: str,
    value: Literal[1, -1, 0],
    *,
    reasons: Sequence[str] = (),
    comment: str = "",
    correction: str | None = None,
    user: str = "local",
    trusted: bool = True,
) -> Rating | None:
    """Rate an exchange up (1), down (-1), or take the rating back (0). What holds already is not written again; None
    where there was nothing to take back.

    Args:
        trusted: False for somebody whose lessons wait for a teacher's approval, where the settings want that.

    Raises:
        NotFound: no such exchange, or it is another user's.
        BadInput: an unknown reason, or a correction that says what the answer said.
        NotRemembered: the ledger can't be written.
    """
    exchange = assistant.ledger.exchange(exchange_id)
    if exchange.user != user:
        raise NotFound("exchange", exchange_id)
    if value not in (1, -1, 0):
        raise BadInput(f"a rating is 1, -1 or 0, not {value!r}")
    if value == 0:
        reasons, comment, correction = (), "", None
    allowed = REASONS.get(value, ())
    for reason in reasons:
        if reason not in allowed:
            raise BadInput(f"unknown reason {reason[:40]!r}: with this thumb it is one of {', '.join(allowed)}")
    reasons = tuple(dict.fromkeys(reasons))
    comment = clean(comment, limit=COMMENT_CHARS, what="comment") if comment.strip() else ""
    correction = _correction(assistant, exchange, correction)

    held = assistant.ledger.rating(exchange_id)
    new = (value, reasons, comment, correction)
    if held and (held.value, tuple(held.reasons), held.comment, held.correction) == new:
        return held
    if not held and value == 0:
        return None
    rating = Rating(
        assistant.new_id(),
        exchange_id,
        assistant.clock(),
        value,
        reasons,
        comment,
        correction,
        user,
    )
    lesson = lesson_from(exchange, rating, assistant.new_id())
    if lesson and assistant.settings.review and not trusted:
        lesson = replace(lesson, state=LessonState.HELD, reason=WAITS, hold=WAITS)
    assistant.ledger.rate(rating, lesson)
    return rating


def lesson_from(exchange: Exchange, rating: Rating, lesson_id: str) -> Lesson | None:
    """What a rating teaches: a correction is wanted and the answer it corrects is not; a liked answer is wanted; a
    disliked one without a correction is unwanted, and held until there is one. Taking back teaches nothing, nor does
    liking an answer that was not whole.
    """
    if rating.value == 0:
        return None
    liked = rating.value == 1
    # An answer that was stopped or cut off would teach where to stop.
    whole = exchange.answer if exchange.finish_reason == "stop" else None
    wanted = rating.correction or (whole if liked else None)
    unwanted = exchange.answer if rating.correction or not liked else None
    if not (wanted or unwanted):
        return None
    return Lesson(
        id=lesson_id,
        rating_id=rating.id,
        exchange_id=exchange.id,
        user=rating.user,
        created_at=rating.created_at,
        question=exchange.question,
        wanted=wanted or None,
        unwanted=unwanted or None,
        state=LessonState.QUEUED if wanted else LessonState.HELD,
        reason="waits for the next night" if wanted else DOWN_ALONE,
        history=exchange.history,
    )


def undo_lesson(
    ledger: Ledger, lesson_id: str, *, clock: Callable[[], datetime], new_id: Callable[[], str], user: str = "local"
) -> Lesson:
    """Take back the rating behind a lesson: the next night has never seen it. A second time changes nothing.

    It takes no model, so that a command line need not load one for it.

    Raises: NotFound, NotRemembered.
    """
    lesson = ledger.lesson(lesson_id)
    if lesson.state is LessonState.UNDONE:
        return lesson
    ledger.rate(Rating(new_id(), lesson.exchange_id, clock(), 0, user=user), None)
    return ledger.lesson(lesson_id)


def _correction(assistant: Assistant, exchange: Exchange, correction: str | None) -> str | None:
    if correction is None or not correction.strip():
        return None
    text = clean(correction, limit=assistant.settings.message_chars, what="correction")
    # As it is seen: the same letters can be written in several ways.
    if unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", exchange.answer.strip()):
        raise BadInput("the correction is the answer itself: write what it should have been, or leave it empty")
    return text
