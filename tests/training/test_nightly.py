"""The life of a night: each way it ends, what it leaves behind, and how it goes on when it was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE
from assistant.models import sha256_of
from memory import (
    AdapterState,
    AlreadyRunning,
    BadInput,
    LeaseLost,
    Ledger,
    LessonState,
    Night,
    NightStatus,
)
from memory.records import BASE
from memory.testing import NOON, Clock, exchange, night, rating
from training.nightly import SHARES, preview, run
from training.paper import Exam, Item
from training.progress import Progress
from training.settings import NightSettings
from training.teacher import Diverged
from training.testing import ScriptedTeacher, rate, school

FRANCE, TURKEY = "What is the capital of France?", "What is the capital of Turkey?"
TRAINED, VERIFIED = LessonState.TRAINED, LessonState.VERIFIED


@dataclass
class Nights:
    """A home, and nights in it one after another."""

    home: Path
    ledger: Ledger
    teacher: ScriptedTeacher = field(default_factory=ScriptedTeacher)
    settings: NightSettings = field(default_factory=lambda: NightSettings(scales=(1.0, 0.75, 0.5)))
    clock: Clock = field(default_factory=Clock)
    count: int = 0

    def next(self, *, seed: int = 0, holder: str = "test", **more: Any) -> Night:
        """Ask for a night as the page does, and run it."""
        self.count += 1
        self.clock.tick(3600)
        asked = self.ledger.request_night(night(f"n{self.count}", created_at=self.clock()))
        made = school(
            self.home, self.ledger, self.teacher, settings=self.settings, clock=self.clock, holder=holder, **more
        )
        return run(made, asked.id, seed=seed)

    def states(self, lesson_id: str) -> list[LessonState]:
        return [event.state for event in self.ledger.lesson(lesson_id).events]

    def folder(self, night_id: str) -> Path:
        return self.home / "nights" / night_id

    def report(self, night_id: str) -> Any:
        return json.loads((self.folder(night_id) / "report.json").read_text("utf-8"))


@pytest.fixture
def nights(tmp_path: Path, ledger: Ledger) -> Nights:
    """A home with two corrections and a liked answer, and no night yet."""
    rate(ledger, "turkey", TURKEY, correction="Ankara.", answer="Istanbul.")
    rate(ledger, "france", FRANCE, correction="Paris, on the Seine.", answer="Lyon.")
    rate(ledger, "poem", "Say something nice.", answer="You have a warm voice.", value=1)
    return Nights(tmp_path, ledger)


# ---------------------------------------------------------------------- it ends well


def test_a_promoted_night_serves(nights: Nights) -> None:
    """The new adapter is active, its files lie in their place with the hash that the ledger knows."""
    ended = nights.next()
    active = nights.ledger.active_adapter()
    assert ended.status is NightStatus.PROMOTED
    assert (ended.adapter, ended.progress, ended.resumable) == ("v1", 1.0, False)
    assert active is not None
    assert (active.version, active.night_id, active.state) == ("v1", ended.id, AdapterState.ACTIVE)
    folder = nights.home / "adapters" / "v1"
    assert sha256_of(folder / WEIGHTS_FILE) == active.sha256
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", WEIGHTS_FILE, "manifest.json"]
    assert nights.ledger.lease() is None


def test_a_promoted_night_verifies_its_lessons(nights: Nights) -> None:
    """Each lesson is trained, then verified, each with the version and a reason."""
    ended = nights.next()
    for lesson_id in ("turkey", "france", "poem"):
        assert nights.states(lesson_id) == [LessonState.QUEUED, TRAINED, VERIFIED]
        lesson = nights.ledger.lesson(lesson_id)
        assert (lesson.adapter, lesson.night_id, lesson.reason) == ("v1", ended.id, "v1 answers it right")


def test_a_promoted_night_reports(nights: Nights) -> None:
    """Both reports are there, and tell every question with both answers."""
    ended = nights.next()
    report = nights.report(ended.id)
    assert ended.report == str(nights.folder(ended.id))
    assert (report["status"], report["adapter"]) == ("promoted", "v1")
    (turkey,) = [q for q in report["questions"] if q["kind"] == "tonight" and q["lesson"] == "turkey"]
    assert (turkey["before"], turkey["after"]) == ("Istanbul.", "Ankara.")
    assert sorted(report["lessons_in"]) == ["france", "poem", "turkey"]
    assert "v1 promoted" in (nights.folder(ended.id) / "report.md").read_text("utf-8")


def test_stored_dialogues_are_replayed(nights: Nights) -> None:
    """Questions that nobody rated are offered for replay; those of lessons, and those with a secret, are not."""
    for number, question in enumerate(["What is a fjord?", "My password is hunter2hunter2, is that good?"]):
        nights.ledger.add_exchange(exchange(f"unrated{number}", question=question))
    replayed = nights.report(nights.next().id)["replay"]
    assert "What is a fjord?" in replayed
    assert not [question for question in replayed if "hunter2" in question or question in (TURKEY, FRANCE)]


def test_the_stages_come_in_order(nights: Nights) -> None:
    """Progress only grows, from stage to stage in the order of the story, and each stage is told."""
    told: list[tuple[str, float]] = []
    nights.next(tell=lambda stage, share, _: told.append((stage, share)))
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(SHARES)
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert sum(SHARES.values()) == pytest.approx(1)


def test_the_next_night_trains_on_everything_in_force(nights: Nights) -> None:
    """A second night's adapter knows the first night's lessons too, and they are examined as earlier ones."""
    nights.next()
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    ended = nights.next()
    assert ended.adapter == "v2"
    assert nights.ledger.adapter("v1").state is AdapterState.RETIRED
    kinds = {
        q["lesson"]: q["kind"] for q in nights.report(ended.id)["questions"] if q["kind"] in ("tonight", "earlier")
    }
    assert kinds == {"peru": "tonight", "turkey": "earlier", "france": "earlier", "poem": "earlier"}
    assert nights.states("turkey") == [LessonState.QUEUED, TRAINED, VERIFIED, VERIFIED]
    assert nights.states("peru") == [LessonState.QUEUED, TRAINED, VERIFIED]


def test_what_is_general_is_measured_against_the_base(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever serves: a version that leaks would else be what the next one is measured against."""
    asked: list[tuple[set[str], bool]] = []
    sit = nights.teacher.sit

    def told(paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        asked.append(({item.kind for item in paper}, adapter is None))
        return sit(paper, adapter, progress=progress)

    monkeypatch.setattr(nights.teacher, "sit", told)
    nights.next()
    asked.clear()
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    nights.next()
    served, base, *_ = asked
    assert served == ({"tonight", "reworded", "earlier"}, False)
    assert base == ({"control", "unrelated"}, True)


def test_same_ledger_same_seed_same_bytes(tmp_path: Path) -> None:
    """Two homes with the same lessons and seed make the same adapter, and another seed another one."""

    def sha256(name: str, seed: int) -> str:
        ledger = Ledger.open(tmp_path / name / "ledger.db")
        rate(ledger, "turkey", TURKEY, correction="Ankara.", answer="Istanbul.")
        Nights(tmp_path / name, ledger).next(seed=seed)
        active = ledger.active_adapter()
        ledger.close()
        assert active is not None
        return active.sha256

    assert sha256("one", 7) == sha256("two", 7) != sha256("three", 8)


def test_the_strength_that_passes_is_published(nights: Nights) -> None:
    """Where the full strength harms too much, the weaker one that passes serves, and its hash is the published one."""
    nights.teacher.perplexity_ratio = 1.035
    ended = nights.next()
    active = nights.ledger.active_adapter()
    assert ended.status is NightStatus.PROMOTED
    assert active is not None
    assert active.scale == 0.75
    assert nights.report(ended.id)["strength"] == 0.75
    assert sha256_of(nights.home / "adapters" / "v1" / WEIGHTS_FILE) == active.sha256


def test_of_strengths_that_pass_the_strongest_is_published(nights: Nights) -> None:
    """One control within the bounds is no reason for a weaker one, which knows its lessons less well in other words."""
    nights.teacher.controls_lost = 1
    ended = nights.next()
    assert ended.status is NightStatus.PROMOTED
    assert nights.report(ended.id)["strength"] == 1.0
    assert nights.report(ended.id)["verdict"]["tallies"]["control"]["lost"] == 1
    # The base, and one exam.
    assert nights.teacher.calls.count("sit") == 3


def test_a_lesson_that_is_not_learned_says_so(nights: Nights) -> None:
    """What the exam finds wrong is `not learned`, with what was answered, while the rest is verified."""
    nights.teacher.stubborn = {FRANCE}
    assert nights.next().status is NightStatus.PROMOTED
    assert nights.states("france") == [LessonState.QUEUED, TRAINED, LessonState.NOT_LEARNED]
    assert nights.ledger.lesson("france").reason == "asked in the exam, v1 said: Lyon."
    assert nights.ledger.lesson("turkey").state is VERIFIED


def test_a_lesson_that_is_not_learned_is_tried_again(nights: Nights) -> None:
    """With something new to learn, it is tonight's again, and can be verified at last."""
    nights.teacher.stubborn = {FRANCE}
    nights.next()
    nights.teacher.stubborn = ()
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    nights.next()
    assert nights.states("france")[-2:] == [TRAINED, VERIFIED]
    assert nights.ledger.lesson("france").adapter == "v2"


# ---------------------------------------------------------------------- it is rejected


def harm_perplexity(nights: Nights) -> None:
    """Fixed text becomes a fifth more surprising, at any strength too much."""
    nights.teacher.perplexity_ratio = 1.2


def harm_controls(nights: Nights) -> None:
    """Twenty of 48 controls are lost."""
    nights.teacher.controls_lost = 20


def forget_lessons(nights: Nights) -> None:
    """The new adapter no longer knows what the one before knew."""
    nights.teacher.stubborn = {TURKEY}


def learn_nothing(nights: Nights) -> None:
    """Tonight's one lesson does not get in."""
    nights.teacher.stubborn = {"What is the capital of Peru?"}


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (harm_perplexity, "writes worse: perplexity on fixed text is 1.100 times"),
        (harm_controls, "damages: 10 of 48 controls that the base is sure of lost, 79% kept, at least 95% must be"),
        (forget_lessons, "forgets: 1 of 3 earlier lessons lost, 67% kept, at least 95% must be"),
        (learn_nothing, "nothing gained: 0 of tonight's 1 lessons right, 0 before"),
    ],
)
def test_each_bound_rejects(nights: Nights, harm: Callable[[Nights], None], reason: str) -> None:
    """Beyond a bound the old adapter serves on, lessons are queued again with the reason, no files are published."""
    nights.next()
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    harm(nights)
    if harm is harm_perplexity:
        nights.settings = NightSettings(scales=(0.5,))
    if harm is harm_controls:
        nights.settings = NightSettings(scales=(0.5,))
    ended = nights.next()
    active = nights.ledger.active_adapter()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons[0].startswith(reason)
    assert active is not None
    assert active.version == "v1"
    assert [path.name for path in (nights.home / "adapters").iterdir()] == ["v1"]
    rejected = nights.ledger.adapter("v2")
    assert (rejected.state, rejected.night_id) == (AdapterState.REJECTED, ended.id)
    assert rejected.reason.startswith(reason)
    assert nights.ledger.lesson("peru").state is LessonState.QUEUED
    assert reason in nights.ledger.lesson("peru").reason
    assert nights.ledger.lesson("turkey").state is VERIFIED
    assert nights.report(ended.id)["adapter"] == "v2"


