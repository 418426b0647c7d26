"""Which lessons make a night fail: found by halves, by name, and within the time there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest

from memory import LessonState
from memory.testing import lesson
from training.bisect import BLAMED, blamed, find, leave_out
from training.clean import Decision
from training.gate import Verdict
from training.paper import set_paper
from training.syllabus import Syllabus

NAMES = tuple("abcdefghijklmnop")


def night_with(bad: set[str], *, tried: list[tuple[str, ...]]) -> Callable[[tuple[str, ...]], Verdict]:
    """Nights that pass without all of `bad`."""

    def try_without(out: tuple[str, ...]) -> Verdict:
        tried.append(out)
        return Verdict(bad <= set(out), ("because",), {}, 1.0)

    return try_without


@pytest.mark.parametrize("count", [2, 3, 7, 8, 16])
def test_one_bad_lesson(count: int) -> None:
    """Each is found alone, wherever it stands, in at most two tries a halving."""
    for name in NAMES[:count]:
        tried: list[tuple[str, ...]] = []
        found = find(NAMES[:count], night_with({name}, tried=tried), time_left=lambda: True)
        assert (found.without, found.named) == ((name,), True)
        assert len(tried) <= 2 * math.ceil(math.log2(count))
        assert [one.without for one in found.tries] == tried


@pytest.mark.parametrize(("bad", "suspected"), [("b", "b"), ("b", "bc"), ("b", "d"), ("b", "abcdefgh"), ("bf", "bf")])
def test_who_was_blamed_before_is_tried_first(bad: str, suspected: str) -> None:
    """Found at once where it is so again; and whoever else it is, as ever."""
    tried: list[tuple[str, ...]] = []
    found = find(NAMES[:8], night_with(set(bad), tried=tried), suspected=tuple(suspected), time_left=lambda: True)
    assert (found.without, found.named) == (tuple(bad), True)
    if suspected == bad:
        assert tried[0] == tuple(bad)
    if len(bad) == len(suspected) == 1 and bad == suspected:
        assert len(tried) == 1
    assert NAMES[:8] not in tried


@pytest.mark.parametrize("size", [2, 3])
def test_several_bad_lessons(size: int) -> None:
    """All of them are found and no other, and the night without them was tried and passed."""
    for bad in combinations(NAMES[:7], size):
        found = find(NAMES[:7], night_with(set(bad), tried=[]), time_left=lambda: True)
        assert (found.without, found.named) == (bad, True)
        assert [one.verdict.promote for one in found.tries if one.without == bad] == [True]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_nobody_is_to_blame(count: int) -> None:
    """Where every night fails nothing is found; a night of nothing is not tried, and none twice."""
    tried: list[tuple[str, ...]] = []
    found = find(NAMES[:count], night_with({"x"}, tried=tried), time_left=lambda: True)
    assert (found.without, found.named) == ((), False)
    assert found.decisions("why") == {}
    assert len(tried) == len(set(tried)) == 2 * (count - 1)
    assert all(len(out) < count for out in tried)


@pytest.mark.parametrize(("tries", "without"), [(0, ()), (1, tuple("efgh")), (2, tuple("gh")), (3, ("h",))])
def test_time_is_out(tries: int, without: tuple[str, ...]) -> None:
    """The smallest set without which a night passed is what is left out; only who is alone in it is named."""
    tried: list[tuple[str, ...]] = []
    found = find(NAMES[:8], night_with({"h"}, tried=tried), time_left=lambda: len(tried) < tries)
    assert (found.without, len(found.tries)) == (without, tries)
    assert found.named is (len(without) == 1)


def test_what_becomes_of_them() -> None:
    """Who is to blame is rejected with the reason; those among whom it still hides wait, and are told why."""
    tried: list[tuple[str, ...]] = []
    named = find(NAMES[:4], night_with({"b"}, tried=tried), time_left=lambda: True)
    assert named.decisions("damages: 9 of 48") == {"b": Decision(LessonState.REJECTED, f"{BLAMED}: damages: 9 of 48")}
    assert named.told(4) == "without 1 of tonight's 4 lessons, because it fails with them (3 tries)"
    tried.clear()
    left = find(NAMES[:4], night_with({"d"}, tried=tried), time_left=lambda: not tried)
    decisions = left.decisions("damages: 9 of 48")
    assert {lesson_id: decision.state for lesson_id, decision in decisions.items()} == dict.fromkeys(
        "cd", LessonState.QUEUED
    )
    assert "one of these 2 lessons" in decisions["c"].reason
    assert "time was out before it was found (1 try)" in left.told(4)


def test_who_is_still_blamed() -> None:
    """A rejection by name counts for as long as it is the lesson's last word; any other is none."""
    reason = f"{BLAMED}: damages"
    lessons = [
        lesson("l1", state=LessonState.REJECTED, reason=reason),
        lesson("l2", state=LessonState.REJECTED, reason="holds what looks like a password"),
        lesson("l3", state=LessonState.UNDONE, reason=reason),
        lesson("l4"),
    ]
    assert blamed(lessons) == {"l1": Decision(LessonState.REJECTED, reason)}


def syllabus(*names: str) -> Syllabus:
    """A night of these lessons, all tonight's."""
    lessons = tuple(lesson(name, question=f"Who is {name}?") for name in names)
    paper = set_paper(lessons, [], controls=2, trained_wordings=1, system="")
    return Syllabus(lessons, lessons, {}, lessons, (), tuple(paper), "hash")


def test_a_night_without_some() -> None:
    """They are neither taught nor asked, and have their decision; controls are asked as ever."""
    out = {"b": Decision(LessonState.REJECTED, "why")}
    whole, left = syllabus("a", "b", "c"), leave_out(syllabus("a", "b", "c"), out)
    for lessons in (left.kept, left.taught, left.tonight):
        assert [x.id for x in lessons] == ["a", "c"]
    assert left.dropped == out
    assert {item.lesson_id for item in left.paper} == {"a", "c", None}
    assert len([item for item in left.paper if item.lesson_id is None]) == 2
    assert left.identity != whole.identity
    assert leave_out(whole, {}) == whole


def test_the_same_left_out_is_the_same_night() -> None:
    """However many steps it took, and in whatever order."""
    one, two = ({name: Decision(LessonState.REJECTED, "why")} for name in "ab")
    whole = syllabus("a", "b", "c")
    stepwise = leave_out(leave_out(whole, two), one)
    assert stepwise.identity == leave_out(whole, one | two).identity != leave_out(whole, one).identity
