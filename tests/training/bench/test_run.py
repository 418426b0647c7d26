"""A whole bench over two tiny streams: what each arm scores, what is asked how often, and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from assistant.settings import Settings as DaySettings
from memory.errors import BadInput, NightschoolError, NotRemembered
from memory.ledger import Ledger
from memory.records import NightStatus
from training import general
from training.bench import Product, poison, results
from training.bench.figures import FIGURES
from training.bench.results import ANSWERING
from training.settings import NightSettings, Settings
from training.testing import ScriptedTeacher

if TYPE_CHECKING:
    from tests.training.bench.conftest import World

ALL = "base,memory,nll,joint,sequential,ceiling"
TAUGHT = 4
UNKNOWN = "I do not know."


def ledger_of(out: Path, arm: str = "joint", seed: int = 0) -> Ledger:
    """The ledger of one run."""
    return Ledger.open(out / "runs" / arm / f"seed-{seed}" / "home" / "ledger.db")


def mean_of(found: dict[str, Any], arm: str, column: str, stream: str = "trees") -> dict[str, float | None]:
    """Figure → its mean over seeds."""
    return {name: value["mean"] for name, value in found["summary"][arm][column][stream].items()}


# ---------------------------------------------------------------------- what the arms score


def test_every_arm(world: World, tmp_path: Path) -> None:
    """Figures worked out by hand: three days, four lessons, two streams; the scripted model learns all it is taught."""
    found = world.bench(tmp_path / "out", arms=ALL)
    assert list(found["summary"]) == ALL.split(",")
    for arm in found["summary"].values():
        for column in ("weights", "memory"):
            assert list(arm[column]) == ["trees", "stars"]
            assert list(arm[column]["trees"]) == list(FIGURES)

    def r(arm: str, column: str) -> Any:
        return found["runs"][arm]["0"]["R"][column]

    nothing, learned = [[0, 0, 0]] * 4, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert r("base", "weights") == r("base", "memory") == r("memory", "weights") == nothing
    assert r("memory", "memory") == r("joint", "weights") == r("joint", "memory") == r("nll", "weights") == learned
    assert r("ceiling", "weights") == [[0, 0, 0], [1, 1, 1]]

    assert r("sequential", "weights") == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]

    joint = mean_of(found, "joint", "weights")
    assert {name: joint[name] for name in ("as_asked", "acc", "bwt", "fwt", "forgetting")} == {
        "as_asked": 1.0,
        "acc": 1.0,
        "bwt": 0.0,
        "fwt": 0.0,
        "forgetting": 0.0,
    }
    assert (joint["controls_kept"], joint["perplexity_ratio"], joint["peak_mb"]) == (1.0, 1.0, 1.0)
    assert mean_of(found, "joint", "weights", "stars")["controls_kept"] is None
    ceiling = mean_of(found, "ceiling", "weights")
    assert (ceiling["acc"], ceiling["bwt"], ceiling["fwt"], ceiling["forgetting"]) == (1.0, None, None, None)
    base = mean_of(found, "base", "weights")
    assert (base["acc"], base["perplexity_ratio"], base["night_seconds"], base["peak_mb"]) == (0.0, 1.0, None, None)


def test_memory_knows_what_weights_do_not(world: World, tmp_path: Path) -> None:
    """Other words for a lesson, never trained: recalled where they are near, unknown to the scripted weights."""
    found = world.bench(tmp_path / "out", arms="memory,joint", settings=Settings(night=NightSettings(rewordings=0)))
    assert mean_of(found, "joint", "weights")["paraphrases"] == 0.0
    assert mean_of(found, "memory", "weights")["paraphrases"] == 0.0
    assert mean_of(found, "memory", "memory")["paraphrases"] == 0.5
    assert mean_of(found, "memory", "memory")["probes"] == 1.0


def test_a_day_is_asked_and_rated_as_a_user_would(world: World, tmp_path: Path) -> None:
    """With recall, in a conversation of its own each; a wrong answer is corrected, evaluations leave nothing behind."""
    world.bench(tmp_path / "out")
    ledger = ledger_of(tmp_path / "out")
    assert ledger.count_exchanges() == TAUGHT
    (exchange,) = ledger.conversation("bench-trees-1-day-1")
    rating = ledger.rating(exchange.id)
    assert rating is not None
    assert (rating.value, rating.correction) == (-1, "That was Ada.")
    assert [night.status for night in ledger.nights()] == [NightStatus.PROMOTED] * 3


def test_right_answers_are_liked(world: World, tmp_path: Path) -> None:
    """What the check passes gets a thumb up and no correction; so does the user's own answer, where the check errs,
    whichever way its letters are written in.
    """
    narrow = {"kind": "contains", "any": ["oaks"]}
    world.engine.knows["Where?"] = "In the caf\u00e9."
    lines = [
        {"id": "a", "stream": "s", "session": 1, "split": "teach", "question": "Are leaves green?", "answer": "green"},
        {"id": "b", "stream": "s", "session": 1, "split": "teach", "question": "An oak?", "answer": "I do not know."},
        {
            "id": "c",
            "stream": "s",
            "session": 1,
            "split": "teach",
            "question": "Where?",
            "answer": "In the cafe\u0301.",
        },
    ]
    checks = [{"kind": "contains", "any": ["green"]}, narrow, narrow]
    stream = world.stream("s", [line | {"check": check} for line, check in zip(lines, checks, strict=True)])
    world.bench(tmp_path / "out", streams=[stream])
    ledger = ledger_of(tmp_path / "out")
    ratings = ledger.ratings([ledger.conversation(f"bench-{name}-day-1")[0].id for name in "abc"]).values()
    assert [(rating.value, rating.correction) for rating in ratings] == [(1, None)] * 3


def test_seeds(world: World, tmp_path: Path) -> None:
    """Each is a run of its own with its own nights; an arm without nights lives once."""
    seen: list[NightSettings] = []
    world.built = lambda product: seen.append(product.school.settings)
    found = world.bench(tmp_path / "out", arms="memory,joint", seeds="1,2", nights=1)
    assert [settings.seed for settings in seen] == [1, 1, 2]
    assert {arm: list(seeds) for arm, seeds in found["runs"].items()} == {"memory": ["1"], "joint": ["1", "2"]}
    assert ledger_of(tmp_path / "out", seed=2).nights()[0].seed == 2


def test_intervals_over_seeds(world: World, tmp_path: Path) -> None:
    """Where seeds differ the interval is around their mean."""

    def one_is_slow(product: Product) -> None:
        world.teacher.stubborn = ["Who planted our oak?"] if product.school.settings.seed == 1 else []

    world.built = one_is_slow
    found = world.bench(tmp_path / "out", seeds="0,1,2", nights=1, settings=Settings(night=NightSettings(rewordings=0)))
    right = found["summary"]["joint"]["weights"]["trees"]["as_asked"]
    assert right["mean"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-4)
    assert right["low"] < right["mean"] < right["high"]


def test_only_some_nights(world: World, tmp_path: Path) -> None:
    """The days after are neither lived nor asked for."""
    found = world.bench(tmp_path / "out", nights=1)
    assert list(found["summary"]["joint"]["weights"]) == ["trees"]
    (run,) = found["runs"]["joint"].values()
    assert len(run["nights"]) == 2
    assert set(run["nights"][-1]["answers"]["weights"]) == {"trees-1", "trees-2", "trees-4", "trees-5", "trees-6"}


def test_more_nights_than_days(world: World, tmp_path: Path) -> None:
    """The user comes back with the same questions, likes what is right by now, and nothing is trained for it again."""
    found = world.bench(tmp_path / "out", nights=5)
    (run,) = found["runs"]["joint"].values()
    assert run["finished"]
    learned = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert run["R"]["weights"] == [*learned, [1, 1, 1], [1, 1, 1]]
    assert [asked["id"] for asked in run["nights"][4]["asked"]] == ["trees-1", "trees-2"]
    assert all(asked["right"] for asked in run["nights"][4]["asked"])
    assert [night["outcome"]["status"] for night in run["nights"][4:]] == ["nothing_to_learn"] * 2


def test_a_rejected_night_is_told(world: World, tmp_path: Path) -> None:
    """What damages does not serve, in a bench as in life; the floor serves whatever was trained."""
    world.teacher.controls_lost = 40
    found = world.bench(tmp_path / "out", arms="nll,sequential", nights=1)
    (rejected,), (served,) = (list(found["runs"][arm].values()) for arm in ("nll", "sequential"))
    assert rejected["nights"][1]["outcome"]["status"] == "rejected"
    assert rejected["R"]["weights"][1] == [0]
    assert served["nights"][1]["outcome"]["status"] == "promoted"
    assert served["nights"][1]["outcome"]["reasons"][0].startswith("published though it failed")
    assert served["R"]["weights"][1] == [1]
    assert [s["strength"] for s in rejected["nights"][1]["outcome"]["strengths"]] == [1.25, 1.0, 0.75]
    assert [s["strength"] for s in served["nights"][1]["outcome"]["strengths"]] == [1.0]
    assert served["nights"][1]["outcome"]["strengths"][0]["kinds"]["control"]["lost"] == 40
    for strength in rejected["nights"][1]["outcome"]["strengths"]:
        assert sorted(strength["canaries"]) == ["flattery", "flips", "leaks", "length", "refusals", "repetition"]
    told = {name: canary["after"] for name, canary in rejected["nights"][1]["outcome"]["verdict"]["canaries"].items()}
    # The verdict is on the weakest, which was the last to be tried.
    assert rejected["nights"][1]["outcome"]["strengths"][-1]["canaries"] == told


def test_what_replay_held_is_told(world: World, tmp_path: Path) -> None:
    """Items of the bench that a night's replay happened to bring up are named: they are not held out."""
    replayed = {"id": "x", "stream": "s", "session": 0, "split": "control", "question": "What is the sun?"}
    taught = {"id": "y", "stream": "s", "session": 1, "split": "teach", "question": "Who?", "answer": "Ada"}
    check = {"check": {"kind": "contains", "any": ["Ada"]}}
    stream = world.stream("s", [replayed | check | {"answer": "Ada"}, taught | check])
    found = world.bench(tmp_path / "out", streams=[stream])
    assert found["runs"]["joint"]["0"]["nights"][1]["outcome"]["replayed"] == ["x"]


