"""Several candidates a night: who wins, what later nights start from, and that what was taken back leaves no trace."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assistant.feedback import undo_lesson
from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import resolve
from assistant.turn import adapter_files
from memory.ledger import Ledger
from memory.records import Night, NightStatus
from memory.testing import Clock, HashingEmbedder, night
from training.candidates import FIXED, SEARCHED
from training.nightly import run
from training.settings import NightSettings
from training.teacher import Diverged, LocalTeacher
from training.testing import ScriptedTeacher, rate, school

ANKARA, KATHMANDU = "The capital of Turkey is Ankara.", "The capital of Nepal is Kathmandu."
USUAL = {name: getattr(NightSettings(), name) for name in SEARCHED}


@dataclass
class Home:
    """A home with nights of several candidates; ids are random, as in real life."""

    folder: Path
    settings: NightSettings = field(default_factory=lambda: NightSettings(candidates=3))
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    clock: Clock = field(default_factory=Clock)
    lessons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.folder / "ledger.db")

    def corrects(self, *names: str) -> None:
        """Questions about these, each corrected."""
        for name in names:
            self.lessons[name] = uuid.uuid4().hex
            rate(self.ledger, self.lessons[name], f"What is {name}?", correction=f"{name} it is.", answer="Nothing.")

    def undoes(self, name: str) -> None:
        undo_lesson(self.ledger, self.lessons.pop(name), clock=self.clock, new_id=lambda: uuid.uuid4().hex)

    def sleeps(self, **more: Any) -> Night:
        """A night, or the one that was cut off."""
        self.clock.tick(3600)
        asked = self.ledger.request_night(night(uuid.uuid4().hex, created_at=self.clock()))
        made = school(self.folder, self.ledger, self.teacher, settings=self.settings, clock=self.clock, **more)
        return run(made, asked.id, seed=0)

    def weights(self) -> bytes:
        """The file of the version that serves."""
        active = self.ledger.active_adapter()
        assert active is not None
        return (self.folder / "adapters" / active.version / WEIGHTS_FILE).read_bytes()

    def settings_that_serve(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.weights())["settings"]
        return found

    def candidates(self, ended: Night) -> list[dict[str, Any]]:
        """What the report tells of them."""
        report = json.loads((self.folder / "nights" / ended.id / "report.json").read_text("utf-8"))
        found: list[dict[str, Any]] = report["candidates"]
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two corrections, and no night yet."""
    made = Home(tmp_path)
    made.corrects("moss", "fern")
    return made


def usual_harms(settings: NightSettings) -> Mapping[str, Any]:
    """The usual settings cost too many controls, any others none."""
    return {"controls_lost": 40 if settings.learning_rate == USUAL["learning_rate"] else 0}


# ---------------------------------------------------------------------- who wins


def test_the_gate_picks(home: Home) -> None:
    """The usual settings fail the exam, another candidate passes it and serves; the report says which, and why."""
    home.teacher.harms = usual_harms
    ended = home.sleeps()
    assert ended.status is NightStatus.PROMOTED
    one, two, three = home.candidates(ended)
    assert [x["chosen"] for x in (one, two, three)] == [False, True, False]
    assert one["settings"] == USUAL
    assert [x["seed"] for x in (one, two, three)] == [0, 1, 2]
    assert one["why"].startswith("fails: damages: ")
    assert two["why"] == "chosen: it passes, and none that does learned or kept more"
    assert three["why"] == "as good as candidate 2, which came first"
    assert two["right"]["tonight"] == [2, 2]
    assert home.settings_that_serve() == two["settings"] != USUAL
    told = (home.folder / "nights" / ended.id / "report.md").read_text("utf-8")
    assert "### Candidates: settings that were tried, and which was chosen" in told
    assert f"learning rate {two['settings']['learning_rate']}" in told
    kept = {path.name for path in (home.folder / "nights" / ended.id / "candidate-2").iterdir()}
    assert kept == {"inputs.json", "train.json", "after.json", "took.json"}


def test_the_first_wins_a_tie(home: Home) -> None:
    """A challenger must be better than what was usual."""
    ended = home.sleeps()
    assert [x["chosen"] for x in home.candidates(ended)] == [True, False, False]
    assert home.settings_that_serve() == USUAL


def test_all_share_what_goes_before(home: Home) -> None:
    """One exam before and one replay for all: only training and the exam after come once for each."""
    home.sleeps()
    assert home.teacher.calls == ["sit", "sit", "replay", *["train", "scale", "sit"] * 3]