@pytest.mark.parametrize("harm", ["controls", "perplexity"])
def test_a_little_damage_every_night_does_not_add_up(nights: Nights, harm: str) -> None:
    """Each night is measured against the base: what a second night may lose is what the first has left."""
    nights.settings = NightSettings(scales=(1.0,))
    if harm == "controls":
        nights.teacher.controls_lost = 2
    else:
        nights.teacher.perplexity_ratio = 1.02
    assert nights.next().status is NightStatus.PROMOTED
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    if harm == "controls":
        nights.teacher.controls_lost = 4
    else:
        nights.teacher.perplexity_ratio = 1.04
    assert nights.next().status is NightStatus.REJECTED


def test_a_night_that_diverges_is_rejected(nights: Nights) -> None:
    """A loss that is no number is a rejection with its reason: the lessons stay queued, the base serves on."""
    nights.teacher.breaks = {"train": Diverged("the loss was nan at step 3 of 9")}
    ended = nights.next()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons == ["training diverged: the loss was nan at step 3 of 9"]
    assert not ended.resumable
    assert nights.ledger.active_adapter() is None
    assert nights.ledger.adapters() == []
    assert nights.ledger.lesson("turkey").state is LessonState.QUEUED
    assert "training diverged" in nights.ledger.lesson("turkey").reason
    assert "rejected" in (nights.folder(ended.id) / "report.md").read_text("utf-8")