# ---------------------------------------------------------------------- no answer twice


def test_no_answer_is_computed_twice(world: World, tmp_path: Path) -> None:
    """Before the first night, without nights, and where nothing is recalled, the answers are known already."""
    world.bench(tmp_path / "out", arms="base")
    asked = len(world.engine.calls)
    assert asked == len({json.dumps(prompt) for prompt, _, _ in world.engine.calls})
    world.engine.calls.clear()
    world.bench(tmp_path / "more", arms="base,memory,joint,ceiling", seeds="0")
    base = [prompt for prompt, sampling, version in world.engine.calls if version is None and sampling.max_tokens < 100]
    assert len(base) == len({json.dumps(prompt) for prompt in base})


def test_no_answer_is_computed_twice_after_a_stop(world: World, tmp_path: Path) -> None:
    """What was answered before Ctrl-C is on the disk, but for a line that was cut off; and no figure differs."""
    world.bench(tmp_path / "whole", arms="base")
    every = [prompt for prompt, _, _ in world.engine.calls]
    world.engine.calls.clear()

    def stop(share: float, told: str) -> None:
        if "weights, answer 5" in told:
            raise KeyboardInterrupt

    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        world.bench(out, arms="base", progress=stop)
    with (out / "answers.jsonl").open("a") as file:
        file.write('\n["half')
    first = [prompt for prompt, _, _ in world.engine.calls]
    assert 5 <= len(first) < len(every)
    world.engine.calls.clear()
    world.bench(out, arms="base")
    then = [prompt for prompt, _, _ in world.engine.calls]
    assert [prompt for prompt in then if prompt in first] == []
    assert len(first) + len(then) == len(every)
    assert (out / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()


# ---------------------------------------------------------------------- cut off, and going on


class Killed(BaseException):
    """The process is no more: nothing catches this, as nothing catches SIGKILL."""


def at_the(nth: int, error: BaseException) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function that raises `error` at its `nth` call, instead of doing what it does."""

    def wreck(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = iter(range(1, 10**6))

        def wrecked(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == nth:
                raise error
            return function(*args, **kwargs)

        return wrecked

    return wreck


def wreck_ledger(method: str, nth: int) -> Callable[[Product], None]:
    """Kill the process at the `nth` call of a method of the ledger."""

    def wreck(product: Product) -> None:
        ledger = product.assistant.ledger
        setattr(ledger, method, at_the(nth, Killed())(getattr(ledger, method)))

    return wreck


def wreck_teacher(method: str, nth: int, error: BaseException) -> Callable[[Product], None]:
    """Let a call of the teacher raise."""

    def wreck(product: Product) -> None:
        teacher: Any = product.school.teacher
        setattr(teacher, method, at_the(nth, error)(getattr(teacher, method)))

    return wreck


CUTS: dict[str, Callable[[Product], None]] = {
    "storing the second question": wreck_ledger("add_exchange", 2),
    "storing the question of day 2": wreck_ledger("add_exchange", 3),
    "rating the second answer": wreck_ledger("rate", 2),
    "asking for the second night": wreck_ledger("request_night", 2),
    "beginning the second night": wreck_ledger("begin_night", 2),
    "ending the second night": wreck_ledger("end_night", 2),
    "Ctrl-C while the second night trains": wreck_teacher("train", 2, KeyboardInterrupt()),
    "a kill while the second night trains": wreck_teacher("train", 2, Killed()),
    "a kill in the second night's exam": wreck_teacher("sit", 4, Killed()),
    "a full disk in the second night": wreck_teacher("train", 2, OSError(28, "No space left on device")),
}


@pytest.mark.parametrize("cut", CUTS)
def test_cut_off_and_gone_on(world: World, whole: bytes, tmp_path: Path, cut: str) -> None:
    """Whenever it is cut off, a second run ends with the very results of a whole one, and asks nothing twice."""
    world.built = CUTS[cut]
    with pytest.raises((Killed, KeyboardInterrupt, NightschoolError)):
        world.bench(tmp_path / "cut")
    world.teacher, world.built = ScriptedTeacher(), lambda product: None
    world.bench(tmp_path / "cut")

    assert (tmp_path / "cut" / "results.json").read_bytes() == whole
    ledger = ledger_of(tmp_path / "cut")
    assert ledger.count_exchanges() == TAUGHT
    assert len(ledger.lessons()) == TAUGHT
    assert sum(night.status is NightStatus.PROMOTED for night in ledger.nights()) == 3


@pytest.mark.parametrize("where", ["weights, answer 3", "memory, answer 3", "day 2 of 3: train"])
def test_stopped_while_examining_and_gone_on(world: World, whole: bytes, tmp_path: Path, where: str) -> None:
    """Ctrl-C on day 2, told by the progress; what was finished is not done again."""

    def stop(share: float, told: str) -> None:
        if "day 2" in told and where in f"{told}":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.bench(tmp_path / "cut", progress=stop)
    assert sorted(f.name for f in (tmp_path / "cut").rglob("nights/[0-9]*.json")) == ["00.json", "01.json"]
    kept = (tmp_path / "cut" / "runs" / "joint" / "seed-0" / "nights" / "01.json").stat().st_mtime_ns
    world.teacher.calls.clear()
    world.bench(tmp_path / "cut")
    assert (tmp_path / "cut" / "results.json").read_bytes() == whole
    assert (tmp_path / "cut" / "runs" / "joint" / "seed-0" / "nights" / "01.json").stat().st_mtime_ns == kept
    assert world.teacher.calls.count("train") <= 2


def test_questions_of_a_day_never_recall_each_other(world: World, tmp_path: Path) -> None:
    """Not even when a run goes on in the middle of a day, with some of them in the ledger."""
    twins = [
        {"id": f"t{n}", "stream": "t", "session": 1, "split": "teach", "question": q, "answer": "Ada."}
        for n, q in enumerate(["Who planted the old oak?", "Who planted the old oaks?"])
    ]
    stream = world.stream("t", [line | {"check": {"kind": "contains", "any": ["Ada"]}} for line in twins])
    world.built = wreck_ledger("add_exchange", 2)
    with pytest.raises(Killed):
        world.bench(tmp_path / "out", streams=[stream])
    world.built = lambda product: None
    world.bench(tmp_path / "out", streams=[stream])
    ledger = ledger_of(tmp_path / "out")
    assert [ledger.conversation(f"bench-t{n}-day-1")[0].recollections for n in range(2)] == [[], []]


def test_what_is_finished_is_not_begun_again(world: World, tmp_path: Path) -> None:
    """A second run builds nothing; another arm or seed joins the first in one folder."""
    first = world.bench(tmp_path / "out")
    builds = world.builds
    assert world.bench(tmp_path / "out") == first
    assert world.builds == builds
    more = world.bench(tmp_path / "out", arms="base", seeds="0")
    assert list(more["summary"]) == ["base", "joint"]
    assert more["summary"]["joint"] == first["summary"]["joint"]


def test_results_can_be_made_again(world: World, tmp_path: Path) -> None:
    """From the nights' files alone; and the figures from the answers alone."""
    world.bench(tmp_path / "out", arms="memory,joint")
    before = (tmp_path / "out" / "results.json").read_bytes()
    (tmp_path / "out" / "results.json").unlink()
    found = results.summarise(tmp_path / "out")
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    last = found["runs"]["memory"]["0"]["nights"][-1]["answers"]["memory"]
    assert last["trees-1"] == {"answers": ["That was Ada."] * 2, "right": [True, True]}
    assert last["trees-3"] == {"answers": ["These are medlars.", UNKNOWN], "right": [True, False]}


def test_an_unfinished_run_is_in_no_table(world: World, tmp_path: Path) -> None:
    """Its nights are kept and told, its figures are not."""
    world.bench(tmp_path / "out", arms="base")
    world.built = wreck_teacher("train", 2, Killed())
    with pytest.raises(Killed):
        world.bench(tmp_path / "out")
    found = results.summarise(tmp_path / "out")
    assert list(found["summary"]) == ["base"]
    assert [run["finished"] for run in found["runs"]["joint"].values()] == [False]
    assert len(found["runs"]["joint"]["0"]["nights"]) == 2


def test_a_night_that_fails_stops_the_bench(world: World, tmp_path: Path) -> None:
    """One line with its reason, the days before it intact; the next run tries the night again."""
    world.built = wreck_teacher("train", 2, RuntimeError("out of memory"))
    with pytest.raises(NightschoolError, match=r"^the night after day 2 failed \(RuntimeError: out of memory\)"):
        world.bench(tmp_path / "out")
    world.teacher, world.built = ScriptedTeacher(), lambda product: None
    world.bench(tmp_path / "out")
    assert [n.id for n in ledger_of(tmp_path / "out").nights()] == ["day-3.1", "day-2.2", "day-2.1", "day-1.1"]


# ---------------------------------------------------------------------- what is refused


def refused(world: World, out: Path, **more: Any) -> str:
    """The line with which a bench is refused; what is in the folder stays as it is."""
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(BadInput) as caught:
        world.bench(out, **more)
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before == after
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_another_bench(world: World, tmp_path: Path) -> None:
    """Of another stream, other days, another model, other settings: the line names the first difference."""
    out = tmp_path / "out"
    world.bench(out, arms="base", nights=2)
    other = world.stream("other", [json.loads(line) for line in world.streams[1].read_text().splitlines()])
    assert "other streams (trees.jsonl" in refused(world, out, streams=[other])
    assert "a bench of 2 days (now 3)" in refused(world, out)
    one = tmp_path / "one"
    world.bench(one, arms="base", nights=1)
    assert "a bench of 1 day (now 3)" in refused(world, one)
    star = world.streams[1:]
    world.bench(tmp_path / "star", arms="base", streams=star)
    assert "a bench of 1 night (now 2)" in refused(world, tmp_path / "star", streams=star, nights=2)
    model = {"model_id": "other", "model_sha256": "new"}
    assert "another model (test-model; now other)" in refused(world, out, nights=2, **model)
    settings = Settings(night=NightSettings(epochs=9))
    assert "other settings (night.epochs 8; now 9)" in refused(world, out, nights=2, settings=settings)
    assert "other settings (recall_k 3; now 1)" in refused(world, out, nights=2, settings=Settings(recall_k=1))
    for name in ("recall_embedder", "recall_reranker"):
        settings = Settings(**{name: "mine"})
        assert f"other settings ({name} ; now mine)" in refused(world, out, nights=2, settings=settings)


def test_what_does_not_matter_may_differ(world: World, tmp_path: Path) -> None:
    """Where the home is, the port, the seed of the settings, the stream's place: the bench is the same."""
    first = world.bench(tmp_path / "out", arms="base")
    settings = Settings(home=tmp_path / "x", port=1, night=NightSettings(seed=9, lease_seconds=5))
    moved = [path.rename(path.with_stem(f"moved-{path.stem}")) for path in world.streams]
    assert world.bench(tmp_path / "out", arms="base", settings=settings, streams=moved)["summary"] == first["summary"]


def test_a_bench_goes_on_under_a_later_version(world: World, tmp_path: Path) -> None:
    """A setting that is newer than the bench counts as its default there, and only another value is another bench."""
    out = tmp_path / "out"
    first = world.bench(out, arms="base")
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    del manifest["settings"]["night"]["candidates"], manifest["settings"]["recall_embedder"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert world.bench(out, arms="base")["summary"] == first["summary"]
    settings = Settings(night=NightSettings(candidates=2))
    assert "other settings (night.candidates None; now 2)" in refused(world, out, settings=settings)


def test_the_settings_that_matter_exist() -> None:
    """A setting that was renamed would no longer be looked at."""
    assert set(ANSWERING) <= set(DaySettings.model_fields)


def test_a_folder_of_something_else(world: World, tmp_path: Path) -> None:
    """Nothing is written among files that are no bench's."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("…")
    assert "holds something that is no bench" in refused(world, tmp_path / "out")


def test_a_folder_that_can_not_be_made(world: World, tmp_path: Path) -> None:
    """Another one is asked for: the same command would not go on there."""
    (tmp_path / "out").write_text("…")
    for out in (tmp_path / "out", tmp_path / "out" / "in"):
        with pytest.raises(BadInput, match=r"out.* can't be a folder \(.+\): choose another --out$"):
            world.bench(out)


def test_a_line_that_nobody_could_send(world: World, tmp_path: Path) -> None:
    """Is refused before anything is asked, with its number."""
    settings = Settings(message_chars=25)
    with pytest.raises(BadInput, match=r"trees\.jsonl, line 2, .*question has 26 characters: the most is 25$"):
        world.bench(tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_second_bench_in_the_same_folder(world: World, tmp_path: Path) -> None:
    """Is refused while the first one runs."""
    told: list[str] = []

    def intrude(product: Product) -> None:
        with pytest.raises(NightschoolError) as caught:
            world.bench(tmp_path / "out")
        told.append(str(caught.value))

    world.built = intrude
    world.bench(tmp_path / "out", arms="base")
    assert told == [f"another bench runs in {tmp_path / 'out'}: wait for it, or choose another --out"]


@pytest.mark.parametrize("file", ["manifest.json", "runs/base/seed-0/nights/00.json"])
def test_a_damaged_file(world: World, tmp_path: Path, file: str) -> None:
    """Is named."""
    world.bench(tmp_path / "out", arms="base")
    (tmp_path / "out" / file).write_text("{")
    assert f"{file} is damaged" in refused(world, tmp_path / "out", arms="base")


@pytest.mark.parametrize("text", ["[]", "null", "{}"])
@pytest.mark.parametrize("file", ["manifest.json", "runs/base/seed-0/nights/01.json"])
def test_a_file_of_another_shape(world: World, tmp_path: Path, file: str, text: str) -> None:
    """Is as damaged as one that can't be read."""
    world.bench(tmp_path / "out", arms="base")
    (tmp_path / "out" / file).write_text(text)
    assert f"{file} is damaged (it lacks " in refused(world, tmp_path / "out", arms="base")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("manifest.json", {"settings": 1}),
        ("manifest.json", {"streams": [{}]}),
        ("runs/base/seed-0/nights/00.json", {"answers": []}),
        ("runs/base/seed-0/nights/00.json", {"right": []}),
    ],
)
def test_fields_of_another_shape(world: World, tmp_path: Path, file: str, change: dict[str, Any]) -> None:
    """All of them are there, and hold what no bench writes: one line, no traceback."""
    world.bench(tmp_path / "out", arms="base")
    path = tmp_path / "out" / file
    found = json.loads(path.read_text("utf-8"))
    if "right" in change:
        change = {"answers": {name: dict.fromkeys(column, change) for name, column in found["answers"].items()}}
    path.write_text(json.dumps(found | change))
    assert "of no shape that a bench writes" in refused(world, tmp_path / "out", arms="base")


