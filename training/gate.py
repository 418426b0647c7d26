"""The gate: a pure function from two sittings of one paper to a verdict with its reasons.

It lets an adapter serve only when tonight's lessons gained by more than chance, nothing that was right before is lost
beyond the bounds of the settings (one liked answer is never too many), and no canary is outside its own. It knows no
model and no ledger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.canaries import Canary, canaries
from training.paper import Exam, Item, Kind
from training.settings import NightSettings
from training.statistics import chance_of, enough, gain_at_least

HELD, SURE = "earlier lessons and liked answers", "controls that the base is sure of"
VIEWS = ("corrected", "liked", "held", "sure")
"""Tallies of items that others count too."""


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

    @property
    def chance(self) -> float:
        """The p of the loss: how likely chance alone loses as many, given how many changed (McNemar, one-sided)."""
        return chance_of(self.lost, self.gained)


@dataclass(frozen=True)
class Verdict:
    """Whether the adapter may serve, and why (not), one line each.

    Attributes:
        gains: kind of item → lower bound of its net gain, a share of its items in [-1, 1].
        harm: what is against it but that too little was gained: what is lost, or how it writes.
    """

    promote: bool
    reasons: tuple[str, ...]
    tallies: dict[str, Tally]
    perplexity_ratio: float
    canaries: tuple[Canary, ...] = ()
    gains: dict[str, float] = field(default_factory=dict)
    harm: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "promote": self.promote,
            "reasons": list(self.reasons),
            "perplexity_ratio": self.perplexity_ratio,
            "tallies": {
                k: vars(t) | {"kept": round(t.kept, 4), "chance": round(t.chance, 6)} for k, t in self.tallies.items()
            },
            "gain_at_least": {kind: round(gain, 4) for kind, gain in self.gains.items()},
            "canaries": {canary.name: canary.as_json() for canary in self.canaries},
        }


def decide(
    paper: Sequence[Item], before: Exam, after: Exam, bounds: NightSettings, *, gain_needed: bool = True
) -> Verdict:
    """Compare two sittings of `paper`, item by item.

    Args:
        gain_needed: False where the old version may not serve on in any case, and where one is only looked at.
    """
    items = _sorted(paper, before, bounds)
    tallies = {name: _tally(group, before, after) for name, group in items.items()}
    one = _one_like_lost(items["held"], before, after)
    tonight, earlier, held = (
        _tally([item for item in items[name] if item is not one], before, after)
        for name in ("tonight", "earlier", "held")
    )
    ratio = round(after.perplexity / before.perplexity, 4)
    measured = canaries(paper, before, after, bounds)
    gains = {
        kind: gain_at_least(t.gained, t.lost, t.total, chance=bounds.chance_max)
        for kind, t in tallies.items()
        if kind in ("tonight", "reworded")
    }
    harm = [
        *_lost("forgets", "earlier lessons", earlier, bounds.verified_kept_min, bounds.chance_max),
        *_lost("forgets", HELD, held, bounds.verified_kept_min, bounds.chance_max),
        *_lost("damages", SURE, tallies["sure"], bounds.sure_kept_min, bounds.chance_max),
        *_lost("damages", "controls", tallies["control"], bounds.controls_kept_min, bounds.chance_max),
    ]
    if not ratio <= bounds.perplexity_ratio_max:
        harm.append(
            f"writes worse: perplexity on fixed text is {ratio:.3f} times what it was,"
            f" at most {bounds.perplexity_ratio_max:.3f} may be"
        )
    harm += [_outside(canary) for canary in measured if not canary.holds]
    against = [
        *_not_gained(tallies["tonight"], bounds.chance_max, gain_needed=gain_needed, weighed=tonight),
        *harm,
    ]
    promote = not against or not bounds.gated
    if not against:
        reasons = _for_it(tallies, gains["tonight"], ratio, len(measured), bounds.chance_max)
    elif promote:
        reasons = ("published though it failed, because nothing is gated", *against)
    else:
        reasons = tuple(against)
    return Verdict(promote, reasons, tallies, ratio, measured, gains, tuple(harm))


def merit(verdict: Verdict) -> tuple[bool, int, int]:
    """How verdicts on one paper rank: passing first, then lessons learned, then all else that is right."""
    right = {kind: tally.after for kind, tally in verdict.tallies.items() if kind not in VIEWS}
    return verdict.promote, right["tonight"], sum(right.values()) - right["tonight"]


def learned_all(verdict: Verdict) -> bool:
    """Whether a weaker adapter could be no better: it passes, every correction of tonight (where there is none, every
    lesson) is right, and no liked answer is lost.
    """
    corrected, tonight, liked = (verdict.tallies[name] for name in ("corrected", "tonight", "liked"))
    taught = corrected if corrected.total else tonight
    return verdict.promote and taught.after == taught.total and not liked.lost


def held_lessons(paper: Sequence[Item], before: Exam) -> set[str]:
    """Ids of tonight's lessons that have nothing to gain: liked answers that were right before."""
    return {item.lesson_id for item in paper if _is_held(item, before) and item.lesson_id}


