"""The gate: a pure function from two sittings of one paper to a verdict with its reasons.

It lets an adapter serve only when tonight's lessons gained and nothing that was right before is lost beyond the
bounds of the settings. It knows no model and no ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.paper import Exam, Item, Kind
from training.settings import NightSettings


@dataclass(frozen=True)
class Tally:
    """Right answers of one kind of item: of `total`, `before` and `after`; `lost` were right before and are not now."""

    total: int
    before: int
    after: int
    gained: int
    lost: int

    @property
    def kept(self) -> float:
        """Share of what was right before that still is; 1 where nothing was."""
        return 1.0 if self.before == 0 else (self.before - self.lost) / self.before


@dataclass(frozen=True)
class Verdict:
    """Whether the adapter may serve, and why (not), one line each."""

    promote: bool
    reasons: tuple[str, ...]
    tallies: dict[str, Tally]
    perplexity_ratio: float

    def as_json(self) -> dict[str, Any]:
        return {
            "promote": self.promote,
            "reasons": list(self.reasons),
            "perplexity_ratio": self.perplexity_ratio,
            "tallies": {k: vars(t) | {"kept": round(t.kept, 4)} for k, t in self.tallies.items()},
        }


def decide(
    paper: Sequence[Item], before: Exam, after: Exam, bounds: NightSettings, *, gain_needed: bool = True
) -> Verdict:
    """Compare two sittings of `paper`, item by item.

    Args:
        gain_needed: False where the old version may not serve on in any case, because it holds what was taken back.
    """
    kinds: tuple[Kind, ...] = ("tonight", "reworded", "earlier", "control")
    tallies: dict[str, Tally] = {kind: _tally([i for i in paper if i.kind == kind], before, after) for kind in kinds}
    ratio = round(after.perplexity / before.perplexity, 4)
    tonight, earlier, control = tallies["tonight"], tallies["earlier"], tallies["control"]

    against = []
    # Answers that were liked and right before have nothing to gain; they only must not get worse.
    if tonight.after < tonight.before or (gain_needed and tonight.after == tonight.before < tonight.total):
        against.append(
            f"nothing gained: {tonight.after} of tonight's {tonight.total} lessons right, {tonight.before} before"
        )
    if earlier.kept < bounds.verified_kept_min:
        against.append(
            f"forgets: {earlier.lost} of {earlier.before} earlier lessons lost,"
            f" {earlier.kept:.0%} kept, at least {bounds.verified_kept_min:.0%} must be"
        )
    if control.kept < bounds.controls_kept_min:
        against.append(
            f"damages: {control.lost} of {control.before} controls lost,"
            f" {control.kept:.0%} kept, at least {bounds.controls_kept_min:.0%} must be"
        )
    if not ratio <= bounds.perplexity_ratio_max:
        against.append(
            f"writes worse: perplexity on fixed text is {ratio:.3f} times what it was,"
            f" at most {bounds.perplexity_ratio_max:.3f} may be"
        )
    promote = not against or not bounds.gated
    for_it = (
        f"{tonight.after} of tonight's {tonight.total} lessons right, {tonight.before} before",
        f"{earlier.before - earlier.lost} of {earlier.before} earlier lessons kept",
        f"{control.before - control.lost} of {control.before} controls kept",
        f"perplexity on fixed text times {ratio:.3f}",
    )
    if against and promote:
        return Verdict(promote, ("published though it failed, because nothing is gated", *against), tallies, ratio)
    return Verdict(promote, for_it if promote else tuple(against), tallies, ratio)


def _tally(items: Sequence[Item], before: Exam, after: Exam) -> Tally:
    pairs = [(before.right[i.id], after.right[i.id]) for i in items]
    return Tally(
        total=len(pairs),
        before=sum(b for b, _ in pairs),
        after=sum(a for _, a in pairs),
        gained=sum(a and not b for b, a in pairs),
        lost=sum(b and not a for b, a in pairs),
    )


def merit(verdict: Verdict) -> tuple[bool, int, int]:
    """How verdicts on one paper rank: passing first, then lessons learned, then all else that is right."""
    right = {kind: tally.after for kind, tally in verdict.tallies.items()}
    return verdict.promote, right["tonight"], right["earlier"] + right["reworded"] + right["control"]


def flawless(verdict: Verdict) -> bool:
    """Whether a weaker adapter could be no better: it passes, every lesson of tonight is right, nothing was lost."""
    lost = sum(tally.lost for tally in verdict.tallies.values())
    return verdict.promote and lost == 0 and verdict.tallies["tonight"].after == verdict.tallies["tonight"].total