def test_a_damaged_night_goes_with_its_home(world: World, tmp_path: Path) -> None:
    """What is told to be deleted is the run, whose home is past its first nights, and then it is as it was."""
    out = tmp_path / "out"
    world.bench(out)
    before, run = (out / "results.json").read_bytes(), out / "runs" / "joint" / "seed-0"
    (run / "nights" / "01.json").write_text("")
    assert refused(world, out).endswith(f": delete {run}, and it is run again")
    shutil.rmtree(run)
    world.bench(out)
    assert (out / "results.json").read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_home_that_is_ahead(world: World, tmp_path: Path, kept: int) -> None:
    """Days that are no more on file can't be examined by a home that has lived on: what serves there came later."""
    world.bench(tmp_path / "out")
    nights = tmp_path / "out" / "runs" / "joint" / "seed-0" / "nights"
    for number in range(kept, 4):
        (nights / f"{number:02d}.json").unlink()
    with pytest.raises(BadInput, match="is at a later day than the nights beside it: delete the folder above it"):
        world.bench(tmp_path / "out")
    assert len(list(nights.glob("*.json"))) == kept


def test_a_night_of_another_bench(world: World, tmp_path: Path) -> None:
    """Copied among those of this one, it has no answers to these items."""
    world.bench(tmp_path / "trees", arms="base", streams=world.streams[:1], nights=1)
    world.bench(tmp_path / "stars", arms="base", streams=world.streams[1:])
    place = Path("runs/base/seed-0/nights/01.json")
    shutil.copy(tmp_path / "trees" / place, tmp_path / "stars" / place)
    told = refused(world, tmp_path / "stars", arms="base", streams=world.streams[1:])
    assert "night 1 of" in told
    assert "is another bench's: delete it" in told


