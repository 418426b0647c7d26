"""What the base writes of its own accord: always the same, written once, and nobody else's dice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from assistant.local import LocalEngine
from memory.testing import HashingEmbedder
from training.settings import NightSettings
from training.teacher import LocalTeacher
from training.written import BATCH, OPENINGS, written


def test_so_many_texts_of_so_many_tokens(engine: LocalEngine, tmp_path: Path) -> None:
    """Each begins with an opening of its turn, and is as long as it is asked to be."""
    texts = written(engine, 20, tokens=12, cache=tmp_path / "c")
    assert len(texts) == 20
    assert [text.split(" ")[0][:1] for text in texts] == [opening[0] for opening in [*OPENINGS, *OPENINGS[:4]]]
    assert len(set(texts)) == 20
    longer = written(engine, 20, tokens=48, cache=tmp_path / "c")
    assert sum(map(len, longer)) > 2 * sum(map(len, texts))


def test_the_same_in_every_night(engine: LocalEngine, tmp_path: Path) -> None:
    """Whatever was drawn before, and however many are wanted; and whoever draws next gets what he would have got."""
    torch.manual_seed(7)
    few = written(engine, 3, tokens=6, cache=tmp_path / "a")
    drawn = torch.rand(1)
    torch.manual_seed(8)
    many = written(engine, BATCH + 3, tokens=6, cache=tmp_path / "b")
    assert many[:3] == few
    assert set(many[BATCH:]).isdisjoint(many[:BATCH])
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))


def test_written_once(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file has is not written again, and a file that can't be read is written anew beside nothing."""
    first = written(engine, 2, tokens=6, cache=tmp_path / "c")
    cached = json.loads((tmp_path / "c").read_text("utf-8"))
    assert len(cached) == BATCH
    monkeypatch.setattr(engine, "files", replace(engine.files, sha256="1" * 64))
    written(engine, 2, tokens=6, cache=tmp_path / "c")
    assert len(json.loads((tmp_path / "c").read_text("utf-8"))) == 2 * BATCH  # another model has its own
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr("training.written._write", lambda *_, **__: pytest.fail("it was written before"))
        assert written(engine, 2, tokens=6, cache=tmp_path / "c") == first
    (tmp_path / "c").write_text("half of", "utf-8")
    assert written(engine, 2, tokens=6, cache=tmp_path / "c") == first


def test_none(engine: LocalEngine, tmp_path: Path) -> None:
    """Who wants none waits for none."""
    assert written(engine, 0, tokens=6, cache=tmp_path / "c") == []
    assert not (tmp_path / "c").exists()


def test_a_night_replays_it(engine: LocalEngine, tmp_path: Path) -> None:
    """So many an epoch as the settings say, for as many epochs as there are turns, and its progress only grows."""
    held = {
        "replay_rows": 2,
        "neighbour_rows": 0,
        "replay_tokens": 2,
        "request_rows": 0,
        "written_rows": 4,
        "written_tokens": 6,
    }
    held["written_lessons"] = 1
    settings, lesson = NightSettings(epochs=3, **held), SimpleNamespace(question="Who is it?", unwanted=None)
    teacher: Any = LocalTeacher(engine, HashingEmbedder, settings, "", tmp_path / "c")
    told: list[tuple[float, str]] = []
    rows = teacher.replay([lesson] * 9, [], seed=0, progress=lambda *step: told.append(step))
    texts = [row for row in rows if row.prompt[-1]["content"] == ""]
    assert len({row.answer for row in texts}) == 3 * 4
    assert [sum(row.heard.in_epoch(epoch) for row in texts) for epoch in range(3)] == [4, 4, 4]
    answered, wrote = ([share for share, what in told if f"base {verb}" in what] for verb in ("answers", "writes"))
    assert [*answered, *wrote] == sorted([*answered, *wrote])
    assert (answered[-1], wrote[-1]) == (0.5, 1.0)


def test_few_lessons_need_few(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text an epoch for every four lessons, one at least, and eight at most; two requests for each, and thirty."""
    told = dict[str, Any]()
    monkeypatch.setattr("training.replay.replay", lambda *given, **named: told.update(named) or [])
    teacher: Any = LocalTeacher(engine, HashingEmbedder, NightSettings(), "", tmp_path / "c")
    found, requests = {}, {}
    for lessons in (1, 4, 5, 30, 32, 33, 1_000):
        teacher.replay([SimpleNamespace(question="Who?")] * lessons, [], seed=0, progress=lambda *step: None)
        found[lessons], requests[lessons] = told["written_rows"], told["request_rows"]
    assert found == {1: 1, 4: 1, 5: 2, 30: 8, 32: 8, 33: 8, 1_000: 8}
    assert requests == {1: 2, 4: 8, 5: 10, 30: 30, 32: 30, 33: 30, 1_000: 30}