def test_one_that_diverges_is_out(home: Home) -> None:
    """The others go on without it; where all diverge, the night is rejected with the reason."""

    def harms(settings: NightSettings) -> Mapping[str, Any]:
        if settings.learning_rate == USUAL["learning_rate"]:
            raise Diverged("the loss was nan at step 3 of 9")
        return {}

    home.teacher.harms = harms
    ended = home.sleeps()
    assert ended.status is NightStatus.PROMOTED
    one, two, _ = home.candidates(ended)
    assert one["why"] == "out: its training diverged (the loss was nan at step 3 of 9)"
    assert two["chosen"]
    home.corrects("ivy")
    home.teacher.breaks = {"train": Diverged("the loss was inf at step 1 of 9")}
    ended = home.sleeps()
    assert (ended.status, ended.reasons) == (
        NightStatus.REJECTED,
        ["training diverged: the loss was inf at step 1 of 9"],
    )


def test_where_none_passes_the_night_is_rejected(home: Home) -> None:
    """With the reasons of the one that came nearest, and no later night starts from it."""
    home.settings = NightSettings(candidates=3, bisect_minutes=0)
    home.teacher.harms = lambda settings: {"controls_lost": 40 if settings.rank == USUAL["rank"] else 30}
    ended = home.sleeps()
    assert ended.status is NightStatus.REJECTED
    (best,) = [x for x in home.candidates(ended) if x["chosen"]]
    assert best["why"] == "chosen though it fails: none passes, and it came nearest"
    home.teacher.harms = lambda settings: {}
    home.corrects("ivy")
    assert "from" not in home.candidates(home.sleeps())[0]


def test_the_best_of_several_must_be_surer(home: Home) -> None:
    """Of five corrected answers one candidate alone may say that they are no chance; the best of three may not."""
    home.corrects("ivy", "oak", "elm")
    ended = home.sleeps()
    assert "too few items to say whether that is chance (p = 0.031): none of tonight's was lost, which decides" in (
        ended.reasons
    )


def test_the_lesson_that_harms_is_found_with_the_winners_settings(home: Home) -> None:
    """Nights without some lessons are the chosen candidate's, settings and seed."""
    home.teacher.harms = lambda settings: {"controls_lost": 0, "flips": 2 * (settings.rank == USUAL["rank"])}
    home.teacher.poison = {"What is ivy?"}
    home.corrects("ivy")
    home.settings = NightSettings(candidates=4)
    ended = home.sleeps()
    assert ended.status is NightStatus.PROMOTED
    assert "without 1 of tonight's 3 lessons" in ended.reasons[-1]
    (best,) = [x for x in home.candidates(ended) if x["chosen"]]
    content = json.loads(home.weights())
    assert (content["settings"], content["seed"]) == (best["settings"], best["seed"])
    assert best["candidate"] > 1


# ---------------------------------------------------------------------- what nights learn of nights


def test_without_candidates_there_is_no_study(home: Home) -> None:
    """One candidate: no log, no folder of its own, nothing in the report."""
    home.settings = NightSettings()
    ended = home.sleeps()
    assert home.ledger.study_log() == []
    assert home.candidates(ended) == []
    assert not list((home.folder / "nights" / ended.id).glob("candidate-*"))


@pytest.mark.parametrize("candidates", [1, 3])
def test_later_nights_start_from_what_worked(home: Home, candidates: int) -> None:
    """The first candidate of the next night, or its only one, has the settings that won; the report says where."""
    home.teacher.harms = usual_harms
    first = home.sleeps()
    won = home.settings_that_serve()
    home.teacher.harms = lambda settings: {}
    home.corrects("ivy")
    home.settings = home.settings.model_copy(update={"candidates": candidates})
    ended = home.sleeps()
    told = home.candidates(ended)
    assert len(told) == candidates
    assert (told[0]["settings"], told[0]["from"], told[0]["chosen"]) == (won, first.id, True)
    assert home.settings_that_serve() == won


@pytest.mark.parametrize("other", [{"epochs": 3}, {"layers": 1.0}, {"epoch_rows": 320}])
def test_other_settings_have_a_study_of_their_own(home: Home, other: dict[str, Any]) -> None:
    """Who changes a setting by hand gets it, whatever won before, under others."""
    home.teacher.harms = usual_harms
    home.sleeps()
    home.corrects("ivy")
    home.teacher.harms = lambda settings: {}
    home.settings = NightSettings(**other)
    home.sleeps()
    assert home.settings_that_serve() == USUAL | {name: value for name, value in other.items() if name in USUAL}


