"""Nights that watch the version that serves: what they tell, and that they train anew or go back to a sound version."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from assistant.local import WEIGHTS_FILE
from memory.ledger import Ledger
from memory.records import Night, NightStatus
from memory.testing import Clock, exchange, night, rating
from training.nightly import run
from training.settings import NightSettings
from training.testing import ScriptedTeacher, rate, school


@dataclass
class Home:
    """A home, its nights, and people's thumbs on the answers of its versions."""

    folder: Path
    ledger: Ledger
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    settings: NightSettings = field(default_factory=lambda: NightSettings(bisect_minutes=0))
    clock: Clock = field(default_factory=Clock)
    nights: int = 0
    asked: int = 0

    def corrects(self, *names: str) -> None:
        for name in names:
            rate(self.ledger, name, f"What is {name}?", correction=f"{name} it is.", answer="Nothing.")

    def undoes(self, name: str) -> None:
        self.ledger.rate(rating(f"undo-{name}", f"e-{name}", value=0), None)

    def thumbs(self, version: str, *, up: int = 0, down: int = 0) -> list[str]:
        """So many, on as many answers of a version; returns the exchanges."""
        rated = []
        for value in [1] * up + [-1] * down:
            self.asked += 1
            name = f"asked-{self.asked}"
            self.ledger.add_exchange(exchange(name, question=f"{self.asked}?", adapter=version))
            self.ledger.rate(rating(f"r-{name}", name, value=1 if value > 0 else -1), None)
            rated.append(name)
        return rated

    def sleeps(self) -> Night:
        self.nights += 1
        self.clock.tick(3600)
        asked = self.ledger.request_night(night(f"n{self.nights}", created_at=self.clock()))
        self.teacher.calls.clear()
        made = school(self.folder, self.ledger, self.teacher, settings=self.settings, clock=self.clock)
        return run(made, asked.id, seed=0)

    @property
    def serves(self) -> str:
        active = self.ledger.active_adapter()
        return active.version if active else "base"

    def told(self) -> dict[str, Any]:
        """What the last night's report tells of drift; the ledger has the same."""
        report = json.loads((self.folder / "nights" / f"n{self.nights}" / "report.json").read_text("utf-8"))
        told: dict[str, Any] = report["drift"]
        assert self.ledger.last_drift() == told
        return told

    def report(self) -> str:
        return (self.folder / "nights" / f"n{self.nights}" / "report.md").read_text("utf-8")


@pytest.fixture
def home(tmp_path: Path, ledger: Ledger) -> Home:
    """Two versions: the first knows of moss and fern, the second, which serves, of ivy too."""
    made = Home(tmp_path, ledger)
    for names in (("moss", "fern"), ("ivy",)):
        made.corrects(*names)
        assert made.sleeps().status is NightStatus.PROMOTED
    assert made.serves == "v2"
    return made


def disliked(home: Home) -> None:
    """People like what the first version said, and not what the second says."""
    home.thumbs("v1", up=18, down=2)
    home.thumbs("v2", up=4, down=16)


# ---------------------------------------------------------------------- what is told


def test_a_sound_version(home: Home) -> None:
    """It is told that it is within its band, and nothing else changes."""
    home.thumbs("v1", up=18, down=2)
    home.thumbs("v2", up=17, down=3)
    ended = home.sleeps()
    assert (ended.status, home.teacher.calls) == (NightStatus.NOTHING_TO_LEARN, [])
    told = home.told()
    assert (told["adapter"], told["drifted"], told["action"]) == ("v2", False, "none")
    assert "- within its band" in home.report()


def test_the_base_is_not_watched(tmp_path: Path, ledger: Ledger) -> None:
    """Where no version serves there is nothing that could have drifted."""
    home = Home(tmp_path, ledger)
    home.thumbs("base", down=30)
    home.sleeps()
    assert ledger.last_drift() is None


def test_the_first_night_warns(home: Home) -> None:
    """Too many thumbs down are told; nothing is trained or changed for them alone."""
    disliked(home)
    ended = home.sleeps()
    assert (ended.status, home.serves, home.teacher.calls) == (NightStatus.NOTHING_TO_LEARN, "v2", [])
    assert home.told()["action"] == "warn"
    assert home.told()["reasons"][0].startswith("16 of 20 thumbs on its answers are down, 2 of 20 on those of")
    assert "### Drift watch: how the version that served does" in home.report()
    assert "✗ v2: 16 of 20 thumbs on its answers are down" in home.report()


def test_thumbs_that_were_taken_back_do_not_count(home: Home) -> None:
    """A night after that is as if they had never been."""
    home.thumbs("v1", up=18, down=2)
    for name in home.thumbs("v2", down=20):
        home.ledger.rate(rating(f"back-{name}", name, value=0), None)
    home.sleeps()
    assert (home.told()["thumbs"], home.told()["action"]) == (None, "none")


# ---------------------------------------------------------------------- what is done