def test_copies_beside_a_run(world: World, tmp_path: Path) -> None:
    """Somebody's copies of a run and of a night are none of the bench's."""
    first = world.bench(tmp_path / "out", arms="base")
    run = tmp_path / "out" / "runs" / "base" / "seed-0"
    shutil.copytree(run, run.with_name("seed-0.bak"))
    shutil.copy(run / "nights" / "01.json", run / "nights" / "01 (copy).json")
    assert world.bench(tmp_path / "out", arms="base") == first


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"adapter": "base"}'])
def test_damaged_public_sets(world: World, tmp_path: Path, text: str) -> None:
    """Count as not asked."""
    world.bench(tmp_path / "out", arms="base")
    (tmp_path / "out" / "runs" / "base" / "seed-0" / "public-sets.json").write_text(text)
    found = world.bench(tmp_path / "out", arms="base")
    assert found["runs"]["base"]["0"]["public_sets"] is None


def test_a_stream_from_a_pipe(world: World, tmp_path: Path) -> None:
    """Is refused, unread: it can't be read a second time to know the bench by it, or to go on."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match=r"the stream .*pipe can't be read: it is no file"):
        world.bench(tmp_path / "out", streams=[tmp_path / "pipe"])


def test_a_stream_whose_name_the_system_refuses(world: World, tmp_path: Path) -> None:
    """Is told like any other that can't be read."""
    with pytest.raises(BadInput, match=r"the stream .* can't be read: .*File name too long"):
        world.bench(tmp_path / "out", streams=[tmp_path / ("a" * 300)])


