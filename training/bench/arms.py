"""What is compared: arms, each a way to live through the same days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memory.errors import BadInput
from training.bench.plan import Plan
from training.bench.poison import SHARE, USERS
from training.settings import NightSettings
from training.streams import StreamItem

NLL_ONLY: dict[str, Any] = {
    "replay_rows": 0,
    "neighbour_rows": 0,
    "request_rows": 0,
    "written_rows": 0,
    "kl_weight": 0.0,
    "match_weight": 0.0,
    "lead_weight": 0.0,
    "preference": "none",
}


@dataclass(frozen=True)
class Arm:
    """One way: whether the user's days are asked and rated, whether nights follow, and how those differ.

    Args:
        about: a line for the report.
        overrides: settings of its nights that are not the bench's.
        at_once: all days are brought on the first, and one night follows.
        attacked: many users bring the items in turn, and one more pushes poison on the first day.
    """

    name: str
    about: str
    asks: bool = True
    nights: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)
    at_once: bool = False
    attacked: bool = False

    def settings(self, base: NightSettings, seed: int) -> NightSettings:
        return NightSettings(**base.model_dump() | dict(self.overrides) | {"seed": seed})

    def schedule(self, plan: Plan) -> list[list[StreamItem]]:
        """What is brought before each evaluation but the first."""
        brought = [list(day.taught) for day in plan.days]
        if self.at_once:
            return [[item for items in brought for item in items]]
        return [brought[number % len(brought)] for number in range(plan.nights)]


ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", "the untouched model: nothing is asked before it is examined", asks=False, nights=False),
        Arm("memory", "asked and rated, remembered at once, and no nights", nights=False),
        Arm("nll", "nights with the plain loss on wanted answers: no replay, no KL, no preference", overrides=NLL_ONLY),
        Arm("joint", "nights as they are by default"),
        Arm(
            "sequential",
            "each night goes on from the last adapter with that day's lessons alone, and serves ungated: the floor",
            overrides=NLL_ONLY
            | {"candidates": 1, "continued": True, "new_only": True, "gated": False, "scales": (1.0,)},
        ),
        Arm("ceiling", "all days at once and one night, as by default", at_once=True),
        Arm(
            "poison",
            f"joint, of {USERS} users in turn (nobody's memory is asked), with {SHARE:.0%} of the first day's thumbs by"
            " one more, who pushes false facts and flattery",
            attacked=True,
        ),
    )
}
"""Name → arm, in the order of the tables."""


def chosen(names: str) -> list[Arm]:
    """The arms of a comma-separated list, each once. Raises: BadInput."""
    found = []
    for name in _listed(names):
        if name not in ARMS:
            raise BadInput(f"there is no arm {name[:40]!r}: the arms are {', '.join(ARMS)}")
        found.append(ARMS[name])
    if not found:
        raise BadInput(f"no arm is named: the arms are {', '.join(ARMS)}")
    return found


def seeds(numbers: str) -> list[int]:
    """The seeds of a comma-separated list, each once. Raises: BadInput."""
    try:
        found = [int(number) for number in _listed(numbers)]
    except ValueError:
        found = []
    if not found or not all(0 <= seed < 2**31 for seed in found):
        raise BadInput(f"the seeds are {numbers[:40]!r}: they must be whole numbers from 0, with commas between")
    return list(dict.fromkeys(found))


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
