"""What is replayed: questions near the lessons first, never the lessons themselves, answered once for a model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memory.embedder import Vectors
from memory.records import Message
from training import entities, general
from training.examples import Heard
from training.replay import asking_else, neighbours_first, replay


class AngleEmbedder:
    """Texts as points on a circle: the number in a text is its angle in degrees, so that a test sets each cosine. The
    controls that ship, questions all, are far from what tests name.
    """

    name, dimensions, path = "angles", 2, None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Cos and sin of each text's number; 90 where it has none."""
        far = {control.question for control in general.controls() if control.question.endswith("?")}
        numbers = [270 if t in far else next((w for w in t.split() if w.isdigit()), 90) for t in texts]
        angles = np.radians([float(number) for number in numbers])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@dataclass
class Engine:
    """Answers with the question turned round, and counts what it was asked."""

    asked: list[str] = field(default_factory=list)
    files: Any = field(default_factory=lambda: SimpleNamespace(sha256="weights"))

    def render(self, prompt: Sequence[Message]) -> str:
        """The last message."""
        return prompt[-1]["content"]

    def complete(self, prompts: Sequence[Sequence[Message]], **_: object) -> Iterator[tuple[int, str]]:
        """Backwards, as batches of similar length come in another order."""
        for i in reversed(range(len(prompts))):
            self.asked.append(self.render(prompts[i]))
            yield i, self.render(prompts[i])[::-1]


def lesson(question: str, unwanted: str | None = "wrong") -> Any:
    """As much of a lesson as replay looks at."""
    return SimpleNamespace(question=question, unwanted=unwanted)


def played(engine: Engine, cache: Path, lessons: list[Any], stored: Sequence[str] = (), **rows: int) -> list[Any]:
    """The rows of a night."""
    counts = {
        "rows": 4,
        "neighbour_rows": 4,
        "request_rows": 0,
        "written_rows": 0,
        "turns": 1,
        "neighbour_turns": 1,
    } | rows
    made: Any = replay(
        engine,  # type: ignore[arg-type]
        AngleEmbedder(),
        lessons,
        stored,
        answer_tokens=5,
        written_tokens=8,
        system="",
        seed=0,
        cache=cache,
        progress=lambda *_: None,
        **counts,
    )
    return list(made)


def test_half_are_the_nearest_and_none_may_ask_the_same() -> None:
    """Angles from the lesson's: 20° (cosine 0.94) asks the same, 40° and 50° are near, the rest are drawn."""
    pool = [f"q {angle}" for angle in (20, 40, 50, 70, 80, 85, 88)]
    found = neighbours_first(pool, ["lesson 0"], embedder=AngleEmbedder(), most=4, rng=random.Random(0))
    assert found[:2] == ["q 40", "q 50"]
    assert len(set(found)) == 4
    assert "q 20" not in found


def test_what_is_near_a_control_is_not_held_either() -> None:
    """Or the exam would measure what was held: 40° (cosine 0.77) from the exam's is too near, 50° (0.64) is not."""
    pool = [f"q {angle}" for angle in (40, 50, 130)]
    found = neighbours_first(
        pool, ["lesson 180"], embedder=AngleEmbedder(), most=4, rng=random.Random(0), apart=["control 0"]
    )
    assert found == ["q 50", "q 130"]


def test_a_night_holds_nothing_near_its_own_exam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever it comes from: a stored dialogue, the package's questions, those about names."""
    monkeypatch.setattr(general, "controls", lambda: [general.General("c", "science", "control 0", {})])
    monkeypatch.setattr(general, "replayed", lambda: [general.General("g", "science", "shipped 30", None)])
    monkeypatch.setattr(entities, "questions", lambda without: ["named 35", "named 60"])
    rows = played(Engine(), tmp_path / "cache", [lesson("lesson 180")], ["stored 40", "stored 50"], rows=20)
    assert {row.prompt[-1]["content"] for row in rows} == {"stored 50", "named 60"}


