"""Ratings and what becomes of them: the last one holds, none is lost, and taking back is as good as never."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import testing
from assistant.feedback import COMMENT_CHARS, DOWN_ALONE, REASONS, lesson_from, rate, undo_lesson
from assistant.turn import Answered, Ask, Assistant, turn
from memory import testing as nouns
from memory.errors import BadInput, NotFound
from memory.ledger import Ledger
from memory.records import Lesson, LessonEvent, LessonState


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """An assistant that has said one thing, e1."""
    made = testing.assistant(tmp_path, ledger=Ledger.in_memory())
    made.ledger.add_exchange(nouns.exchange("e1"))
    return made


def undo(assistant: Assistant, lesson_id: str) -> Lesson:
    """Take a lesson back, with nothing of the assistant but its ledger, clock and ids."""
    return undo_lesson(assistant.ledger, lesson_id, clock=assistant.clock, new_id=assistant.new_id)


def states(assistant: Assistant) -> list[LessonState]:
    """Of all lessons, oldest first."""
    return [lesson.state for lesson in assistant.ledger.lessons()]


def test_a_rating_queues_its_lesson(assistant: Assistant) -> None:
    """Both are there, and the lesson knows its rating."""
    rating = rate(assistant, "e1", -1, reasons=["inaccurate"], comment=" no ", correction=" Lyon. ")
    assert assistant.ledger.rating("e1") is not None
    (lesson,) = assistant.ledger.lessons()
    assert (lesson.rating_id, lesson.question) == (rating.id, "What is the capital of France?")
    assert (lesson.wanted, lesson.unwanted) == ("Lyon.", "Paris.")
    assert (lesson.state, lesson.reason) == (LessonState.QUEUED, "waits for the next night")
    assert (rating.comment, rating.correction) == ("no", "Lyon.")


def test_the_last_rating_holds(assistant: Assistant) -> None:
    """The lesson that waits follows it."""
    rate(assistant, "e1", -1)
    last = rate(assistant, "e1", 1)
    held = assistant.ledger.rating("e1")
    assert held is not None
    assert held.value == 1
    (lesson,) = assistant.ledger.lessons()
    assert (lesson.rating_id, lesson.wanted, lesson.unwanted) == (last.id, "Paris.", None)


def test_a_rating_is_taken_back(assistant: Assistant) -> None:
    """Nothing holds any more, and the lesson is undone rather than deleted."""
    rate(assistant, "e1", -1, correction="Lyon.")
    taken = rate(assistant, "e1", 0, reasons=["nonsense"], comment="x", correction="y")
    assert (taken.value, taken.reasons, taken.comment, taken.correction) == (0, (), "", None)
    assert assistant.ledger.rating("e1") is None
    assert states(assistant) == [LessonState.UNDONE]


def test_taking_back_what_is_not_there_writes_nothing(assistant: Assistant) -> None:
    """A thumb that was never given can be taken back by a client that does not know."""
    assert rate(assistant, "e1", 0) is None
    assert assistant.ledger.lessons() == []


def test_the_same_rating_twice_is_one_row(assistant: Assistant) -> None:
    """A double click, or a client that retries, changes nothing."""
    first = rate(assistant, "e1", -1, reasons=["inaccurate", "inaccurate"], correction="Lyon.")
    again = rate(assistant, "e1", -1, reasons=["inaccurate", "inaccurate"], correction=" Lyon.\n")
    assert again.id == first.id
    assert states(assistant) == [LessonState.QUEUED]


def test_the_same_thumb_with_more_said_is_another_rating(assistant: Assistant) -> None:
    """The form after the thumb adds a correction to the same lesson."""
    thumb = rate(assistant, "e1", -1)
    more = rate(assistant, "e1", -1, correction="Lyon.")
    (lesson,) = assistant.ledger.lessons()
    assert more.id != thumb.id
    assert (lesson.rating_id, lesson.wanted, lesson.state) == (more.id, "Lyon.", LessonState.QUEUED)


def test_a_correction_is_recalled_at_once(tmp_path: Path) -> None:
    """The next question, the same minute, finds it in the memory."""
    assistant = testing.assistant(tmp_path)
    *_, answered = turn(assistant, Ask("What is the capital of Atlantis?"))
    assert isinstance(answered, Answered)
    rate(assistant, answered.exchange.id, -1, correction="Poseidonis.")
    (found,) = assistant.memory.recall("What is the capital of Atlantis?", k=3)
    assert (found.answer, found.corrected) == ("Poseidonis.", True)


def test_an_unknown_exchange_is_refused(assistant: Assistant) -> None:
    """One line names it."""
    with pytest.raises(NotFound, match="there is no exchange 'e9'"):
        rate(assistant, "e9", 1)


@pytest.mark.parametrize("value", [1, -1])
def test_reasons_depend_on_the_thumb(assistant: Assistant, value: int) -> None:
    """A reason of the other thumb is refused, and the line lists those of this one."""
    (foreign, *_) = set(REASONS[-value]) - set(REASONS[value])
    with pytest.raises(BadInput, match=REASONS[value][0]):
        rate(assistant, "e1", value, reasons=[foreign])  # type: ignore[arg-type]
    assert assistant.ledger.lessons() == []


def test_an_unknown_value_is_refused(assistant: Assistant) -> None:
    """There are three."""
    with pytest.raises(BadInput, match="1, -1 or 0, not 2"):
        rate(assistant, "e1", 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("same", ["Paris.", " Paris.\n"])
def test_a_correction_equal_to_the_answer_is_refused(assistant: Assistant, same: str) -> None:
    """It would teach nothing; nothing is stored."""
    with pytest.raises(BadInput, match="the correction is the answer itself"):
        rate(assistant, "e1", -1, correction=same)
    assert assistant.ledger.rating("e1") is None


def test_a_correction_that_looks_like_the_answer_is_refused(assistant: Assistant) -> None:
    """The same letters, written in another way."""
    assistant.ledger.add_exchange(nouns.exchange("e2", answer="Caf\u00e9"))
    with pytest.raises(BadInput, match="the correction is the answer itself"):
        rate(assistant, "e2", -1, correction="Cafe\u0301")


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_blank_correction_is_none(assistant: Assistant, blank: str) -> None:
    """The form sends its empty field along."""
    assert rate(assistant, "e1", -1, correction=blank, comment=blank).correction is None


def test_what_is_too_long_is_refused(assistant: Assistant) -> None:
    """One line says which field, and how long it may be."""
    with pytest.raises(BadInput, match=r"the comment has 4,001 characters, the most is 4,000"):
        rate(assistant, "e1", -1, comment="x" * (COMMENT_CHARS + 1))
    with pytest.raises(BadInput, match=r"the correction has 200,000 characters"):
        rate(assistant, "e1", -1, correction="x" * 200_000)
    assert assistant.ledger.rating("e1") is None


def test_odd_characters_are_stored_as_far_as_they_can_be(assistant: Assistant) -> None:
    """Emoji and right-to-left text stay, NULs and half surrogates do not."""
    rate(assistant, "e1", -1, correction="ليون 🙂\x00\ud83d", comment="\ud83d\ude42")
    held = assistant.ledger.rating("e1")
    assert held is not None
    assert (held.correction, held.comment) == ("ليون 🙂\ufffd", "🙂")


@pytest.mark.parametrize(
    ("value", "correction", "wanted", "unwanted"),
    [
        (1, None, "Paris.", None),
        (-1, None, None, "Paris."),
        (-1, "Lyon.", "Lyon.", "Paris."),
        (1, "Paris, of course.", "Paris, of course.", "Paris."),
    ],
)
def test_what_a_rating_teaches(value: int, correction: str | None, wanted: str | None, unwanted: str | None) -> None:
    """Liked: wanted. Disliked: unwanted. Corrected: the correction instead of the answer."""
    rating = nouns.rating(value=value, correction=correction)  # type: ignore[arg-type]
    lesson = lesson_from(nouns.exchange(), rating, "l1")
    assert lesson is not None
    assert (lesson.wanted, lesson.unwanted) == (wanted, unwanted)
    assert (lesson.id, lesson.rating_id, lesson.exchange_id) == ("l1", "r1", "e1")


def test_a_thumb_down_alone_is_held_until_there_is_a_better_answer(assistant: Assistant) -> None:
    """It says so at once, rather than that it waits for a night that would say so."""
    rate(assistant, "e1", -1)
    (lesson,) = assistant.ledger.lessons()
    assert (lesson.state, lesson.reason, lesson.hold) == (LessonState.HELD, DOWN_ALONE, None)
    rate(assistant, "e1", -1, correction="Lyon.")
    (lesson,) = assistant.ledger.lessons()
    assert (lesson.state, lesson.reason) == (LessonState.QUEUED, "waits for the next night")


def test_liking_what_was_not_whole_teaches_nothing(assistant: Assistant) -> None:
    """The rating holds; a better answer makes a lesson of it, and the like alone takes that back."""
    assistant.ledger.add_exchange(nouns.exchange("e2", finish_reason="stopped"))
    rate(assistant, "e2", 1)
    assert assistant.ledger.rating("e2") is not None
    assert assistant.ledger.lessons() == []
    rate(assistant, "e2", 1, correction="Paris, of course.")
    assert states(assistant) == [LessonState.QUEUED]
    rate(assistant, "e2", 1)
    assert states(assistant) == [LessonState.UNDONE]


def test_taking_back_teaches_nothing() -> None:
    """There is no lesson to queue."""
    assert lesson_from(nouns.exchange(), nouns.rating(value=0), "l1") is None


def test_a_lesson_keeps_the_dialogue_before_it() -> None:
    """What was meant often stands in what was said before."""
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lesson = lesson_from(nouns.exchange(history=history), nouns.rating(), "l1")  # type: ignore[arg-type]
    assert lesson is not None
    assert list(lesson.history) == history


def test_undoing_a_lesson_takes_its_rating_back(assistant: Assistant) -> None:
    """A second time changes nothing."""
    rate(assistant, "e1", -1, correction="Lyon.")
    lesson_id = assistant.ledger.lessons()[0].id
    undone = undo(assistant, lesson_id)
    assert (undone.state, undone.reason) == (LessonState.UNDONE, "the rating was taken back")
    assert assistant.ledger.rating("e1") is None
    assert undo(assistant, lesson_id) == undone
    assert len(undone.events) == 2


def test_undoing_an_old_lesson_leaves_the_newer_rating(assistant: Assistant) -> None:
    """The lesson of a rating that was replaced is undone already."""
    rate(assistant, "e1", -1)
    old = assistant.ledger.lessons()[0].id
    verified = LessonEvent(assistant.clock(), LessonState.VERIFIED, "right", "n1", "v1")
    assistant.ledger.advance_lessons({old: verified})
    rate(assistant, "e1", 1)
    undo(assistant, old)
    assert states(assistant) == [LessonState.UNDONE, LessonState.QUEUED]


def test_an_unknown_lesson_can_not_be_undone(assistant: Assistant) -> None:
    """One line names it."""
    with pytest.raises(NotFound, match="there is no lesson 'l9'"):
        undo(assistant, "l9")


def test_a_rating_is_the_users_who_asked(assistant: Assistant) -> None:
    """Another one's exchange is as good as none: nobody speaks for somebody else."""
    with pytest.raises(NotFound, match="exchange 'e1'"):
        rate(assistant, "e1", -1, correction="Lyon.", user="eve")
    assert assistant.ledger.lessons() == []
