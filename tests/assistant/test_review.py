"""What a teacher decides over lessons, and cancelling a night."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import feedback, review, testing
from assistant.turn import Answered, Ask, Assistant, turn
from memory import BadInput, Ledger, LessonState, NightStatus
from memory import testing as nouns
from memory.accounts import Account, Role
from memory.records import Exchange, Lesson
from training.clean import clean

TESS = Account("t", "Tess", Role.TEACHER, nouns.NOON)
BOB = Account("b", "Bob", Role.USER, nouns.NOON)


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """It repeats the question."""
    return testing.assistant(tmp_path, ledger=Ledger.in_memory())


def rated(assistant: Assistant, user: Account, correction: str | None = "In the sea.") -> tuple[Exchange, Lesson]:
    """An exchange of `user`'s that was rated down."""
    last = list(turn(assistant, Ask("where do whales sleep", user=user.id)))[-1]
    assert isinstance(last, Answered)
    feedback.rate(assistant, last.exchange.id, -1, correction=correction, user=user.id)
    lesson = assistant.ledger.lesson_of(last.exchange.id)
    assert lesson is not None
    return last.exchange, lesson


def trained(assistant: Assistant) -> list[str]:
    """The lessons that a night would train."""
    return [x.id for x in clean(assistant.ledger.lessons(), tokens=lambda _: 1, longest=10).kept]


def test_what_is_held_back_is_not_trained_until_it_is_approved(assistant: Assistant) -> None:
    """And each step says who decided."""
    _, lesson = rated(assistant, BOB)
    assert trained(assistant) == [lesson.id]
    held = review.hold(assistant, lesson.id, by=TESS)
    assert (held.state, held.reason) == (LessonState.HELD, "held back by Tess")
    assert trained(assistant) == []
    approved = review.approve(assistant, lesson.id, by=TESS)
    assert (approved.state, approved.reason) == (LessonState.QUEUED, "approved by Tess")
    assert trained(assistant) == [lesson.id]
    assert [deed.by for deed in assistant.ledger.deeds(limit=5)] == ["Tess", "Tess"]


def test_a_thumb_down_alone_is_not_approved_but_answered(assistant: Assistant) -> None:
    """It says what is wrong; a teacher says what is right, and then it is trained."""
    _, lesson = rated(assistant, BOB, None)
    with pytest.raises(BadInput, match="write a better answer"):
        review.approve(assistant, lesson.id, by=TESS)
    edited = review.edit(assistant, lesson.id, " In the sea. ", by=TESS)
    assert (edited.wanted, edited.reason) == ("In the sea.", "a better answer by Tess")
    assert trained(assistant) == [lesson.id]


def test_another_users_rating_stays_that_users_word(assistant: Assistant) -> None:
    """The lesson is edited; what recall has is what the user said. One's own follows at once."""
    exchange, lesson = rated(assistant, BOB)
    review.edit(assistant, lesson.id, "Near the surface.", by=TESS)
    rating = assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.user, rating.correction) == (BOB.id, "In the sea.")
    exchange, lesson = rated(assistant, TESS)
    assert review.edit(assistant, lesson.id, "Near the surface.", by=TESS).wanted == "Near the surface."
    rating = assistant.ledger.rating(exchange.id)
    assert rating is not None
    assert rating.correction == "Near the surface."


@pytest.mark.parametrize("text", ["", "  ", "You asked: where do whales sleep"])
def test_what_is_no_better_answer_changes_nothing(assistant: Assistant, text: str) -> None:
    """Nothing, or the very answer that was not wanted."""
    _, lesson = rated(assistant, BOB)
    with pytest.raises(BadInput):
        review.edit(assistant, lesson.id, text, by=TESS)
    assert assistant.ledger.lesson(lesson.id) == lesson


def test_what_was_trained_is_not_decided_over(assistant: Assistant) -> None:
    """Undoing it is what helps then."""
    _, lesson = rated(assistant, BOB)
    feedback.undo_lesson(assistant.ledger, lesson.id, clock=assistant.clock, new_id=assistant.new_id)
    for decide in (review.hold, review.approve):
        with pytest.raises(BadInput, match="the lesson is undone"):
            decide(assistant, lesson.id, by=TESS)


def test_a_plain_users_lesson_waits_where_that_is_wanted(assistant: Assistant) -> None:
    """However often it is rated; a teacher's own does not."""
    assistant.ledger.choose("", {"review": True})
    from assistant.live import live

    now = live(assistant)
    last = list(turn(now, Ask("where do whales sleep", user=BOB.id)))[-1]
    assert isinstance(last, Answered)
    feedback.rate(now, last.exchange.id, -1, user=BOB.id, trusted=False)
    feedback.rate(now, last.exchange.id, -1, correction="In the sea.", user=BOB.id, trusted=False)
    lesson = assistant.ledger.lesson_of(last.exchange.id)
    assert lesson is not None
    assert (lesson.state, lesson.reason) == (LessonState.HELD, feedback.WAITS)
    assert trained(assistant) == []
    review.approve(assistant, lesson.id, by=TESS)
    assert trained(assistant) == [lesson.id]
    feedback.rate(now, last.exchange.id, -1, correction="On the beach.", user=BOB.id, trusted=False)
    assert trained(assistant) == []


def test_a_cancelled_night_says_who_did_it(assistant: Assistant) -> None:
    """And is in the audit log."""
    night = assistant.ledger.request_night(nouns.night("n1"))
    ended = review.cancel_night(assistant, night.id, by=TESS)
    assert (ended.status, list(ended.reasons)) == (NightStatus.CANCELLED, ["cancelled by Tess"])
    assert assistant.ledger.deeds(limit=1)[0].action == "night cancelled"