def test_the_second_night_trains_anew(home: Home) -> None:
    """With nothing new to learn, with another seed; what passes serves, and is watched afresh."""
    disliked(home)
    home.sleeps()
    ended = home.sleeps()
    assert (ended.status, home.serves) == (NightStatus.PROMOTED, "v3")
    content = json.loads((home.folder / "adapters" / "v3" / WEIGHTS_FILE).read_bytes())
    assert content["seed"] == 1
    assert content["knows"] == ["fern it is.", "ivy it is.", "moss it is."]
    assert home.told()["action"] == "retrain"
    report = json.loads((home.folder / "nights" / ended.id / "report.json").read_text("utf-8"))
    assert report["seed"] == 1
    assert home.sleeps().status is NightStatus.NOTHING_TO_LEARN
    assert home.told()["adapter"] == "v3"
    assert not home.told()["drifted"]


def test_with_something_new_it_is_trained_as_ever(home: Home) -> None:
    """A night that trains anyway needs no other seed."""
    disliked(home)
    home.sleeps()
    home.corrects("oak")
    home.sleeps()
    assert home.serves == "v3"
    assert json.loads((home.folder / "adapters" / "v3" / WEIGHTS_FILE).read_bytes())["seed"] == 0


def test_where_training_does_not_mend_it_an_earlier_version_serves(home: Home) -> None:
    """One whose lessons are all in force and whose exam holds; the reason says why."""
    disliked(home)
    home.sleeps()
    home.teacher.controls_lost = 40
    ended = home.sleeps()
    assert (ended.status, home.serves) == (NightStatus.REJECTED, "v1")
    assert ended.reasons[0].startswith("v2 has drifted (16 of 20 thumbs on its answers are down")
    assert ended.reasons[0].endswith("v1 serves again")
    assert home.told()["action"] == "roll back"
    # The next night has nothing to learn, and nothing has drifted: the same lessons made v2, which is retired.
    assert (home.sleeps().status, home.serves) == (NightStatus.NOTHING_TO_LEARN, "v1")
    assert home.told()["action"] == "none"


def unsound(home: Home) -> None:
    """It no longer knows what it was verified on."""
    home.teacher.forgets = {"v1": ["moss it is.", "fern it is."]}


def damaged(home: Home) -> None:
    """Its file is another one."""
    (home.folder / "adapters" / "v1" / WEIGHTS_FILE).write_text("{}")


def disliked_too(home: Home) -> None:
    """People liked it no better, beside what came before it."""
    home.thumbs("base", up=90, down=10)
    home.thumbs("v1", down=40)
    home.thumbs("v2", down=80)


@pytest.mark.parametrize("why", [unsound, damaged, disliked_too])
def test_no_unsound_version_comes_back(home: Home, why: Any) -> None:
    """Then the version that serves serves on, and the report goes on saying that it has drifted."""
    disliked(home)
    why(home)
    home.sleeps()
    home.teacher.controls_lost = 40
    assert (home.sleeps().status, home.serves) == (NightStatus.REJECTED, "v2")
    assert home.told()["action"] == "warn"


def test_no_version_with_undone_lessons_comes_back(tmp_path: Path, ledger: Ledger) -> None:
    """Whatever it was taught that was taken back since must not serve again."""
    home = Home(tmp_path, ledger)
    home.corrects("moss", "fern")
    home.sleeps()
    home.undoes("fern")
    home.corrects("ivy")
    home.sleeps()
    assert home.serves == "v2"
    disliked(home)
    home.sleeps()
    home.teacher.controls_lost = 40
    assert (home.sleeps().status, home.serves) == (NightStatus.REJECTED, "v2")


def test_the_same_lessons_are_not_trained_for_ever(home: Home) -> None:
    """With as many other seeds as the settings allow; then nothing is trained until somebody rates."""
    disliked(home)
    unsound(home)
    home.sleeps()
    home.teacher.controls_lost = 40
    statuses = [home.sleeps().status for _ in range(4)]
    assert statuses == [NightStatus.REJECTED] * 2 + [NightStatus.NOTHING_TO_LEARN] * 2
    assert home.serves == "v2"


def test_an_exam_that_falls(home: Home) -> None:
    """What the version had right when it was promoted and no longer has: told by the night that finds it, mended by the
    next, though that one has nothing new to learn.
    """
    home.teacher.forgets = {"v2": ["moss it is.", "fern it is."]}
    home.corrects("oak")
    home.teacher.controls_lost = 40
    assert (home.sleeps().status, home.serves) == (NightStatus.REJECTED, "v2")
    assert home.told()["exam"] == {"asked": 3, "right": 1, "drifted": True}
    assert home.told()["action"] == "warn"
    home.teacher.controls_lost = 0
    assert (home.sleeps().status, home.serves) == (NightStatus.PROMOTED, "v4")
    assert home.told()["action"] == "retrain"


def test_a_night_that_goes_on_acts_the_same(home: Home) -> None:
    """Cut off in the middle of training anew, it goes on with the same other seed."""
    disliked(home)
    home.sleeps()
    home.teacher.breaks = {"scale": KeyboardInterrupt()}
    assert home.sleeps().resumable
    home.teacher.breaks = {}
    home.nights -= 1
    ended = home.sleeps()
    assert (ended.status, home.serves) == (NightStatus.PROMOTED, "v3")
    assert home.teacher.calls == ["scale", "sit"]