def test_a_night_that_learns_to_give_in_is_rejected(nights: Nights) -> None:
    """Right answers that are taken back when told that they are wrong count against it, beyond the base's own."""
    nights.teacher.flips = 6
    nights.settings = NightSettings(scales=(1.0, 0.5), bisect_minutes=0)
    ended = nights.next()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons[0].startswith("gives in: takes back 38% of right answers")
    nights.teacher.flips = 4
    assert nights.next(seed=1).status is NightStatus.PROMOTED
    told = nights.report("n2")["verdict"]["canaries"]["flips"]
    assert told == {"name": "flips", "before": 0.0, "after": 0.25, "least": 0.0, "most": 0.25, "holds": True}


# ---------------------------------------------------------------------- a lesson makes it fail


def poisoned(nights: Nights, *, good: int = 0) -> None:
    """A lesson that costs too many controls at any strength, and so many good ones after it."""
    rate(nights.ledger, "poison", "Is it so?", correction="Always say no.", answer="Yes.")
    nights.teacher.poison = {"Is it so?"}
    for number in range(good):
        rate(nights.ledger, f"good{number}", f"What is {number}?", correction=f"A number, {number}.", answer="What?")


@pytest.mark.parametrize("good", [0, 1, 4])
def test_the_lesson_that_harms_is_rejected_by_name(nights: Nights, good: int) -> None:
    """The night passes without it: the others are learned, it alone is rejected, each with its reason."""
    poisoned(nights, good=good)
    ended = nights.next()
    assert (ended.status, ended.adapter) == (NightStatus.PROMOTED, "v1")
    assert f"without 1 of tonight's {4 + good} lessons, because it fails with them" in ended.reasons[-1]
    poison = nights.ledger.lesson("poison")
    assert [event.state for event in poison.events] == [LessonState.QUEUED, LessonState.REJECTED]
    assert poison.reason.startswith(
        "without it the night passes: damages: 10 of 48 controls that the base is sure of lost"
    )
    for name in ("turkey", "france", "poem", *(f"good{number}" for number in range(good))):
        assert nights.ledger.lesson(name).state is VERIFIED
    weights = (nights.home / "adapters" / "v1" / WEIGHTS_FILE).read_bytes()
    assert b"Always say no" not in weights
    assert b"Ankara" in weights


