"""What the commands print beside tables: a night to come, and one that has ended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assistant import terminal, wire
from memory import testing as nouns
from memory.records import NightStatus

LEFT_OUT = {"lesson-two": {"state": "held", "reason": "it holds a [secret]"}}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which nothing is wrapped."""
    monkeypatch.setenv("COLUMNS", "300")


def test_a_night_to_come_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What is taught and what is left out with the reason; square brackets are no markup."""
    terminal.print_preview([nouns.lesson("lesson-one", wanted="Lyon [sic].")], LEFT_OUT, as_json=False)
    _, taught, left_out = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert taught == "lesson-o taught What is the capital of France? Lyon [sic]."
    assert left_out == "lesson-t left out it holds a [secret]"


def test_a_night_to_come_is_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole lessons in, and what is left out by id."""
    lesson = nouns.lesson()
    terminal.print_preview([lesson], LEFT_OUT, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"lessons_in": [wire.lesson(lesson)], "lessons_out": LEFT_OUT}


def test_a_night_that_ended_is_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it wrote one; else its status and why."""
    ended = replace(nouns.night(), status=NightStatus.PROMOTED, report=str(tmp_path), reasons=["it [passed]"])
    terminal.print_night(ended)
    assert capsys.readouterr().out == "promoted: it [passed]\n"
    (tmp_path / "report.md").write_text("- it learned")
    terminal.print_night(ended)
    assert "it learned" in capsys.readouterr().out
    terminal.print_night(replace(ended, status=NightStatus.NOTHING_TO_LEARN))
    assert "it learned" in capsys.readouterr().out
    terminal.print_night(replace(ended, status=NightStatus.FAILED))
    assert capsys.readouterr().out == "failed: it [passed]\n"