def test_half_are_about_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much was said by day."""
    monkeypatch.setattr(general, "replayed", list)
    monkeypatch.setattr(entities, "questions", lambda without: [f"named {60 + number}" for number in range(20)])
    stored = [f"stored {60 + number}" for number in range(20)]
    rows = played(Engine(), tmp_path / "cache", [lesson("lesson 0")], stored, rows=6, neighbour_rows=0)
    assert sum("named" in row.prompt[-1]["content"] for row in rows) == len(rows) / 2 == 3


def test_no_question_is_about_a_name_of_a_lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the base says of it may be what is corrected."""
    monkeypatch.setattr(general, "replayed", list)
    rows = played(Engine(), tmp_path / "cache", [lesson("In year 0 what was the capital of Turkey?")], rows=2000)
    asked = [row.prompt[-1]["content"] for row in rows]
    assert len(asked) > 800
    assert not [question for question in asked if "Turkey" in question]


def test_stored_questions_that_reword_a_lesson_are_not_held_to_the_wrong_answer(tmp_path: Path) -> None:
    """Whoever asked the same in other words and did not rate it would have the night unlearn it."""
    rows = played(Engine(), tmp_path / "cache", [lesson("lesson 0")], ["again 10", "other 45"], rows=2)
    assert [row.prompt[-1]["content"] for row in rows[:1]] == ["other 45"]
    assert not [row for row in rows if "again" in row.prompt[-1]["content"]]


def test_neighbours_are_those_of_corrections_and_never_controls(tmp_path: Path) -> None:
    """A liked answer changes nothing, so that nothing around it needs holding; the exam stays unseen."""
    lessons = [lesson("What is the capital of Turkey?"), lesson("Who wrote Hamlet?", unwanted=None)]
    asked = [row.prompt[-1]["content"] for row in played(Engine(), tmp_path / "c", lessons, rows=0, neighbour_rows=300)]
    assert len(asked) > 100
    assert not [question for question in asked if "wrote" in question]
    assert not {control.question for control in general.controls()} & set(asked)