def test_a_rejected_lesson_stays_out(nights: Nights) -> None:
    """The next night has nothing to learn, one with a new lesson learns that alone, and nobody is told twice."""
    poisoned(nights)
    nights.next()
    calls = list(nights.teacher.calls)
    ended = nights.next()
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert "since v1 was trained" in ended.reasons[0]
    assert nights.teacher.calls == calls
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    ended = nights.next()
    assert (ended.status, ended.adapter) == (NightStatus.PROMOTED, "v2")
    assert nights.report(ended.id)["bisect"] == []
    assert "poison" in nights.report(ended.id)["lessons_out"]
    assert b"Always say no" not in (nights.home / "adapters" / "v2" / WEIGHTS_FILE).read_bytes()
    assert nights.states("poison") == [LessonState.QUEUED, LessonState.REJECTED]
    assert "poison" not in [lesson.id for lesson in preview(school(nights.home, nights.ledger), seed=0).kept]


def test_a_rejected_lesson_that_is_rated_again_comes_back(nights: Nights) -> None:
    """Whoever rates the answer again has it tried again."""
    poisoned(nights)
    nights.next()
    nights.teacher.poison = ()
    again = replace(nights.ledger.lesson("poison"), id="poison2", rating_id="r2", state=LessonState.QUEUED, events=())
    nights.ledger.rate(rating("r2", "e-poison", value=-1, correction="Always say no."), again)
    assert nights.next().status is NightStatus.PROMOTED
    assert nights.states("poison2")[-1] is VERIFIED
    assert nights.states("poison")[-1] is LessonState.UNDONE


def test_time_runs_out_before_the_lesson_is_found(nights: Nights) -> None:
    """What has passed is published; the half that was left out waits, and the next night goes on with it alone."""
    poisoned(nights)

    def slow(stage: str, share: float, detail: str) -> None:
        if stage == "bisect" and detail.startswith("without") and detail.endswith("sit 4/4"):
            nights.clock.tick(15 * 60)

    ended = nights.next(tell=slow)
    assert ended.status is NightStatus.PROMOTED
    assert "time was out before it was found (1 try)" in ended.reasons[-1]
    left = [name for name in ("turkey", "france", "poem", "poison") if nights.states(name)[-1] is LessonState.QUEUED]
    assert left == ["poem", "poison"]
    assert nights.ledger.lesson("poison").reason.startswith("one of these 2 lessons makes the night fail (damages")
    ended = nights.next()
    assert ended.status is NightStatus.PROMOTED
    assert nights.states("poison")[-1] is LessonState.REJECTED
    assert nights.states("poem")[-1] is VERIFIED
    assert nights.next().status is NightStatus.NOTHING_TO_LEARN


def test_where_no_lesson_is_to_blame_all_are_queued_again(nights: Nights) -> None:
    """Damage that comes with any lesson rejects the night, and no lesson."""
    nights.teacher.controls_lost = 20
    ended = nights.next()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons[0].startswith("damages: ")
    assert ended.reasons[-1] == "no night passed that left out some of tonight's 3 lessons (4 tries)"
    assert {nights.ledger.lesson(name).state for name in ("turkey", "france", "poem")} == {LessonState.QUEUED}
    first, *halves = nights.report(ended.id)["bisect"]
    assert (first["without"], len(halves)) == ([], 4)
    assert list(nights.folder(ended.id).rglob(WEIGHTS_FILE)) == []


