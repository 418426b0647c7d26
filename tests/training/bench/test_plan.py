"""Streams as days, and the lists of arms and seeds."""

from __future__ import annotations

from typing import Any

import pytest

from memory.errors import BadInput
from training.bench import arms
from training.bench.plan import plan
from training.settings import NightSettings
from training.streams import StreamItem


def items(*told: tuple[str, str, int]) -> list[StreamItem]:
    """(stream, split, session) → items, each with an id of its own."""
    check = {"kind": "contains", "any": ["a"]}
    return [
        StreamItem(f"{n}", stream, session, split, "q?", "a", check)  # type: ignore[arg-type]
        for n, (stream, split, session) in enumerate(told)
    ]


def test_one_stream_after_the_other() -> None:
    """Days in the order of sessions, streams in the order in which they come."""
    found = plan(items(("b", "teach", 5), ("b", "teach", 2), ("a", "teach", 1), ("b", "teach", 2)))
    assert [(day.stream, day.session, len(day.taught)) for day in found.days] == [("b", 2, 2), ("b", 5, 1), ("a", 1, 1)]


def test_only_some_nights() -> None:
    """What belongs to later days is not asked; nor is a stream that never has its turn, with its controls."""
    told = [("b", "teach", 1), ("b", "teach", 2), ("b", "probe", 2), ("b", "probe", 1), ("b", "control", 0)]
    stream = items(*told, ("a", "teach", 1), ("a", "control", 0))
    assert [x.id for x in plan(stream, 1).items] == ["0", "3", "4"]
    assert [x.id for x in plan(stream, 2).items] == ["0", "1", "2", "3", "4"]
    assert (len(plan(stream, 99).items), plan(stream).nights, plan(stream, 99).nights) == (len(stream), 3, 99)


def test_the_first_days_of_every_stream() -> None:
    """Many streams in a row, each shortened: what belongs to its later days is not asked, its controls are."""
    b = [("b", "teach", 1), ("b", "teach", 2), ("b", "probe", 2), ("b", "probe", 1), ("b", "control", 0)]
    found = plan(items(*b, ("a", "teach", 4), ("a", "teach", 7)), days_each=1)
    assert [(day.stream, day.session) for day in found.days] == [("b", 1), ("a", 4)]
    assert [x.id for x in found.items] == ["0", "3", "4", "5"]
    with pytest.raises(BadInput, match="0 days of each stream would measure nothing"):
        plan(items(*b), days_each=0)


def test_the_first_items_of_every_day() -> None:
    """Each day shortened to as much of what is taught, and as many of its probes; controls are asked whole."""
    b = [("b", "teach", 1), ("b", "probe", 1), ("b", "teach", 1), ("b", "probe", 1), ("b", "control", 0)]
    found = plan(items(*b, ("b", "control", 0), ("b", "teach", 2), ("a", "teach", 1)), items_each=1)
    assert [[x.id for x in day.taught] for day in found.days] == [["0"], ["6"], ["7"]]
    assert [x.id for x in found.items] == ["0", "1", "4", "5", "6", "7"]
    with pytest.raises(BadInput, match="0 items a day would measure nothing"):
        plan(items(*b), items_each=0)


def test_probes_of_no_day_are_asked() -> None:
    """A stream that is lived through to the end is asked whole."""
    assert len(plan(items(("a", "teach", 1), ("a", "probe", 9))).items) == 2


@pytest.mark.parametrize("nights", [0, -1])
def test_no_nights(nights: int) -> None:
    """A bench has at least one day."""
    with pytest.raises(BadInput, match="at least 1"):
        plan(items(("a", "teach", 1)), nights)


def test_too_many_nights() -> None:
    """More than anybody could wait for would fill the memory with days."""
    stream = items(("a", "teach", 1))
    assert plan(stream, 10_000).nights == 10_000
    with pytest.raises(BadInput, match="a bench of 10001 nights would not end: name at most 10,000"):
        plan(stream, 10_001)


def test_a_stream_that_teaches_nothing() -> None:
    """Named, before anything is done."""
    with pytest.raises(BadInput, match="the stream 'b' teaches nothing"):
        plan(items(("a", "teach", 1), ("b", "control", 0)))


@pytest.mark.parametrize(
    ("read", "text", "found"),
    [
        (arms.seeds, "0,1, 2", [0, 1, 2]),
        (arms.seeds, "3,3", [3]),
        (lambda text: [arm.name for arm in arms.chosen(text)], "joint, base,joint", ["joint", "base"]),
    ],
)
def test_lists(read: Any, text: str, found: list[Any]) -> None:
    """With commas, each once."""
    assert read(text) == found


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "0;1", str(2**31), "²"])
def test_bad_seeds(text: str) -> None:
    """One line that says what is allowed."""
    with pytest.raises(BadInput, match="whole numbers from 0, with commas between"):
        arms.seeds(text)


@pytest.mark.parametrize("text", ["", "nil", "joint,nil"])
def test_bad_arms(text: str) -> None:
    """One line that names all arms."""
    with pytest.raises(BadInput, match="the arms are base, memory, nll, joint, sequential, ceiling, poison"):
        arms.chosen(text)


@pytest.mark.parametrize("name", arms.ARMS)
def test_the_settings_of_an_arm(name: str) -> None:
    """The seed is the run's, all that an arm does not change is the bench's, and what it changes exists."""
    arm, base = arms.ARMS[name], NightSettings(epochs=7, seed=3)
    made = arm.settings(base, 5)
    assert (made.seed, made.epochs) == (5, 7)
    changed = {k for k, v in made.model_dump().items() if v != base.model_dump()[k]} - {"seed"}
    assert changed <= set(arm.overrides)


@pytest.mark.parametrize("name", ["nll", "sequential"])
def test_the_simple_arms_replay_nothing(name: str) -> None:
    """Neither general questions nor neighbours, and nothing holds the model to the base."""
    made = arms.ARMS[name].settings(NightSettings(preference="kto"), 0)
    assert (made.replay_rows, made.neighbour_rows, made.request_rows, made.written_rows) == (0, 0, 0, 0)
    assert (made.kl_weight, made.match_weight) == (0, 0)
    assert made.preference == "none"