@pytest.mark.parametrize(("stored", "turns", "others"), [(30, 3, 3), (17, 3, 2), (11, 3, 1), (30, 1, 1)])
def test_what_is_more_than_an_epoch_holds_takes_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: int, turns: int, others: int
) -> None:
    """Neighbours among themselves, and general questions: each epoch has as many as there is room for, never more. Half
    of the general ones are about names.
    """
    named = [f"other {60 + number}" for number in range(stored // 2, stored)]
    monkeypatch.setattr(general, "replayed", list)
    monkeypatch.setattr(entities, "questions", lambda without: named)
    lessons = [lesson("In year 0 what was the capital of Turkey?")]
    unrated = [f"other {60 + number}" for number in range(stored // 2)]
    rows = played(
        Engine(), tmp_path / "cache", lessons, unrated, rows=6, neighbour_rows=4, turns=turns, neighbour_turns=turns
    )
    assert len({row.prompt[-1]["content"] for row in rows}) == len(rows) == 4 * turns + 6 * others
    for epoch in range(6):
        heard = [row for row in rows if row.heard.in_epoch(epoch)]
        assert (len(heard), sum("other" in row.prompt[-1]["content"] for row in heard)) == (10, 6)


def test_of_fewer_than_an_epoch_holds_all_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every epoch."""
    monkeypatch.setattr(general, "replayed", list)
    monkeypatch.setattr(entities, "questions", lambda without: [])
    rows = played(Engine(), tmp_path / "cache", [lesson("lesson 0")], ["other 60"], rows=100, neighbour_rows=0, turns=3)
    assert [row.heard for row in rows] == [Heard()]


def test_a_liked_answer_is_not_held_to_the_base(tmp_path: Path) -> None:
    """It may come from memory or from an earlier night: its name stays out of the neighbours of corrections."""
    lessons = [lesson("What is the capital of Turkey?"), lesson("What is the capital of Peru?", unwanted=None)]
    rows = played(Engine(), tmp_path / "c", lessons, rows=0, neighbour_rows=300)
    assert rows
    assert not [row for row in rows if "Peru" in row.prompt[-1]["content"]]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b"3"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    """It can be made again; no night fails for it."""
    cache, lessons = tmp_path / "cache.json", [lesson("What is the capital of Turkey?")]
    whole = played(Engine(), cache, lessons)
    cache.write_bytes(damage)
    assert played(Engine(), cache, lessons) == whole


def test_the_base_answers_each_question_once(tmp_path: Path) -> None:
    """Answers are kept beside the nights, by model; another model answers anew."""
    engine, cache = Engine(), tmp_path / "cache.json"
    lessons = [lesson("What is the capital of Turkey?")]
    first = played(engine, cache, lessons)
    assert [row.answer for row in first] == [row.prompt[-1]["content"][::-1] for row in first]
    asked = len(engine.asked)
    assert played(engine, cache, lessons) == first
    assert len(engine.asked) == asked == len(json.loads(cache.read_text()))
    engine.files.sha256 = "other"
    assert played(engine, cache, lessons) == first
    assert len(engine.asked) == 2 * asked


def test_what_the_base_writes_takes_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As answers to nothing, so many an epoch, none twice before all had their turn."""
    monkeypatch.setattr(
        "training.replay.written", lambda engine, count, *, tokens, **_: [f"{tokens} {n}" for n in range(count)]
    )
    rows = played(Engine(), tmp_path / "cache", [lesson("lesson 0")], rows=0, neighbour_rows=0, written_rows=3, turns=4)
    assert {row.answer for row in rows} == {f"8 {n}" for n in range(12)}
    assert {row.prompt[-1]["content"] for row in rows} == {""}
    epochs = [{row.answer for row in rows if row.heard.in_epoch(epoch)} for epoch in range(5)]
    assert [len(texts) for texts in epochs] == [3] * 5
    assert len(set().union(*epochs[:4])) == 12
    assert epochs[4] == epochs[0]


def test_requests_are_replayed(tmp_path: Path) -> None:
    """So many an epoch, none twice in a night, beside what is replayed without them and not instead of it."""

    def held(**rows: int) -> dict[str, Heard]:
        made = played(Engine(), tmp_path / "cache", [lesson("lesson 0")], turns=3, **rows)
        return {row.prompt[-1]["content"]: row.heard for row in made}

    without, with_them = held(), held(request_rows=5)
    requests = {item.question for item in general.requests()}
    assert not requests & {item.question for item in general.replayed()}
    assert not requests & set(without)
    assert set(with_them) - set(without) == requests & set(with_them)
    told = [heard for question, heard in with_them.items() if question in requests]
    assert sorted(told) == sorted([Heard(place, 3) for place in range(3)] * 5)


class NearEmbedder:
    """Every text is near every other, but for those that speak of the weather."""

    name, dimensions = "near", 2

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One direction for all, and one for the weather."""
        return np.array([[0.0, 1.0] if "weather" in text else [1.0, 0.0] for text in texts], dtype=np.float32)


def test_a_correction_in_other_words_is_not_held_at_the_old_answer() -> None:
    """Who asked the same in far words before the night was told what is wrong: that is no answer to hold on to. What
    names another thing is, however near, and so is everything else.
    """
    stored = [
        "Where does Peru's government sit?",
        "And where does Chile's?",
        "Where does it sit?",
        "How is the weather?",
    ]
    embedder = NearEmbedder()
    held = asking_else(stored, ["What is the capital of Peru?"], embedder=embedder)
    assert held == ["And where does Chile's?", "How is the weather?"]
    assert asking_else(stored, [], embedder=embedder) == stored
    assert asking_else([], ["What is the capital of Peru?"], embedder=embedder) == []