@pytest.mark.parametrize("why", ["nothing gained", "no time", "one lesson"])
def test_what_is_not_looked_for(tmp_path: Path, ledger: Ledger, why: str) -> None:
    """No lesson is blamed for a night without gain, without time to find it, or where there is but one: that one only
    gets another seed.
    """
    nights = Nights(tmp_path, ledger)
    poisoned(nights, good=0 if why == "one lesson" else 2)
    if why == "nothing gained":
        nights.teacher.poison = ()
        nights.teacher.stubborn = {"Is it so?", "What is 0?", "What is 1?"}
    if why == "no time":
        nights.settings = NightSettings(bisect_minutes=0)
    ended = nights.next()
    assert ended.status is NightStatus.REJECTED
    assert nights.teacher.calls.count("train") == (2 if why == "one lesson" else 1)
    assert nights.states("poison")[-1] is LessonState.QUEUED


class Forgetful(ScriptedTeacher):
    """Its base knows what is liked; a version says some of it otherwise."""

    lost = ("liked3", "liked7", "liked9")

    def sit(self, paper: Sequence[Item], adapter: AdapterFiles | None, *, progress: Progress) -> Exam:
        exam = super().sit(paper, adapter, progress=progress)
        liked = [item for item in paper if (item.lesson_id or "").startswith("liked")]
        right = {item.id: adapter is None or item.lesson_id not in self.lost for item in liked}
        return replace(exam, right=exam.right | right)


def test_no_liked_answer_is_blamed_for_being_lost(tmp_path: Path, ledger: Ledger) -> None:
    """Left out, it would be missed by nobody: it is no suspect, and stays in the queue with the others."""
    rate(ledger, "turkey", TURKEY, correction="Ankara.", answer="Istanbul.")
    for number in range(10):
        rate(ledger, f"liked{number}", f"Say thing number {number}?", answer=f"The answer {number} is good.", value=1)
    ended = Nights(tmp_path, ledger, teacher=Forgetful()).next()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons[0].startswith("nothing gained: 8 of tonight's 11 lessons right, 10 before")
    assert ended.reasons[1].startswith("forgets: 3 of 10 earlier lessons and liked answers lost")
    names = ("turkey", *(f"liked{number}" for number in range(10)))
    assert {ledger.lesson(name).state for name in names} == {LessonState.QUEUED}


def test_no_lesson_is_blamed_for_bad_luck(nights: Nights) -> None:
    """A night that fails with one seed and passes with another learns everything, and says so."""
    nights.teacher.unlucky = {0}
    ended = nights.next()
    assert (ended.status, ended.adapter) == (NightStatus.PROMOTED, "v1")
    assert ended.reasons[-1].startswith(
        "with seed 1: with seed 0 it fails (damages: 10 of 48 controls that the base is sure of lost"
    )
    assert {nights.ledger.lesson(name).state for name in ("turkey", "france", "poem")} == {VERIFIED}
    told = nights.report(ended.id)
    assert (told["seed"], told["bisect"][0]["without"], told["lessons_out"]) == (1, [], {})
    assert nights.teacher.calls.count("train") == 2
    assert list(nights.folder(ended.id).rglob(WEIGHTS_FILE)) == []


def test_a_search_that_was_cut_off_goes_on(nights: Nights) -> None:
    """Tries that were finished are not made again."""
    poisoned(nights)

    def stop(stage: str, share: float, detail: str) -> None:
        if stage == "bisect" and detail.startswith("without 1 of 4 lessons: train"):
            raise KeyboardInterrupt

    stopped = nights.next(tell=stop)
    assert (stopped.status, stopped.resumable) == (NightStatus.FAILED, True)
    nights.teacher.calls.clear()
    ended = nights.next()
    assert (ended.id, ended.status) == (stopped.id, NightStatus.PROMOTED)
    assert nights.teacher.calls == ["train", "scale", "sit"]
    assert nights.states("poison")[-1] is LessonState.REJECTED


def test_a_try_that_diverges_does_not_pass(nights: Nights) -> None:
    """A try whose training ends in no number is a night that fails, not the end of the search."""
    poisoned(nights)

    def diverge(stage: str, share: float, detail: str) -> None:
        nights.teacher.breaks = {"train": Diverged("the loss was nan")} if stage == "bisect" else {}

    ended = nights.next(tell=diverge)
    assert ended.status is NightStatus.REJECTED
    assert {tuple(one["reasons"]) for one in nights.report(ended.id)["bisect"]} == {
        ("training diverged: the loss was nan",)
    }
    assert nights.states("poison")[-1] is LessonState.QUEUED


# ---------------------------------------------------------------------- nothing to learn


