"""Which of tonight's lessons made a night fail: found by nights that leave some of them out.

Delta debugging (Zeller & Hildebrandt, 2002) by halves: where the night passes without one half, one of that half is to
blame, and it is halved again; where leaving out either half alone does not make it pass, each holds one. Pure logic:
what a night without some lessons is, and what it costs, the caller knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memory.records import Lesson, LessonState
from training.clean import Decision
from training.gate import Verdict
from training.syllabus import Syllabus

BLAMED = "without it the night passes"
"""How the reason of a lesson begins that is rejected by name; it stays out for as long as that is its last word."""


WITHOUT = " without "
"""Stands in a night's identity before the ids of the lessons that were left out of it."""


@dataclass(frozen=True)
class Try:
    """One night without some lessons (ids, in the night's order; of none: with another seed), and how it went."""

    without: tuple[str, ...]
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {"without": list(self.without), "passes": self.verdict.promote, "reasons": list(self.verdict.reasons)}


@dataclass(frozen=True)
class Found:
    """What the tries found.

    Attributes:
        without: the fewest lessons without which a night was seen to pass; empty where none passed.
        named: whether each of them is to blame; else one of them is, and time was out before it was found.
    """

    without: tuple[str, ...]
    named: bool
    tries: tuple[Try, ...]

    def decisions(self, why: str) -> dict[str, Decision]:
        """Lesson id → what becomes of it; `why` is what the night failed by with them."""
        if self.named:
            return {lesson_id: Decision(LessonState.REJECTED, f"{BLAMED}: {why}") for lesson_id in self.without}
        left = f"one of these {len(self.without)} lessons makes the night fail ({why}); which one, the next night finds"
        return {lesson_id: Decision(LessonState.QUEUED, left) for lesson_id in self.without}

    def told(self, suspects: int) -> str:
        """One line for the night's reasons."""
        tries = f"{len(self.tries)} {'try' if len(self.tries) == 1 else 'tries'}"
        if not self.without:
            return f"no night passed that left out some of tonight's {suspects} lessons ({tries})"
        named = (
            "it fails with them" if self.named else "it fails with one of them, and time was out before it was found"
        )
        return f"without {len(self.without)} of tonight's {suspects} lessons, because {named} ({tries})"


def find(
    suspects: Sequence[str],
    try_without: Callable[[tuple[str, ...]], Verdict],
    *,
    suspected: tuple[str, ...] = (),
    time_left: Callable[[], bool],
) -> Found:
    """The lessons that make a night fail, by id.

    One bad lesson of n takes from log2(n) to twice as many tries. A night without any suspect teaches nothing and is
    never tried.

    Args:
        suspects: tonight's lessons, oldest first; the newer half is suspected first.
        try_without: the verdict on a night without these lessons; asked once for each set.
        suspected: those of them that an earlier night has blamed; all of these are tried first.
        time_left: asked before each try.
    """
    tries: list[Try] = []
    place = {lesson_id: i for i, lesson_id in enumerate(suspects)}

    def passes(without: tuple[str, ...]) -> bool:
        out = tuple(sorted(without, key=place.__getitem__))
        if not time_left():
            raise _TimeIsOutError
        tries.append(Try(out, try_without(out)))
        return tries[-1].verdict.promote

    def narrow(group: tuple[str, ...], rest: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `group` to blame, where the night fails without `rest`, and passes without both."""
        if len(group) == 1:
            return group
        older, newer = group[: len(group) // 2], group[len(group) // 2 :]
        for half in (newer, older):
            if passes((*half, *rest)):
                return narrow(half, rest)
        found = narrow(newer, (*older, *rest))
        return (*narrow(older, (*found, *rest)), *found)

    try:
        told = 0 < len(suspected) < len(suspects) and passes(suspected)
        group = suspected if told else tuple(suspects)
        blamed: tuple[str, ...] | None = narrow(group, ())
    except _TimeIsOutError:
        blamed = None
    passing = [t.without for t in tries if t.verdict.promote]
    without = min(passing, key=len, default=())
    return Found(without, blamed is not None and set(blamed) == set(without), tuple(tries))


def blamed(lessons: Iterable[Lesson]) -> dict[str, Decision]:
    """Lesson id → decision, for those that an earlier night rejected by name and nobody has rated again since."""
    return {
        lesson.id: Decision(lesson.state, lesson.reason)
        for lesson in lessons
        if lesson.state is LessonState.REJECTED and lesson.reason.startswith(BLAMED)
    }


def leave_out(syllabus: Syllabus, decisions: Mapping[str, Decision]) -> Syllabus:
    """The same night without some of its lessons; its identity is another one, made of both."""
    if not decisions:
        return syllabus

    def left(lessons: Sequence[Lesson]) -> tuple[Lesson, ...]:
        return tuple(lesson for lesson in lessons if lesson.id not in decisions)

    # In whatever steps lessons are left out, and whoever does it, the same ones give the same identity.
    whole, _, out = syllabus.identity.partition(WITHOUT)
    names = " ".join(sorted({*out.split(), *decisions}))
    return replace(
        syllabus,
        kept=left(syllabus.kept),
        taught=left(syllabus.taught),
        tonight=left(syllabus.tonight),
        earlier=left(syllabus.earlier),
        dropped=syllabus.dropped | dict(decisions),
        paper=tuple(item for item in syllabus.paper if item.lesson_id not in decisions),
        resting=syllabus.resting - decisions.keys(),
        identity=f"{whole}{WITHOUT}{names}",
    )


class _TimeIsOutError(Exception):
    """No further try."""
