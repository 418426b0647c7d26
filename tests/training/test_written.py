"""What the base writes of its own accord: always the same, written once, and nobody else's dice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from assistant.local import LocalEngine
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
    with monkeypatch.context() as patched:
        patched.setattr("training.written._write", lambda *_, **__: pytest.fail("it was written before"))
        assert written(engine, 2, tokens=6, cache=tmp_path / "c") == first
    (tmp_path / "c").write_text("half of", "utf-8")
    assert written(engine, 2, tokens=6, cache=tmp_path / "c") == first


def test_none(engine: LocalEngine, tmp_path: Path) -> None:
    """Who wants none waits for none."""
    assert written(engine, 0, tokens=6, cache=tmp_path / "c") == []
    assert not (tmp_path / "c").exists()
