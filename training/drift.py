"""Drift: whether the version that serves still does what it did, by people's thumbs and by its own exam. Pure.

A night that finds it says so; if the next one finds it still, it acts: it trains everything anew, and where that is
rejected, an earlier version serves that holds. So one bad day, or a new topic, changes nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from memory.records import BASE, Votes
from training.settings import NightSettings
from training.statistics import chance_of_more

Action = Literal["none", "warn", "retrain", "roll back"]


@dataclass(frozen=True)
class Thumbs:
    """Thumbs down on the version that serves, and on those before it: what was usual. `chance` is the p of the excess.

    `drifted`: the share is above the usual one by more than the bound, and by more than chance.
    """

    down: int
    rated: int
    usual_down: int
    usual_rated: int
    chance: float
    drifted: bool

    @property
    def told(self) -> str:
        return (
            f"{self.down} of {self.rated} thumbs on its answers are down, {self.usual_down} of {self.usual_rated} on"
            f" those of the versions before it ({_p(self.chance)})"
        )


@dataclass(frozen=True)
class Resat:
    """Of the lessons that the version that serves had verified and that were asked again, those still right.

    `drifted`: fewer than the gate lets a night lose, and more than one.
    """

    asked: int
    right: int
    drifted: bool

    @property
    def told(self) -> str:
        return f"it answers {self.right} of {self.asked} lessons right that it had right when it was promoted"


@dataclass(frozen=True)
class Drift:
    """How a night found version `adapter`. None where nothing could be told: nobody rated, or nothing was asked."""

    adapter: str
    thumbs: Thumbs | None = None
    exam: Resat | None = None

    @property
    def drifted(self) -> bool:
        return any(signal.drifted for signal in (self.thumbs, self.exam) if signal is not None)

    @property
    def reasons(self) -> list[str]:
        """What is below its band, one line each."""
        return [signal.told for signal in (self.thumbs, self.exam) if signal is not None and signal.drifted]

    def as_json(self, action: Action = "none") -> dict[str, Any]:
        return asdict(self) | {"drifted": self.drifted, "reasons": self.reasons, "action": action}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Drift:
        thumbs, exam = told["thumbs"], told["exam"]
        return cls(told["adapter"], thumbs and Thumbs(**thumbs), exam and Resat(**exam))


def thumbs(active: str, votes: Mapping[str, Votes], bounds: NightSettings) -> Thumbs | None:
    """What people's thumbs say of version `active`, against all versions before it.

    The base counts only where there is no other: people correct it so that it gets better, and it is no measure then.
    """
    mine = votes.get(active, Votes())
    earlier = [held for version, held in votes.items() if version != BASE and _number(version) < _number(active)]
    if not any(held.rated for held in earlier):
        earlier = [votes.get(BASE, Votes())]
    down, rated = sum(held.down for held in earlier), sum(held.rated for held in earlier)
    if not mine.rated or not rated:
        return None
    chance = chance_of_more(mine.down, mine.rated, down, rated)
    more = mine.down / mine.rated - down / rated
    drifted = more > bounds.drift_downs_more_max and chance < bounds.drift_chance_max
    return Thumbs(mine.down, mine.rated, down, rated, round(chance, 6), drifted)


def resat(verified: Sequence[str], right: Mapping[str, bool], bounds: NightSettings) -> Resat | None:
    """What an exam says of a version that had the lessons `verified` (ids) right; `right` has those that were asked."""
    asked = [right[lesson_id] for lesson_id in verified if lesson_id in right]
    if not asked:
        return None
    lost = len(asked) - sum(asked)
    # One lost answer may be a word in passing; the same engine gives the same answers, so two are no chance.
    return Resat(len(asked), sum(asked), lost > 1 and sum(asked) / len(asked) < bounds.verified_kept_min)


def rule(drift: Drift, told: Drift | None, *, retrain: bool, fallback: str | None) -> Action:
    """What a night does about what it found.

    Args:
        told: what the night before has found.
        retrain: whether a training can still mend it: it has not been tried tonight, or not too often.
        fallback: a version that would serve instead: all of its lessons are in force, and its exam holds.
    """
    if not drift.drifted:
        return "none"
    if told is None or told.adapter != drift.adapter or not told.drifted:
        return "warn"
    if retrain:
        return "retrain"
    return "roll back" if fallback is not None else "warn"


def _number(version: str) -> int:
    return int(version.removeprefix("v"))


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
