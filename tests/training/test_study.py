"""The study in the ledger: what is kept, what is proposed of it, and that the same seed proposes the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from memory.ledger import Ledger
from training.settings import NightSettings
from training.study import SPACE, STARTUP, Sampler, Study, Trial

SETTINGS = {"learning_rate": 5e-4, "rank": 16, "epochs": 8, "kl_weight": 5.0, "preference": "none"}


def trial(night_id: str = "n1", *, value: float | None = 1.5, won: bool = False, **settings: Any) -> Trial:
    """A trial of the usual settings but for those that are given."""
    return Trial(night_id, SETTINGS | settings, value, won, {"lessons": 2, "sha256": "a"})


def proposals(past: Sequence[Trial], seed: int, count: int = 8) -> list[dict[str, Any]]:
    """What would be tried next, nothing being told of how it went."""
    sampler = Sampler(past, SPACE, seed=seed)
    return [sampler.propose() for _ in range(count)]


def test_trials_are_kept(tmp_path: Path) -> None:
    """In the ledger's file: another process finds them, in order; a study of another name has none of them."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    study = Study(ledger, "one")
    assert study.trials() == []
    assert ledger.study_log() == []
    kept = [trial(won=True), trial(value=None, rank=8)]
    study.add(kept)
    study.add([trial("n2", preference="kto")])
    ledger.close()
    again = Ledger.open(tmp_path / "ledger.db")
    assert Study(again, "one").trials() == [*kept, trial("n2", preference="kto")]
    assert Study(again, "other").trials() == []
    Study(again, "other").add([trial("n3")])
    assert Study(again, "one").trials()[-1].night_id == "n2"
    again.close()


def test_a_night_adds_its_trials_once(ledger: Ledger) -> None:
    """A night that was cut off and goes on has added them already."""
    study = Study(ledger, "one")
    study.add([trial(), trial(rank=8)])
    study.add([trial(), trial(rank=8)])
    assert len(study.trials()) == 2


def test_settings_outside_of_the_space(ledger: Ledger) -> None:
    """A user's own settings are kept as they were, though candidates are not drawn from there."""
    own = trial(learning_rate=0.01, rank=4)
    Study(ledger, "one").add([own])
    assert Study(ledger, "one").trials() == [own]
    assert proposals([own] * STARTUP, 0)


def test_proposals() -> None:
    """The same seed proposes the same, another one other settings; all are the night's to take, in two digits."""
    first = proposals([], 0)
    assert first == proposals([], 0)
    assert first != proposals([], 1)
    for settings in first:
        NightSettings(**settings)
        assert 2e-4 <= settings["learning_rate"] <= 2e-3
        assert float(f"{settings['learning_rate']:.2g}") == settings["learning_rate"]


def test_only_what_can_differ_is_proposed() -> None:
    """Without enough unwanted answers a preference would change nothing."""
    assert set(Sampler([], ["rank", "epochs"], seed=0).propose()) == {"rank", "epochs"}


@pytest.mark.parametrize("good", [8, 32])
def test_what_worked_is_proposed_more(good: int) -> None:
    """After a dozen trials in which one rank did better, it comes up more often than the one that did worse."""
    past = [trial(value=1.9 if rank == good else 0.5, rank=rank) for rank in (8, 16, 32) * 4]
    ranks = [settings["rank"] for seed in range(10) for settings in proposals(past, seed, 1)]
    assert ranks.count(good) > ranks.count(40 - good)


def test_the_defaults_are_in_the_space() -> None:
    """So that what they showed can be told to the sampler."""
    assert {name: getattr(NightSettings(), name) for name in SPACE} == SETTINGS
