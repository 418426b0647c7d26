"""What counts as drift, and what follows: pure, worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memory.records import Votes
from training.drift import Drift, Resat, Thumbs, resat, rule, thumbs
from training.settings import NightSettings

BOUNDS = NightSettings()


def drifted(adapter: str = "v2") -> Drift:
    """A version that lost two of ten."""
    return Drift(adapter, exam=Resat(10, 8, drifted=True))


@pytest.mark.parametrize(
    ("mine", "usual", "found"),
    [
        ((2, 18), (180, 20), True),  # 90 % down, 10 % was usual
        ((18, 2), (180, 20), False),  # as usual
        ((0, 2), (180, 20), False),  # both down: of two nobody can say, p = 0.011
        ((0, 3), (180, 20), True),  # all three down are no chance
        ((850, 150), (9000, 1000), False),  # more than chance, but five points are within the band
        ((780, 220), (9000, 1000), True),
    ],
)
def test_thumbs(mine: tuple[int, int], usual: tuple[int, int], found: bool) -> None:
    """More thumbs down than usual, beyond the bound and beyond chance."""
    told = thumbs("v2", {"v2": Votes(*mine), "v1": Votes(*usual)}, BOUNDS)
    assert told is not None
    assert (told.down, told.rated) == (mine[1], sum(mine))
    assert told.drifted == found


def test_what_was_usual() -> None:
    """All versions before it together, whatever their number says as text; the base only where there is no other."""
    votes = {"base": Votes(1, 99), "v2": Votes(5, 1), "v9": Votes(6, 2), "v10": Votes(1, 1), "v11": Votes(0, 50)}
    told = thumbs("v10", votes, BOUNDS)
    assert told is not None
    assert (told.usual_down, told.usual_rated) == (3, 14)
    first = thumbs("v2", votes, BOUNDS)
    assert first is not None
    assert (first.usual_down, first.usual_rated) == (99, 100)


@pytest.mark.parametrize(
    "votes", [{}, {"v1": Votes(5, 1)}, {"v2": Votes(0, 5)}, {"v2": Votes(0, 5), "v3": Votes(5, 0)}]
)
def test_nobody_rated(votes: dict[str, Votes]) -> None:
    """Without thumbs on it, or on what came before it, there is nothing to tell."""
    assert thumbs("v2", votes, BOUNDS) is None


@pytest.mark.parametrize(
    ("asked", "right", "found"), [(10, 10, False), (10, 9, False), (10, 8, True), (100, 95, False), (100, 94, True)]
)
def test_resat(asked: int, right: int, found: bool) -> None:
    """The gate's own share of what was verified must still be right; one lost answer is none."""
    marks = {f"l{i}": i < right for i in range(asked)}
    told = resat([*marks, "not asked tonight"], marks, BOUNDS)
    assert told == Resat(asked, right, found)
    assert resat(["other"], marks, BOUNDS) is None


def test_rule() -> None:
    """It warns once; a second night trains anew, then rolls back where it can; a sound version is left alone."""
    sound = Drift("v2", exam=Resat(10, 10, drifted=False))
    told: dict[str, Any] = {"retrain": True, "fallback": "v1"}
    assert rule(sound, drifted(), **told) == "none"
    assert rule(drifted(), None, **told) == "warn"
    assert rule(drifted(), sound, **told) == "warn"
    assert rule(drifted(), drifted("v1"), **told) == "warn"
    assert rule(drifted(), drifted(), **told) == "retrain"
    assert rule(drifted(), drifted(), retrain=False, fallback="v1") == "roll back"
    assert rule(drifted(), drifted(), retrain=False, fallback=None) == "warn"


def test_as_json() -> None:
    """What the ledger keeps gives the same again, and says what is wrong in words."""
    found = Drift("v2", Thumbs(9, 10, 20, 200, 1e-7, drifted=True), Resat(10, 8, drifted=True))
    told = json.loads(json.dumps(found.as_json("warn")))
    assert Drift.from_json(told) == found
    assert (told["drifted"], told["action"]) == (True, "warn")
    assert told["reasons"] == [
        "9 of 10 thumbs on its answers are down, 20 of 200 on those of the versions before it (p < 0.001)",
        "it answers 8 of 10 lessons right that it had right when it was promoted",
    ]
    empty = Drift("v2")
    assert (Drift.from_json(empty.as_json()), empty.drifted, empty.reasons) == (empty, False, [])
