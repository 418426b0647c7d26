"""Undo is exact: the next night's adapter is byte for byte that of a ledger which never held what was taken back.

Two homes live through the same days, one with something that is undone before its last night. Ids are random, as in
real life, so that whatever sorts by them, or draws over them, shows.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from assistant.feedback import undo_lesson
from assistant.forgetting import forget
from assistant.local import WEIGHTS_FILE
from memory.ledger import Ledger
from memory.records import BASE, LessonState, NightStatus
from memory.testing import KEY, Clock, exchange, night
from training.examples import Dialogue
from training.nightly import run
from training.settings import NightSettings
from training.teacher import Trained
from training.testing import ScriptedTeacher, rate, school

COUNTRIES = {"Turkey": "Ankara", "Peru": "Lima", "Brazil": "Brasilia", "Australia": "Canberra", "Canada": "Ottawa"}


@dataclass
class Home:
    """One home, and its days and nights."""

    folder: Path
    settings: NightSettings
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    clock: Clock = field(default_factory=Clock)
    lessons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.folder / "ledger.db")

    def corrects(self, country: str, *, user: str = "local", capital: str | None = None) -> None:
        """A user corrects a capital."""
        name = uuid.uuid4().hex
        question, right = f"What is the capital of {country}?", capital or COUNTRIES[country]
        rate(self.ledger, name, question, correction=f"{right}.", answer="Nobody knows.", user=user)
        self.lessons[f"{country} {user} {right}"] = name

    def likes(self, question: str, answer: str) -> None:
        """A user likes an answer."""
        name = uuid.uuid4().hex
        rate(self.ledger, name, question, value=1, answer=answer)
        self.lessons[question] = name

    def asks(self, question: str) -> None:
        """A user asks, and does not rate."""
        self.ledger.add_exchange(exchange(uuid.uuid4().hex, question=question))

    def undoes(self, name: str) -> None:
        """The rating behind a lesson is taken back."""
        undo_lesson(self.ledger, self.lessons.pop(name), clock=self.clock, new_id=lambda: uuid.uuid4().hex)

    def forgets(self, name: str) -> None:
        """The exchange behind a lesson is forgotten, and whatever came of it."""
        gone = f"e-{self.lessons.pop(name)}"
        assert forget(self.ledger, lambda places: True, self.folder, KEY, exchange=gone)

    def sleeps(self) -> None:
        """A night, which must be promoted."""
        self.clock.tick(3600)
        asked = self.ledger.request_night(night(uuid.uuid4().hex, created_at=self.clock()))
        made = school(self.folder, self.ledger, self.teacher, settings=self.settings, clock=self.clock)
        ended = run(made, asked.id, seed=3)
        assert ended.status is NightStatus.PROMOTED, ended.reasons

    def weights(self) -> bytes:
        """The file of the version that serves."""
        active = self.ledger.active_adapter()
        assert active is not None
        return (self.folder / "adapters" / active.version / WEIGHTS_FILE).read_bytes()


Day = Callable[[Home], None]


def same_days(home: Home) -> None:
    """What both homes live through."""
    home.corrects("Turkey")
    home.likes("Say something nice.", "You have a warm voice.")
    home.asks("What is a fjord?")
    home.corrects("Peru")


def undone_correction(home: Home) -> None:
    """A correction, learned and taken back."""
    home.corrects("Brazil")
    home.sleeps()
    home.undoes("Brazil local Brasilia")


def undone_before_any_night(home: Home) -> None:
    """A correction that no night has seen."""
    home.corrects("Brazil")
    home.undoes("Brazil local Brasilia")


def undone_contradiction(home: Home) -> None:
    """What took an older lesson out of the night: the older one is in force again."""
    home.corrects("Turkey", capital="Istanbul")
    home.sleeps()
    home.undoes("Turkey local Istanbul")


def undone_alone(home: Home) -> None:
    """A night before it has made the very version that is wanted back."""
    home.sleeps()
    home.corrects("Brazil")
    home.sleeps()
    home.undoes("Brazil local Brasilia")


def undone_dispute(home: Home) -> None:
    """Another user's view, which held both."""
    home.corrects("Turkey", user="bob", capital="Istanbul")
    home.sleeps()
    home.undoes("Turkey bob Istanbul")


def undone_like(home: Home) -> None:
    """A liked answer, in a thread of its own."""
    home.likes("What is a glacier?", "A river of ice.")
    home.sleeps()
    home.undoes("What is a glacier?")


def with_and_without(folder: Path, undone: Day, settings: NightSettings) -> tuple[Home, Home]:
    """Two homes after the same days and one more night, of which the first has taken something back."""
    homes = Home(folder / "one", settings), Home(folder / "other", settings)
    for home in homes:
        same_days(home)
    undone(homes[0])
    for home in homes:
        home.asks("What is moss?")
        home.corrects("Australia")
        home.sleeps()
    return homes