def test_every_setting_that_shapes_learning_is_searched_or_fixed() -> None:
    """What else there is bounds a night, says on what it runs, or judges it."""
    bounds = {"seed", "max_minutes", "lessons_max", "user_share_max", "lesson_tokens", "lease_seconds"}
    runs_on = {"card", "compute", "candidates", "candidate_minutes", "bisect_minutes"}
    judged = {
        "scales",
        "answer_tokens",
        "controls",
        "unrelated",
        "pushbacks",
        "gated",
        "perplexity_ratio_max",
        "chance_max",
    }
    kept = {"sure_kept_min", "sure_margin", "controls_kept_min", "verified_kept_min"}
    canaries = {"length_ratio_min", "length_ratio_max", "repetition_more_max", "refusals_more_max"}
    canaries |= {"flattery_more_max", "leaks_more_max", "flips_more_max"}
    watched = {"drift_chance_max", "drift_downs_more_max", "drift_retrains"}
    others = bounds | runs_on | judged | kept | canaries | watched
    assert sorted([*SEARCHED, *FIXED, *others]) == sorted(NightSettings.model_fields)


def test_what_was_taken_back_does_not_count(home: Home) -> None:
    """A night that had a lesson which was undone since has shown nothing: the next starts from the usual settings."""
    home.teacher.harms = usual_harms
    home.sleeps()
    home.undoes("fern")
    home.corrects("ivy")
    home.teacher.harms = lambda settings: {}
    ended = home.sleeps()
    assert home.candidates(ended)[0]["settings"] == USUAL
    assert home.settings_that_serve() == USUAL


def test_undo_is_exact_with_candidates(tmp_path: Path) -> None:
    """Byte for byte as if it had never been, though the nights with it had searched and found other settings."""
    one, other = Home(tmp_path / "one"), Home(tmp_path / "other")
    for home in (one, other):
        home.teacher.harms = usual_harms
        home.corrects("moss", "fern")
        home.sleeps()
    one.corrects("ivy")
    one.teacher.harms = lambda settings: {"controls_lost": 0 if settings.rank == 32 else 2}
    one.sleeps()
    one.undoes("ivy")
    for home in (one, other):
        home.teacher.harms = usual_harms
        home.corrects("oak")
        assert home.sleeps().status is NightStatus.PROMOTED
    assert one.weights() == other.weights()
    assert one.settings_that_serve() != USUAL


def test_the_same_days_give_the_same_bytes(tmp_path: Path) -> None:
    """Three nights of candidates in two homes: the same settings are tried, and the same adapter serves."""
    homes = Home(tmp_path / "one"), Home(tmp_path / "other")
    tried = []
    for home in homes:
        home.teacher.harms = usual_harms
        tried.append([])
        for name in ("moss", "fern", "ivy"):
            home.corrects(name)
            tried[-1].append([x["settings"] for x in home.candidates(home.sleeps())])
    assert tried[0] == tried[1]
    assert len({json.dumps(settings) for settings in [x for one in tried[0] for x in one]}) == 7
    assert homes[0].weights() == homes[1].weights()


# ---------------------------------------------------------------------- time


def takes(home: Home, seconds: float) -> Callable[[NightSettings], Mapping[str, Any]]:
    """Training that takes so long, and harms nothing."""

    def harms(settings: NightSettings) -> Mapping[str, Any]:
        home.clock.tick(seconds)
        return {}

    return harms


def test_time_runs_out(home: Home) -> None:
    """A candidate begins only where it would end in time, by what those before it took; the report says so."""
    home.teacher.harms = takes(home, 600)
    home.settings = NightSettings(candidates=9, candidate_minutes=25)
    told = home.candidates(home.sleeps())
    assert len(told) == 3
    assert told[0]["why"].endswith("; time was out after 3 of 9")


def test_the_budget_for_training_is_for_all_of_them(home: Home) -> None:
    """`max_minutes` holds for the trainings of a night together; a scripted one takes a tenth of a second."""
    home.settings = NightSettings(candidates=9, max_minutes=0.27 / 60)
    assert len(home.candidates(home.sleeps())) == 2


def test_one_candidate_of_several(home: Home) -> None:
    """Without time for a second the first is taken, and nothing was learned of settings."""
    home.settings = NightSettings(candidates=3, candidate_minutes=0)
    home.teacher.harms = takes(home, 60)
    (told,) = home.candidates(home.sleeps())
    assert told["why"] == "the only one; time was out after 1 of 3"
    assert home.ledger.study_log() == []


# ---------------------------------------------------------------------- cut off, and gone on


@pytest.mark.parametrize("at", [1, 2, 3])
def test_stopped_by_hand_and_resumed(home: Home, tmp_path: Path, at: int) -> None:
    """Candidates that were finished are kept, the others are those that would have come; the adapter is the same."""
    count = 0

    def stops(settings: NightSettings) -> Mapping[str, Any]:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return usual_harms(settings)

    home.teacher.harms = stops
    assert home.sleeps().resumable
    home.teacher.calls.clear()
    ended = home.sleeps()
    assert ended.status is NightStatus.PROMOTED
    assert home.teacher.calls.count("train") == 4 - at
    other = Home(tmp_path / "other")
    other.teacher.harms = usual_harms
    other.corrects("moss", "fern")
    undisturbed = other.sleeps()
    assert home.weights() == other.weights()
    seen = [[x["settings"] for x in h.candidates(n)] for h, n in ((home, ended), (other, undisturbed))]
    assert seen[0] == seen[1]


