"""What the weights have learned leaves the prompt, and comes back where they don't have it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from assistant.testing import assistant as make_assistant
from assistant.turn import Ask, Assistant, Recalled, turn
from memory import Ledger, LessonEvent, LessonState, NightStatus
from memory.testing import NOON, adapter, exchange, lesson, night, rating
from training import report
from training.nightly import run
from training.testing import ScriptedTeacher, rate, school

QUESTION = "What is the capital of France?"


@pytest.fixture
def assistant(tmp_path: Path) -> Assistant:
    """One that was corrected once, on that question; versions v1 and v2 are of its model."""
    made = make_assistant(tmp_path)
    made.ledger.add_exchange(exchange("e1", question=QUESTION, answer="Lyon."))
    made.ledger.rate(rating("r1", correction="Paris, on the Seine."), lesson("l1", "r1", question=QUESTION))
    made.ledger.request_night(night("n1"))
    return made


def serve(assistant: Assistant, version: str, *found: LessonState) -> None:
    """Let `version` serve, after an exam that found the lesson in these states."""
    for state in found:
        event = LessonEvent(NOON, state, "the exam", "n1", version)
        assistant.ledger.advance_lessons({"l1": event})
    assistant.ledger.activate(version, reason="a test")


def add_versions(assistant: Assistant) -> None:
    """v1 and v2, as nights leave them."""
    ledger = assistant.ledger
    ledger.begin_night("n1", holder="h", at=NOON, ttl=timedelta(hours=1))
    ledger.end_night("n1", holder="h", status=NightStatus.PROMOTED, reasons=["x"], at=NOON, adapter=adapter("v1"))
    ledger.request_night(night("n2"))
    ledger.begin_night("n2", holder="h", at=NOON, ttl=timedelta(hours=1))
    second = adapter("v2", night_id="n2")
    ledger.end_night("n2", holder="h", status=NightStatus.PROMOTED, reasons=["x"], at=NOON, adapter=second)


def recalled(assistant: Assistant, version: str | None = None, *, question: str = QUESTION) -> list[str]:
    """Answers that the prompt of a question is given."""
    (first, *_) = turn(assistant, Ask(question, adapter=version))
    assert isinstance(first, Recalled)
    return [r.answer for r in first.recollections]


@pytest.fixture(autouse=True)
def _no_traces(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions of these tests are not remembered themselves, and adapters need no files."""
    monkeypatch.setattr("assistant.turn.store", lambda *_: None)


def test_a_lesson_leaves_the_prompt_with_the_version_that_has_it(assistant: Assistant) -> None:
    """Queued or trained it is recalled; verified in the version that answers it is not, nor is the old answer."""
    assert recalled(assistant) == ["Paris, on the Seine."]
    add_versions(assistant)
    serve(assistant, "v1", LessonState.TRAINED)
    assert recalled(assistant) == ["Paris, on the Seine."]
    serve(assistant, "v1", LessonState.VERIFIED)
    assert recalled(assistant) == []
    assert recalled(assistant, "base") == ["Paris, on the Seine."]


def test_asked_in_other_words_it_stays(assistant: Assistant) -> None:
    """An exam has asked one wording. In that one, nothing else that is verified comes in its place."""
    other = "Which is the capital of France?"
    assistant.ledger.add_exchange(exchange("e2", question=other, answer="Nice."))
    assistant.ledger.rate(rating("r2", "e2", correction="Paris, I think."), lesson("l2", "r2", "e2", question=other))
    both = ["Paris, I think.", "Paris, on the Seine."]
    add_versions(assistant)
    serve(assistant, "v1", LessonState.VERIFIED)
    assistant.ledger.advance_lessons({"l2": LessonEvent(NOON, LessonState.VERIFIED, "the exam", "n1", "v1")})
    assert recalled(assistant) == recalled(assistant, question=f"{other.lower()}!") == []
    assert sorted(recalled(assistant, question="Is the capital of France large?")) == both
    assert sorted(recalled(assistant, "base")) == both


def test_it_comes_back_by_itself(assistant: Assistant) -> None:
    """After a rollback to a version that doesn't have it, after a later exam that missed it, after a new correction."""
    add_versions(assistant)
    serve(assistant, "v2", LessonState.VERIFIED)
    assert recalled(assistant) == []
    assistant.ledger.activate("v1", reason="rolled back")
    assert recalled(assistant) == ["Paris, on the Seine."]
    serve(assistant, "v2", LessonState.NOT_LEARNED)
    assert recalled(assistant) == ["Paris, on the Seine."]
    serve(assistant, "v2", LessonState.VERIFIED)
    assert recalled(assistant) == []
    assistant.ledger.rate(rating("r2", correction="Paris!"), lesson("l2", "r2", question=QUESTION))
    assert recalled(assistant) == ["Paris!"]


def test_an_older_answer_does_not_come_in_its_place(assistant: Assistant) -> None:
    """Of the same question asked before, the uncorrected answer stays away when the correction leaves the prompt."""
    assistant.ledger.add_exchange(exchange("e2", question=QUESTION.lower(), answer="Lyon again."))
    add_versions(assistant)
    serve(assistant, "v1", LessonState.VERIFIED)
    assert recalled(assistant) == []


def test_it_can_be_switched_off(assistant: Assistant) -> None:
    """With the setting off, what is verified is recalled all the same."""
    settings = assistant.settings.model_copy(update={"graduation": False})
    add_versions(assistant)
    serve(assistant, "v1", LessonState.VERIFIED)
    assert recalled(replace(assistant, settings=settings)) == ["Paris, on the Seine."]


def test_an_exam_that_misses_it_brings_it_back_though_the_night_is_rejected(tmp_path: Path) -> None:
    """Asked again, the version that serves has lost one of two lessons: that one alone is in the prompt again, until
    an exam finds it once more.
    """
    ledger, teacher = Ledger.in_memory(), ScriptedTeacher()
    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
    rate(ledger, "france", QUESTION, correction="Paris, on the Seine.", answer="Lyon.")
    statuses, weights = [], []
    for number, (forgets, lost) in enumerate([({}, 0), ({"v1": {"Ankara."}}, 60), ({}, 60)], 1):
        teacher.forgets, teacher.controls_lost = forgets, lost
        if number > 1:
            rate(ledger, f"new{number}", f"What is number {number}?", correction=f"It is {number}.")
        ledger.request_night(night(f"n{number}", created_at=NOON + timedelta(days=number)))
        statuses.append(run(school(tmp_path, ledger, teacher), f"n{number}", seed=0).status)
        weights.append(ledger.in_the_weights(["e-turkey", "e-france"], "v1"))
    assert statuses == [NightStatus.PROMOTED, NightStatus.REJECTED, NightStatus.REJECTED]
    assert weights == [{"e-turkey", "e-france"}, {"e-france"}, {"e-turkey", "e-france"}]
    assert "asked again, v1 said:" in [e.reason[:21] for e in ledger.lesson("turkey").events]


def test_the_report_says_what_it_saves(tmp_path: Path) -> None:
    """The night's report counts the lessons that leave the prompt, and the tokens that they would take there."""
    taught = school(tmp_path, Ledger.in_memory())
    rate(taught.ledger, "l1", "What is the capital of Turkey?", correction="Ankara")
    taught.ledger.request_night(night("n1"))
    ended = run(taught, "n1", seed=0)
    told = json.loads((Path(ended.report or "") / "report.json").read_text())
    assert told["graduated"] == {"lessons": 1, "prompt_tokens": 7}
    assert "1 of them are in the weights" in report.as_markdown(told, {})