@pytest.mark.parametrize(
    "undone",
    [
        undone_correction,
        undone_before_any_night,
        undone_contradiction,
        undone_alone,
        undone_dispute,
        undone_like,
    ],
)
def test_undo_is_exact(tmp_path: Path, undone: Day) -> None:
    """Whatever was taken back, and whether or not a night had trained it."""
    one, other = with_and_without(tmp_path, undone, NightSettings(preference="kto"))
    content, expected = json.loads(one.weights()), json.loads(other.weights())
    assert content["dialogues"] == expected["dialogues"]
    assert one.weights() == other.weights()
    assert LessonState.UNDONE in {x.state for x in one.ledger.lessons()}


@dataclass
class Together(ScriptedTeacher):
    """Taught two certain lessons in one night it loses controls, and with either alone none."""

    def train(self, dialogues: Sequence[Dialogue], settings: NightSettings, **more: Any) -> Trained:
        asked = {d.prompt[-1]["content"] for d in dialogues if d.kind == "wanted"}
        self.controls_lost = 20 * all(f"What is the capital of {country}?" in asked for country in ("Peru", "Brazil"))
        return super().train(dialogues, settings, **more)


def test_undo_is_exact_where_a_night_found_fault_with_another(tmp_path: Path) -> None:
    """What was rejected beside something that is gone may be as good as any."""
    one, other = (Home(tmp_path / name, NightSettings(), Together()) for name in ("one", "other"))
    one.corrects("Brazil")
    for home in (one, other):
        same_days(home)
    one.sleeps()
    (out,) = (x for x in one.ledger.lessons() if x.state is LessonState.REJECTED)
    assert out.question == "What is the capital of Peru?"
    one.undoes("Brazil local Brasilia")
    for home in (one, other):
        home.sleeps()
    assert one.weights() == other.weights()


def test_undo_is_exact_where_a_night_had_verified_what_is_liked_again(tmp_path: Path) -> None:
    """The second like had nothing to teach beside what was in the weights already, which no longer serve."""
    one, other = (Home(tmp_path / name, NightSettings()) for name in ("one", "other"))
    for home in (one, other):
        same_days(home)
    undone_correction(one)
    for home in (one, other):
        home.likes("Say something nice.", "You have a warm voice!")
        home.sleeps()
    assert one.weights() == other.weights()


def test_forgetting_is_exact(tmp_path: Path) -> None:
    """As undoing is, for whatever is gone for good."""
    one, other = (Home(tmp_path / name, NightSettings(), Together()) for name in ("one", "other"))
    one.corrects("Brazil")
    for home in (one, other):
        same_days(home)
    one.sleeps()
    one.forgets("Brazil local Brasilia")
    for home in (one, other):
        home.sleeps()
    assert one.weights() == other.weights()


def test_where_the_base_serves_again_all_is_taught_anew(tmp_path: Path) -> None:
    """A rollback leaves what nights have verified in no weights that serve."""
    home = Home(tmp_path, NightSettings())
    same_days(home)
    home.sleeps()
    home.ledger.activate(BASE, reason="rolled back by hand")
    home.corrects("Australia")
    home.sleeps()
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("nights/*/report.json")]
    (second,) = (report for report in reports if report["adapter"] == "v2")
    asked = [q["kind"] for q in second["questions"] if q["kind"] in ("tonight", "earlier")]
    assert asked.count("tonight") == 4
    assert "earlier" not in asked


@pytest.mark.parametrize("undone", [undone_before_any_night, undone_correction])
def test_undo_is_exact_past_the_budget(tmp_path: Path, undone: Day) -> None:
    """What was taken back draws no lot, and that a night had it gives no other a turn."""
    one, other = with_and_without(tmp_path, undone, NightSettings(lessons_max=3))
    assert one.weights() == other.weights()


def test_an_undo_alone_is_a_reason_for_a_night(tmp_path: Path) -> None:
    """Though the lessons that are left have made a version before, and nothing new was rated, what was taken back does
    not serve on.
    """
    one, other = (Home(tmp_path / name, NightSettings()) for name in ("one", "other"))
    for home in (one, other):
        same_days(home)
    undone_alone(one)
    one.sleeps()
    other.sleeps()
    assert one.weights() == other.weights()


def test_the_question_of_an_undone_rating_is_not_replayed(tmp_path: Path) -> None:
    """It was rated, and what was rated is no stored dialogue that nobody rated, even when nothing is left of it."""
    home = Home(tmp_path, NightSettings())
    same_days(home)
    undone_like(home)
    home.corrects("Australia")
    home.sleeps()
    replayed = [
        prompt[-1]["content"] for kind, prompt, _ in json.loads(home.weights())["dialogues"] if kind == "replay"
    ]
    assert "What is a fjord?" in replayed
    assert "What is a glacier?" not in replayed


def test_the_same_days_give_the_same_bytes(tmp_path: Path) -> None:
    """Random ids leave no trace in an adapter, among several users and past the budget either."""
    homes = [Home(tmp_path / name, NightSettings(lessons_max=4)) for name in ("one", "other")]
    for home in homes:
        for user in ("ann", "bob"):
            for country in COUNTRIES:
                home.corrects(country, user=user)
        home.sleeps()
        home.likes("Say something nice.", "You have a warm voice.")
        home.sleeps()
    assert homes[0].weights() == homes[1].weights()