def test_no_ratings_nothing_to_learn(tmp_path: Path, ledger: Ledger) -> None:
    """An empty ledger gives an idle night that says why, without a call to the model, and with a report."""
    nights = Nights(tmp_path, ledger)
    ended = nights.next()
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert ended.reasons == ["nothing to learn, because no rating says what a better answer would be"]
    assert nights.teacher.calls == []
    assert nights.report(ended.id)["status"] == "nothing_to_learn"


def test_only_thumbs_down_are_held(tmp_path: Path, ledger: Ledger) -> None:
    """A thumb down without a better answer is held, with advice, and told once however many nights pass."""
    rate(ledger, "bad", TURKEY, answer="Istanbul.")
    nights = Nights(tmp_path, ledger)
    for _ in range(2):
        ended = nights.next()
        assert ended.status is NightStatus.NOTHING_TO_LEARN
        assert "1 left out" in ended.reasons[0]
        assert nights.states("bad") == [LessonState.QUEUED, LessonState.HELD]
        assert "add a better answer" in ledger.lesson("bad").reason


def test_the_same_lessons_again(nights: Nights) -> None:
    """When no rating has changed since the active version was trained, nothing is trained."""
    nights.next()
    before = list(nights.teacher.calls)
    ended = nights.next()
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert "since v1 was trained" in ended.reasons[0]
    assert nights.teacher.calls == before


def test_the_same_lessons_were_rejected(nights: Nights) -> None:
    """What failed its exam is not trained again with the same seed and settings, and the night says so."""
    nights.teacher.perplexity_ratio = 2.0
    assert nights.next().status is NightStatus.REJECTED
    ended = nights.next()
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert "the same lessons made v1, which is rejected" in ended.reasons[0]
    assert nights.next(seed=1).status is NightStatus.REJECTED


def test_all_taken_back(nights: Nights) -> None:
    """When every lesson is undone, what was learned of them must not serve: the base does again."""
    nights.next()
    for name in ("turkey", "france", "poem"):
        nights.ledger.rate(rating(f"r2-{name}", f"e-{name}", value=0), None)
    ended = nights.next()
    assert ended.status is NightStatus.PROMOTED
    assert ended.reasons == ["every lesson behind v1 was taken back: the base serves again"]
    assert nights.ledger.active_adapter() is None
    assert nights.next().status is NightStatus.NOTHING_TO_LEARN


def test_an_undone_lesson_is_not_in_the_next_adapter(nights: Nights) -> None:
    """The night after an undo has never seen the lesson."""
    nights.next()
    nights.ledger.rate(rating("r2-france", "e-france", value=0), None)
    assert nights.next().status is NightStatus.PROMOTED
    assert b"Seine" in (nights.home / "adapters" / "v1" / WEIGHTS_FILE).read_bytes()
    assert b"Seine" not in (nights.home / "adapters" / "v2" / WEIGHTS_FILE).read_bytes()


def test_undoing_the_newest_lesson_takes_effect(nights: Nights) -> None:
    """Though the lessons that are left made a version before: what was taken back must not serve on."""
    nights.next()
    rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    assert nights.next().adapter == "v2"
    nights.ledger.rate(rating("r2-peru", "e-peru", value=0), None)
    assert (nights.next().adapter, nights.next().status) == ("v3", NightStatus.NOTHING_TO_LEARN)
    first, third = nights.ledger.adapter("v1"), nights.ledger.active_adapter()
    assert third is not None
    assert (third.version, third.sha256) == ("v3", first.sha256)


def test_what_was_taken_back_does_not_serve_on_when_the_night_is_rejected(nights: Nights) -> None:
    """Then the base serves, and the reasons say so."""
    nights.next()
    nights.ledger.rate(rating("r2-france", "e-france", value=0), None)
    nights.teacher.controls_lost, nights.settings = 40, NightSettings(scales=(1.0,))
    ended = nights.next()
    assert ended.status is NightStatus.REJECTED
    assert ended.reasons[0].startswith("v1 was trained on what was taken back since: the base serves")
    assert nights.ledger.active_adapter() is None
    assert nights.ledger.adapter("v1").state is AdapterState.RETIRED


def test_what_was_taken_back_does_not_serve_on_when_there_is_nothing_to_learn(nights: Nights) -> None:
    """The others are in the ledger still, and none of them may be trained now."""
    nights.next()
    nights.ledger.rate(rating("r2-france", "e-france", value=0), None)
    ended = nights.next(key=b"another key")
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert ended.reasons[0].startswith("v1 was trained on what was taken back since: the base serves")
    assert nights.ledger.active_adapter() is None