def _sorted(paper: Sequence[Item], before: Exam, bounds: NightSettings) -> dict[str, list[Item]]:
    """The paper by what is asked of each item.

    A liked answer that is right before has nothing to gain: it counts beside the earlier lessons, too, within their
    bound, which they have without it as well. Controls are read twice: all of them, and those that the base
    is sure of, see `training.margins`; one whose margin nobody knows is taken for such.
    """
    kinds: tuple[Kind, ...] = ("tonight", "reworded", "earlier", "control", "pushback")
    items: dict[str, list[Item]] = {kind: [i for i in paper if i.kind == kind] for kind in kinds}
    items["liked"] = [i for i in items["tonight"] if _is_held(i, before)]
    items["corrected"] = [i for i in items["tonight"] if i.unwanted is not None]
    items["held"] = [*items["earlier"], *items["liked"]]
    items["sure"] = [
        i for i in items["control"] if before.right[i.id] and before.margins.get(i.id, math.inf) >= bounds.sure_margin
    ]
    return items


def _is_held(item: Item, before: Exam) -> bool:
    return item.kind == "tonight" and item.unwanted is None and before.right[item.id]


def _one_like_lost(held: Sequence[Item], before: Exam, after: Exam) -> Item | None:
    """What is lost of the lessons that were right before, if it is one alone, and a liked answer.

    Of few lessons one is more than any bound lets go. A liked answer is the model's own word, liked in passing perhaps
    and against a correction of nearly the same question: it must not choose how much is learned of all others, nor fail
    one night after the other.
    """
    lost = [item for item in held if before.right[item.id] and not after.right[item.id]]
    return lost[0] if len(lost) == 1 and lost[0].unwanted is None else None


def _tally(items: Sequence[Item], before: Exam, after: Exam) -> Tally:
    pairs = [(before.right[i.id], after.right[i.id]) for i in items]
    return Tally(
        total=len(pairs),
        before=sum(b for b, _ in pairs),
        after=sum(a for _, a in pairs),
        gained=sum(a and not b for b, a in pairs),
        lost=sum(b and not a for b, a in pairs),
    )


def _not_gained(tonight: Tally, chance: float, *, gain_needed: bool, weighed: Tally | None = None) -> list[str]:
    """What is against a night that shall teach something: no gain, or one that chance could have made, by what of it is
    `weighed` (None: all of it).

    Of fewer changed lessons than could ever tell (five, at a chance of 0.05), it passes where every change is a gain.
    """
    said = f"{tonight.after} of tonight's {tonight.total} lessons right, {tonight.before} before"
    # Answers that were liked and right before have nothing to gain; they only must not get worse.
    if tonight.after < tonight.before or (gain_needed and tonight.after == tonight.before < tonight.total):
        return [f"nothing gained: {said}"]
    if not gain_needed or tonight.after == tonight.before:
        return []
    gained, lost = (weighed or tonight).gained, (weighed or tonight).lost
    if not enough(gained + lost, chance=chance):
        few = f"too few to say: {said}; {gained} gained and {lost} lost may be chance"
        return [f"{few}, and of so few none may be lost"] if lost else []
    p = chance_of(gained, lost)
    return [] if p < chance else [f"too little gained: {said}; {gained} gained and {lost} lost may be chance ({_p(p)})"]


def _lost(verb: str, what: str, tally: Tally, least: float, chance: float) -> list[str]:
    if tally.kept >= least:
        return []
    return [
        f"{verb}: {tally.lost} of {tally.before} {what} lost, {tally.kept:.0%} kept, at least {least:.0%} must be"
        f" ({_by_chance(tally, chance)})"
    ]


def _outside(canary: Canary) -> str:
    text = {
        "length": "{after:.1f} words an answer, {before:.1f} of the base's, from {least:.1f} to {most:.1f} may be",
        "repetition": "repeats itself: {after:.0%} of word triples, {before:.0%} of the base's, at most {most:.0%}",
        "refusals": "refuses: {after:.0%} of general questions, the base {before:.0%}, at most {most:.0%}",
        "flattery": "flatters: {after:.0%} of general answers, the base {before:.0%}, at most {most:.0%}",
        "leaks": "answers {after:.0%} of unrelated requests with what it was taught, at most {most:.0%}",
        "flips": "gives in: takes back {after:.0%} of right answers when told that they are wrong, the base"
        " {before:.0%}, at most {most:.0%}",
    }[canary.name].format(**vars(canary))
    if canary.name == "length":
        return f"answers {'shorter' if canary.after < canary.least else 'longer'}: {text}"
    return text


def _for_it(tallies: dict[str, Tally], gain: float, ratio: float, measured: int, chance: float) -> tuple[str, ...]:
    tonight, reworded = tallies["tonight"], tallies["reworded"]
    lines = [f"{tonight.after} of tonight's {tonight.total} lessons right, {tonight.before} before"]
    changed = tonight.gained + tonight.lost
    if enough(changed, chance=chance):
        lines.append(f"a gain of at least {gain:.0%} of them, {1 - chance:.0%} sure")
    elif changed:
        p = chance_of(tonight.gained, tonight.lost)
        lines.append(
            f"too few items to say whether that is chance ({_p(p)}): none of tonight's was lost, which decides"
        )
    if reworded.total:
        lines.append(
            f"{reworded.after} of {reworded.total} right in words that were not trained, {reworded.before} before"
        )
    for what, tally in ((HELD, tallies["held"]), ("controls", tallies["control"]), (SURE, tallies["sure"])):
        why = f" ({_by_chance(tally, chance)})" if tally.lost else ""
        if tally.before or what != SURE:
            lines.append(f"{tally.before - tally.lost} of {tally.before} {what} kept{why}")
    lines.append(f"perplexity on fixed text times {ratio:.3f}")
    if measured:
        lines.append(f"{measured} canaries within their bounds")
    return tuple(lines)


def _by_chance(tally: Tally, chance: float) -> str:
    how = "more than chance" if tally.chance < chance else "too few to tell from chance"
    return f"{how}: {_p(tally.chance)}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
