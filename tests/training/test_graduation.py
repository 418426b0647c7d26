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
from training.testing import rate, school

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


def recalled(assistant: Assistant, version: str | None = None) -> list[str]:
    """Answers that the prompt of that question is given."""
    (first, *_) = turn(assistant, Ask(QUESTION, adapter=version))
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


def test_the_report_says_what_it_saves(tmp_path: Path) -> None:
    """The night's report counts the lessons that leave the prompt, and the tokens that they would take there."""
    taught = school(tmp_path, Ledger.in_memory())
    rate(taught.ledger, "l1", "What is the capital of Turkey?", correction="Ankara")
    taught.ledger.request_night(night("n1"))
    ended = run(taught, "n1", seed=0)
    told = json.loads((Path(ended.report or "") / "report.json").read_text())
    assert told["graduated"] == {"lessons": 1, "prompt_tokens": 7}
    assert "1 of them are in the weights" in report.as_markdown(told, {})