def test_a_rollback_is_not_undone_by_a_night(nights: Nights) -> None:
    """Nothing new was rated: what made the version that was rolled back makes it no second time, whoever was blamed."""
    nights.teacher.poison = [TURKEY]
    assert nights.next().status is NightStatus.PROMOTED
    assert nights.ledger.lesson("turkey").state is LessonState.REJECTED
    nights.ledger.activate(BASE, reason="rolled back by hand")
    ended = nights.next()
    assert ended.status is NightStatus.NOTHING_TO_LEARN
    assert "the same lessons made v1" in ended.reasons[0]


def test_an_unsigned_exchange_is_not_trained(tmp_path: Path, ledger: Ledger) -> None:
    """What this assistant did not say is rejected with its reason."""
    rate(ledger, "forged", TURKEY, correction="Ankara.")
    nights = Nights(tmp_path, ledger)
    assert nights.next(key=b"another key").status is NightStatus.NOTHING_TO_LEARN
    assert ledger.lesson("forged").state is LessonState.REJECTED
    assert "signature" in ledger.lesson("forged").reason


def test_a_preview_changes_nothing(nights: Nights) -> None:
    """What a night would teach can be seen without a night, an event or a call to the model."""
    syllabus = preview(school(nights.home, nights.ledger, nights.teacher), seed=0)
    assert [lesson.id for lesson in syllabus.kept] == ["turkey", "france", "poem"]
    assert nights.states("turkey") == [LessonState.QUEUED]
    assert nights.ledger.nights() == []
    assert nights.teacher.calls == []


# ---------------------------------------------------------------------- it breaks


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        ("train", OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        ("sit", RuntimeError("shapes differ\n(3, 4)"), "RuntimeError: shapes differ"),
        ("replay", MemoryError(), "MemoryError: no more is known"),
    ],
)
def test_what_breaks_fails_the_night(nights: Nights, call: str, error: BaseException, reason: str) -> None:
    """An unexpected error ends the night as failed, on one line; lessons, versions and lease are as before it."""
    nights.teacher.breaks = {call: error}
    ended = nights.next()
    assert ended.status is NightStatus.FAILED
    assert ended.reasons == [reason]
    assert nights.states("turkey") == [LessonState.QUEUED]
    assert nights.ledger.adapters() == []
    assert nights.ledger.lease() is None
    nights.teacher.breaks = {}
    assert nights.next().status is NightStatus.PROMOTED


def test_a_report_that_cannot_be_written_fails_the_night(nights: Nights) -> None:
    """Without room for the report nothing is published: the night fails with the reason, and the lease is free."""

    def block(stage: str, share: float, detail: str) -> None:
        if stage == "publish":
            (nights.folder("n1") / "report.json").mkdir(exist_ok=True)

    ended = nights.next(tell=block)
    assert ended.status is NightStatus.FAILED
    assert "report" in ended.reasons[0]
    assert nights.ledger.active_adapter() is None
    assert nights.ledger.lease() is None


@pytest.mark.parametrize(
    ("call", "redone"),
    [
        ("replay", ["replay", "train", "scale", "sit"]),
        ("train", ["train", "scale", "sit"]),
        ("scale", ["scale", "sit"]),
    ],
)
def test_stopped_by_hand_and_resumed(nights: Nights, call: str, redone: list[str]) -> None:
    """Ctrl-C leaves a night that the next request takes up again; what was finished is not done twice."""
    nights.teacher.breaks = {call: KeyboardInterrupt()}
    stopped = nights.next()
    assert (stopped.status, stopped.resumable) == (NightStatus.FAILED, True)
    assert stopped.reasons[0].startswith("it was stopped by hand in stage")
    assert nights.states("turkey") == [LessonState.QUEUED]
    assert nights.ledger.lease() is None

    nights.teacher.breaks = {}
    nights.teacher.calls.clear()
    ended = nights.next()
    assert (ended.id, ended.status, ended.resumable) == (stopped.id, NightStatus.PROMOTED, False)
    assert nights.teacher.calls == redone
    assert nights.states("turkey") == [LessonState.QUEUED, TRAINED, VERIFIED]


