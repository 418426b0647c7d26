"""Forgetting while a night runs: it begins anew without what is gone, and none of its files holds a word of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.forgetting import Writing, forget
from memory import ForgottenMeanwhile, Ledger, NightStatus
from memory.testing import KEY, exchange, night
from training.nightly import BEGINS, run
from training.testing import ScriptedTeacher, rate, school

NAME = "Zyxquor"
STAGES = ("before", "replay", "after", "publish")


def started(home: Path, tell: Callable[[Ledger, str], None]) -> tuple[Ledger, ScriptedTeacher, Any]:
    """A night over two corrections and an unrated question, of which `tell` hears as each stage begins."""
    ledger, teacher = Ledger.open(home / "ledger.db"), ScriptedTeacher()
    rate(ledger, "dog", f"Who is {NAME} my dog?", correction=f"{NAME} is a beagle.", answer="Nobody.")
    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
    ledger.add_exchange(exchange("unrated", question=f"Does {NAME} bark?"))
    asked = ledger.request_night(night("n1"))
    told: set[str] = set()

    def first(stage: str, share: float, detail: str) -> None:
        if stage not in told:
            told.add(stage)
            tell(ledger, stage)

    return ledger, teacher, run(school(home, ledger, teacher, tell=first), asked.id, seed=0)


@pytest.mark.parametrize("stage", STAGES)
def test_a_night_begins_anew_without_what_was_forgotten(tmp_path: Path, stage: str) -> None:
    """At whichever stage: the night is promoted on the lesson that stays, and grep finds nothing."""

    def forgets(ledger: Ledger, now: str) -> None:
        if now == stage:
            for exchange_id in ("e-dog", "unrated"):
                forget(ledger, lambda places: True, tmp_path, KEY, exchange=exchange_id)

    ledger, _, ended = started(tmp_path, forgets)
    assert ended.status is NightStatus.PROMOTED
    active = ledger.active_adapter()
    assert active is not None
    assert active.exam["lessons"] == ["turkey"]
    assert json.loads((tmp_path / "nights" / "n1" / "report.json").read_text())["lessons_in"] == ["turkey"]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and NAME.encode() in path.read_bytes()] == []


def test_what_was_finished_and_holds_nothing_of_it_is_kept(tmp_path: Path) -> None:
    """A document that is forgotten while it trains costs the night that stage, and no other."""

    def forgets(ledger: Ledger, now: str) -> None:
        if now == "train":
            other = exchange("other", question="Something else altogether", user="ann", conversation_id="c9")
            ledger.add_exchange(other)
            forget(ledger, lambda places: True, tmp_path, KEY, exchange="other")

    _, teacher, ended = started(tmp_path, forgets)
    assert ended.status is NightStatus.PROMOTED
    assert [teacher.calls.count(name) for name in ("replay", "train")] == [1, 2]


def test_a_night_does_not_begin_anew_for_ever(tmp_path: Path) -> None:
    """Where something is forgotten again and again it fails, and says why."""
    ledger, count = Ledger.open(tmp_path / "ledger.db"), iter(range(99))
    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")

    def tell(stage: str, share: float, detail: str) -> None:
        if stage == "train" and share:
            name = f"x{next(count)}"
            ledger.add_exchange(exchange(name, conversation_id=name))
            forget(ledger, lambda places: True, tmp_path, KEY, exchange=name)

    asked = ledger.request_night(night("n1"))
    ended = run(school(tmp_path, ledger, tell=tell), asked.id, seed=0)
    assert (ended.status, ended.resumable) == (NightStatus.FAILED, False)
    assert f"forgotten {BEGINS} times" in ended.reasons[0]
    assert ledger.lease() is None


def test_nothing_is_written_of_what_is_gone(tmp_path: Path) -> None:
    """The context of a file refuses, before it is opened, once something was forgotten since the beginning."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    ledger.add_exchange(exchange("e1"))
    writing = Writing(ledger, tmp_path)
    writing.begin()
    with writing():
        (tmp_path / "first").touch()
    forget(ledger, lambda places: True, tmp_path, KEY, exchange="e1")
    with pytest.raises(ForgottenMeanwhile), writing():
        (tmp_path / "second").touch()
    writing.begin()
    with writing():
        (tmp_path / "third").touch()
    assert [path.name for path in sorted(tmp_path.glob("*i*d"))] == ["third"]
