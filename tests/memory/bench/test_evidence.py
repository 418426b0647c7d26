"""Evidence recall: the file is read as it is written, and a hit is worth the turns that it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memory import BadInput
from memory.bench.crash import survive
from memory.bench.evidence import GIVEN, KS, LOADINGS, RANKINGS, measure, read
from memory.bench.plot import draw
from memory.bench.scale import grow
from memory.testing import HashingEmbedder


def talk(**more: Any) -> dict[str, Any]:
    """One conversation of two sessions."""
    lines = ["Owls hunt mice", "Do they", "Larks sing at dawn"]
    session = [{"speaker": "Ann", "dia_id": f"D1:{n}", "text": text} for n, text in enumerate(lines, 1)]
    asked = [
        {"question": "What do owls hunt?", "answer": "mice", "evidence": ["D1:1"], "category": 4},
        {"question": "When do larks sing?", "answer": "dawn", "evidence": ["D1:3; D2:1"], "category": 2},
        {"question": "Not asked", "evidence": ["D1:1"], "category": 5},
        {"question": "Without evidence", "evidence": ["D9:9"], "category": 1},
    ]
    conversation = {
        "session_1": session,
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [{"speaker": "Bob", "dia_id": "D2:1", "text": "Larks? In spring"}],
        "session_2_date_time": "9:00 am on 9 June, 2023",
    }
    return {"qa": asked, "conversation": conversation} | more


def test_a_conversation_is_read(tmp_path: Path) -> None:
    """Turns with their session and time, and the questions that have evidence in it."""
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([talk()]))
    (one,) = read(path)
    assert [(turn.id, turn.session, turn.at.day) for turn in one.turns] == [
        ("D1:1", 1, 8),
        ("D1:2", 1, 8),
        ("D1:3", 1, 8),
        ("D2:1", 2, 9),
    ]
    assert one.questions == (
        ("What do owls hunt?", frozenset({"D1:1"})),
        ("When do larks sing?", frozenset({"D1:3", "D2:1"})),
    )


def test_every_way_is_measured(tmp_path: Path) -> None:
    """A row for each way to store and to rank; by words, everything is found on these few lines."""
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([talk()]))
    rows = measure(path, HashingEmbedder())
    assert [(row["stored"], row["ranked"]) for row in rows] == [
        (stored, ranked)
        for stored in LOADINGS
        for ranked in (*RANKINGS, *([GIVEN] if stored != "single turns" else []))
    ]
    assert all(row[f"R@{k}"] == 100.0 for row in rows for k in KS if row["ranked"].startswith("words"))


@pytest.mark.parametrize("content", ["", "{}", "[{}]", '[{"qa": [], "conversation": {"session_1": []}}]'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    """One line says that it is no LoCoMo file."""
    path = tmp_path / "talks.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="no LoCoMo file"):
        read(path)


def test_growth_is_measured(tmp_path: Path) -> None:
    """A row a size, with exact neighbours where the base is exact."""
    rows = grow(1_200, folder=tmp_path, effort=0.05)
    assert [row["exchanges"] for row in rows] == [1_000, 1_200] * 2
    assert all(row["recall@10"] == 1.0 and row["one_more_ms"] > 0 for row in rows[:2])
    assert all(row["stored_p50_ms"] > 0 and row["words_p50_ms"] > 0 and row["anybodys_p50_ms"] > 0 for row in rows[2:])
    draw(rows, tmp_path / "cost.svg")
    assert "one more exchange" in (tmp_path / "cost.svg").read_text()


def test_two_writers_of_which_one_is_killed() -> None:
    """Nothing that was acknowledged is lost, and the index equals the ledger after each round."""
    told = survive(2)
    assert told["acknowledged"] >= 2
    assert (told["acknowledged and lost"], told["rounds in which the index was not the ledger"]) == (0, 0)