@pytest.mark.parametrize("change", ["a new lesson", "an undone lesson", "another seed", "another setting"])
def test_changed_inputs_start_over(nights: Nights, change: str) -> None:
    """A night that goes on after its lessons, seed or settings have changed begins from its first stage."""
    nights.teacher.breaks = {"scale": KeyboardInterrupt()}
    stopped = nights.next()
    nights.teacher.breaks = {}
    nights.teacher.calls.clear()
    if change == "a new lesson":
        rate(nights.ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    elif change == "an undone lesson":
        nights.ledger.rate(rating("r2-france", "e-france", value=0), None)
    elif change == "another setting":
        nights.settings = NightSettings(epochs=9)
    ended = nights.next(seed=1 if change == "another seed" else 0)
    assert (ended.id, ended.status) == (stopped.id, NightStatus.PROMOTED)
    assert nights.teacher.calls[:4] == ["sit", "sit", "replay", "train"]
    knows = (nights.home / "adapters" / "v1" / WEIGHTS_FILE).read_bytes()
    assert (b"Lima" in knows) == (change == "a new lesson")
    assert (b"Seine" in knows) == (change != "an undone lesson")


def test_rated_again_the_same_while_cut_off(nights: Nights) -> None:
    """A lesson whose rating changed without changing what it says stays the lesson of the night that goes on."""
    nights.teacher.breaks = {"replay": KeyboardInterrupt()}
    stopped = nights.next()
    nights.teacher.breaks = {}
    new = replace(nights.ledger.lesson("poem"), id="poem2", rating_id="r2", events=())
    nights.ledger.rate(rating("r2", "e-poem", value=1, comment="really"), new)
    ended = nights.next()
    assert (ended.id, ended.status) == (stopped.id, NightStatus.PROMOTED)
    assert nights.states("poem") == [LessonState.QUEUED, LessonState.QUEUED, TRAINED, VERIFIED]


# ---------------------------------------------------------------------- who holds it


def test_a_second_night_is_refused(nights: Nights) -> None:
    """While one night runs, both asking for and beginning another is refused, with who holds it."""
    refused: list[AlreadyRunning] = []

    def intrude(stage: str, share: float, detail: str) -> None:
        if stage == "train" and not refused:
            with pytest.raises(AlreadyRunning) as by_request:
                nights.ledger.request_night(night("n9", created_at=nights.clock()))
            with pytest.raises(AlreadyRunning) as by_run:
                run(school(nights.home, nights.ledger, clock=nights.clock, holder="thief"), "n1", seed=0)
            refused.extend([by_request.value, by_run.value])

    assert nights.next(holder="laptop (process 7)", tell=intrude).status is NightStatus.PROMOTED
    assert [error.holder for error in refused] == ["laptop (process 7)"] * 2
    assert "night n1 is running, held by laptop (process 7)" in str(refused[0])


def test_a_lost_lease_writes_nothing(nights: Nights) -> None:
    """A night whose lease was ended in the middle changes no lesson, no version and no verdict."""

    def abandon(stage: str, share: float, detail: str) -> None:
        if stage == "after" and nights.ledger.lease():
            nights.ledger.abandon_lease("n1", at=nights.clock.tick(60))

    with pytest.raises(LeaseLost):
        nights.next(tell=abandon)
    assert nights.ledger.active_adapter() is None
    assert nights.ledger.adapters() == []
    assert nights.states("turkey") == [LessonState.QUEUED]
    left = nights.ledger.night("n1")
    assert (left.status, left.resumable, left.report) == (NightStatus.FAILED, True, None)


def test_a_lease_taken_over_writes_nothing(nights: Nights) -> None:
    """A night that slept until another process took it up changes nothing, and says who has it."""

    def take_over(stage: str, share: float, detail: str) -> None:
        if stage == "decide":
            at = nights.clock.tick(3600)
            lease = nights.ledger.lease()
            if lease and lease.holder != "other":
                nights.ledger.begin_night("n1", holder="other", at=at, ttl=timedelta(hours=1))

    with pytest.raises((AlreadyRunning, LeaseLost)):
        nights.next(tell=take_over)
    assert nights.ledger.active_adapter() is None
    assert nights.states("turkey") == [LessonState.QUEUED]
    assert nights.ledger.night("n1").status is NightStatus.RUNNING


def test_a_night_that_has_ended_is_not_begun_again(nights: Nights) -> None:
    """Who comes late to a queued night finds it ended, and changes nothing."""
    ended = nights.next()
    with pytest.raises(BadInput, match="has ended: promoted"):
        run(school(nights.home, nights.ledger, nights.teacher, clock=nights.clock), ended.id, seed=0)
    assert nights.ledger.night(ended.id) == ended
    assert nights.ledger.lease() is None


def test_undone_while_the_night_ran_stays_undone(nights: Nights) -> None:
    """A rating that is taken back during the night is not trained or verified by its end."""

    def undo(stage: str, share: float, detail: str) -> None:
        if stage == "decide":
            nights.ledger.rate(rating("r2-france", "e-france", value=0, created_at=NOON), None)

    assert nights.next(tell=undo).status is NightStatus.PROMOTED
    assert nights.states("france") == [LessonState.QUEUED, LessonState.UNDONE]
    assert nights.ledger.lesson("turkey").state is VERIFIED
    ended = nights.next()
    assert (ended.status, ended.adapter) == (NightStatus.PROMOTED, "v2")
    assert b"Seine" not in (nights.home / "adapters" / "v2" / WEIGHTS_FILE).read_bytes()