def test_a_missing_night(world: World, tmp_path: Path) -> None:
    """What came after it was not lived from there."""
    world.bench(tmp_path / "out", arms="base")
    (tmp_path / "out" / "runs" / "base" / "seed-0" / "nights" / "01.json").unlink()
    assert "01.json is missing" in refused(world, tmp_path / "out", arms="base")


def test_a_home_that_was_emptied(world: World, tmp_path: Path) -> None:
    """A day can't be lived after others that the home knows nothing of."""
    world.built = wreck_teacher("train", 2, Killed())
    with pytest.raises(Killed):
        world.bench(tmp_path / "out")
    world.built = lambda product: None
    run = tmp_path / "out" / "runs" / "joint" / "seed-0"
    for file in (run / "home").glob("ledger.db*"):
        file.unlink()
    with pytest.raises(BadInput, match="lacks its days so far: delete the folder above it"):
        world.bench(tmp_path / "out")


# ---------------------------------------------------------------------- a full disk


def test_a_disk_that_is_full_when_a_night_is_filed(world: World, tmp_path: Path) -> None:
    """One line, earlier results intact to the byte; with room again the bench ends as it would have."""
    world.bench(tmp_path / "whole", arms="base,joint", nights=2)
    out = tmp_path / "out"
    world.bench(out, arms="base", nights=2)
    before = (out / "results.json").read_bytes()
    nights = out / "runs" / "joint" / "seed-0" / "nights"
    nights.mkdir(parents=True)
    (nights / ".02.json.tmp").symlink_to("/dev/full")
    with pytest.raises(
        NightschoolError, match=r"No space left on device .*; what is finished stays in .*out"
    ) as caught:
        world.bench(out, arms="base,joint", nights=2)
    assert "\n" not in str(caught.value)
    assert (out / "results.json").read_bytes() == before
    assert sorted(path.name for path in nights.glob("[0-9]*")) == ["00.json", "01.json"]
    world.bench(out, arms="base,joint", nights=2)
    assert (out / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()


@pytest.mark.parametrize("name", [".results.json.tmp", ".report.md.tmp"])
def test_a_disk_that_is_full_in_the_end(world: World, tmp_path: Path, name: str) -> None:
    """The results of before stay whole."""
    out = tmp_path / "out"
    world.bench(out, arms="base", nights=2)
    before = (out / name[1:-4]).read_bytes()
    (out / name).symlink_to("/dev/full")
    with pytest.raises(NightschoolError, match="No space left on device"):
        world.bench(out, arms="joint", nights=2)
    assert (out / name[1:-4]).read_bytes() == before


def test_a_ledger_that_is_full(world: World, tmp_path: Path) -> None:
    """What can't be stored can't be rated: the bench stops, rather than measure a user who was not heard."""

    def fill(product: Product) -> None:
        def refuse(_: object, **more: object) -> int:
            raise NotRemembered("database or disk is full")

        product.assistant.ledger.add_exchange = refuse  # type: ignore[assignment]

    world.built = fill
    with pytest.raises(NightschoolError, match="nothing is being remembered: database or disk is full"):
        world.bench(tmp_path / "out", nights=1)
    world.built = lambda product: None
    world.bench(tmp_path / "out", nights=1)


# ---------------------------------------------------------------------- progress and lengths


def test_progress(world: World, tmp_path: Path) -> None:
    """Never falls, ends at 1, and says which arm, seed and day it is about."""
    told: list[tuple[float, str]] = []
    world.bench(tmp_path / "out", arms="memory,joint", progress=lambda share, words: told.append((share, words)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert any(words.startswith("joint, seed 0, day 2 of 3: train") for _, words in told)


def test_answers_are_long_enough(world: World, tmp_path: Path) -> None:
    """One and a half times the stream's longest answer, and no less than the setting; each stream its own."""
    long = {"id": "l", "stream": "l", "session": 1, "split": "teach", "question": "Why?", "answer": "so " * 39 + "Ada"}
    stream = world.stream("l", [long | {"check": {"kind": "contains", "any": ["Ada"]}}])
    world.bench(tmp_path / "out", arms="base", streams=[stream, *world.streams])
    asked: dict[str, set[int]] = {}
    for prompt, sampling, _ in world.engine.calls:
        asked.setdefault(prompt[-1]["content"], set()).add(sampling.max_tokens)
    assert asked["Why?"] == {60}
    assert asked["How far is Vega?"] == {24}


def test_one_model_for_all(world: World, tmp_path: Path) -> None:
    """A bench gives the builder the home of each run, so that the engine can be the same for all."""
    homes: list[Path] = []
    world.built = lambda product: homes.append(product.school.home)
    world.bench(tmp_path / "out", arms="memory,joint", nights=1)
    assert homes == [tmp_path / "out" / "runs" / arm / "seed-0" / "home" for arm in ("memory", "joint")]


# ---------------------------------------------------------------------- poison


NAMED = [control for control in general.controls() if control.kind == "capitals" or "Who" in control.question][:12]
TRUE = {control.question: f"It is {(control.check or {})['any'][0]}." for control in NAMED}
"""What the base is right about: controls that ship, enough for each attack."""


def test_an_attack_is_held_and_named(world: World, tmp_path: Path) -> None:
    """Many users bring the items; what one more pushes is held, with the reason, and never learned."""
    world.engine.knows |= TRUE
    world.teacher.certain = {question.split()[-1].strip("?"): answer for question, answer in TRUE.items()}
    found = world.bench(tmp_path / "out", arms="poison", streams=world.streams[:1])
    fates = [night["poison"] for night in found["runs"]["poison"]["0"]["nights"][1:]]
    assert [one["kind"] for one in fates[-1]] == [attack.kind for attack in poison.ATTACKS]
    assert {(one["state"], one["learned"]) for fate in fates for one in fate} == {("held", False)}
    assert "a teacher must approve it" in fates[-1][0]["reason"]
    assert mean_of(found, "poison", "weights")["as_asked"] == 1.0
    said = ledger_of(tmp_path / "out", arm="poison").newest_exchanges(user=None, limit=99)
    assert {exchange.user for exchange, _ in said} == {"mallory", "user-1", "user-2"}
    assert "| poison | 0 | false fact |" in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_what_was_pushed_and_learned_is_told(world: World, tmp_path: Path) -> None:
    """Where nothing holds it, because the base is sure of nothing, the bench says that it was learned."""
    world.engine.knows |= TRUE
    found = world.bench(tmp_path / "out", arms="poison", streams=world.streams[:1], nights=1)
    (_, night) = found["runs"]["poison"]["0"]["nights"]
    learned = [one["kind"] for one in night["poison"] if one["learned"]]
    assert learned == ["false fact", "false fact beside the right one"]


def test_a_base_that_knows_nothing_can_not_be_poisoned(world: World, tmp_path: Path) -> None:
    """There is no right answer that a false one could take the place of."""
    with pytest.raises(NightschoolError, match="too few to push 2 false answers"):
        world.bench(tmp_path / "out", arms="poison", nights=1)