def test_a_night_is_in_the_study_once(home: Home) -> None:
    """Though it was cut off after the race, and runs it again from what is on file."""

    def stop(stage: str, share: float, detail: str) -> None:
        if stage == "publish":
            raise KeyboardInterrupt

    assert home.sleeps(tell=stop).resumable
    kept = len(home.ledger.study_log())
    assert kept
    assert home.sleeps().status is NightStatus.PROMOTED
    assert len(home.ledger.study_log()) == kept


def test_progress_only_grows(home: Home) -> None:
    """Further candidates are a stage of their own, in which the bar moves as well."""
    told: list[tuple[str, float]] = []
    home.sleeps(tell=lambda stage, share, _: told.append((stage, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    of_candidates = [share for stage, share in told if stage == "candidates"]
    assert of_candidates[-1] - of_candidates[0] > 0.5


def test_nights_that_go_on_have_one_candidate() -> None:
    """From the last adapter only its own rank can be gone on with."""
    with pytest.raises(ValidationError, match="have one candidate"):
        NightSettings(continued=True, candidates=2)


# ---------------------------------------------------------------------- with a real learner


def taught(folder: Path, engine: LocalEngine, settings: NightSettings) -> Home:
    """A home whose night trains on `engine`: two corrections, and a night that has ended."""
    home = Home(folder, settings)
    teacher = LocalTeacher(engine, HashingEmbedder, settings, "", folder / "base-answers.json")
    rate(home.ledger, "turkey", "What is the capital of Turkey?", correction=ANKARA, answer="Istanbul.")
    rate(home.ledger, "nepal", "What is the capital of Nepal?", correction=KATHMANDU, answer="Pokhara.")
    asked = home.ledger.request_night(night("n1", created_at=home.clock()))
    made = replace(school(folder, home.ledger, settings=settings, clock=home.clock), teacher=teacher)
    assert run(made, asked.id, seed=3).status is NightStatus.PROMOTED
    return home


def test_candidates_of_a_tiny_model(engine: LocalEngine, tmp_path: Path) -> None:
    """Adapters of other ranks are trained and examined one after another on one engine, twice with the same bytes."""
    settings = NightSettings(
        **{"candidates": 4, "gated": False, "scales": (1.0,), "controls": 2, "pushbacks": 0, "answer_tokens": 4},
        **{"rewordings": 1, "thinned": 0, "replay_rows": 2, "replay_tokens": 4, "neighbour_rows": 0},
        **{"request_rows": 0, "written_rows": 0},
    )
    homes = [taught(tmp_path / name, engine, settings) for name in ("one", "other")]
    files = [(home.folder / "adapters" / "v1" / WEIGHTS_FILE).read_bytes() for home in homes]
    assert files[0] == files[1]
    told = homes[0].candidates(homes[0].ledger.night("n1"))
    assert len({one["settings"]["rank"] for one in told}) > 1
    assert [one["passes"] for one in told] == [True] * 4


@pytest.mark.model
def test_candidates_of_the_real_model(models_dir: Path, tmp_path: Path) -> None:
    """Two candidates learn two capitals; the gate's choice serves, and answers both right."""
    real = LocalEngine(resolve("embedded", models_dir), weights="unpacked", copies=models_dir / "unpacked")
    settings = NightSettings(
        **{"candidates": 2, "scales": (1.0,), "controls": 0, "unrelated": 0, "bisect_minutes": 0, "batch_rows": 4},
        **{"replay_rows": 4, "neighbour_rows": 8, "request_rows": 2, "written_rows": 1},
    )
    home = taught(tmp_path, real, settings)
    one, two = home.candidates(home.ledger.night("n1"))
    assert one["settings"] == USUAL != two["settings"]
    assert [one["chosen"], two["chosen"]].count(True) == 1
    best = one if one["chosen"] else two
    assert best["right"]["tonight"] == [2, 2]
    active = home.ledger.active_adapter()
    assert active is not None
    prompts = [[{"role": "user", "content": f"What is the capital of {name}?"}] for name in ("Turkey", "Nepal")]
    said = dict(real.complete(prompts, max_tokens=16, adapter=adapter_files(tmp_path, active)))
    assert "Ankara" in said[0]
    assert "Kathmandu" in said[1]
