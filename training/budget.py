"""Which lessons one night has room for: a bounded number, no user with more than a share, old ones beside new.

Decided from what the lessons say, the order they came in, and how far each is, never from ids or clocks: the same
ledger and seed give the same choice, and a lesson that was taken back leaves no trace in it. (Past the budget how far
a lesson is counts too, and so what earlier nights found out.) A lesson that is left out tonight is not forgotten:
recall has it, and another night draws anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from memory.records import Lesson, LessonState
from training.clean import Decision

PAST = "left out tonight: past the budget of"
"""How the reason begins of a lesson for which a night had no room."""

AGES = 4
"""Into how many parts of equal size the earlier lessons are cut by age."""

_WORD = re.compile(r"\w{4,}")
_COMMON = frozenset(
    _WORD.findall(
        "about could does from give have into many much name please should tell that their there these this were what"
        " when where which whose will with would write your"
    )
)
"""Words of four letters and more that say nothing of what a question is about."""


@dataclass(frozen=True)
class Plan:
    """Tonight's `chosen` lessons, oldest first. The others are `left_out` (id → decision), or where some version was
    trained on them, or a night has rejected them, `resting` (ids): they stay what they are.
    """

    chosen: tuple[Lesson, ...]
    left_out: dict[str, Decision]
    resting: frozenset[str]


def plan(lessons: Sequence[Lesson], *, most: int, share: float, seed: int) -> Plan:
    """Choose at most `most` of `lessons` (oldest first), of which at most `share` are one user's (see `limit`)."""
    by_user: defaultdict[str, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        by_user[lesson.user].append(lesson)
    allowance = limit({user: len(own) for user, own in by_user.items()}, share=share, room=most)
    left_out: dict[str, Decision] = {}
    resting: set[str] = set()
    allowed: set[str] = set()
    for own in by_user.values():
        mine = own if allowance is None else choose(own, most=allowance, seed=seed)
        allowed |= {lesson.id for lesson in mine}
    total = min(most, len(allowed))
    chosen = choose([lesson for lesson in lessons if lesson.id in allowed], most=most, seed=seed)
    taken = {lesson.id for lesson in chosen}
    for lesson in lessons:
        if lesson.id in taken:
            continue
        if lesson.adapter is not None or lesson.state is LessonState.REJECTED:
            resting.add(lesson.id)
        elif lesson.id in allowed:
            left_out[lesson.id] = Decision(LessonState.QUEUED, f"{PAST} {most} lessons")
        else:
            left_out[lesson.id] = Decision(LessonState.HELD, _enough(lesson.user, allowance or 0, total))
    return Plan(tuple(chosen), left_out, frozenset(resting))


def limit(counts: Mapping[str, int], *, share: float, room: int) -> int | None:
    """Most lessons that a night takes of one user, or None where nobody has more.

    Where at least 1 / `share` users have lessons, nobody has more than `share` of tonight's, or than the user in the
    middle has where that is more, up to twice an equal part of the room: who hardly ever rates must not hold everybody
    else to that. Fewer users can't keep to `share`: each may have an equal part of the room of a whole night, so that
    whoever rates most in a household is held only when others could be crowded out.

    Args:
        counts: user → lessons.
        room: most lessons of a night.
    """
    users, highest = len(counts), max(counts.values(), default=0)
    if users < 2:
        return None
    equal = max(1, room // users)
    if users * share < 1:
        allowance = equal
    else:
        allowance = max(1, min(median_low(counts.values()), 2 * equal))
        while allowance < highest and allowance + 1 <= share * _total(counts, allowance + 1, room) + 1e-9:
            allowance += 1
    return allowance if allowance < highest else None


def choose(lessons: Sequence[Lesson], *, most: int, seed: int) -> list[Lesson]:
    """At most `most` of `lessons`, in their order (oldest first).

    Half are those that no exam has yet found in the weights: first what no night has tried, the newest first. Half are
    earlier ones, spread over ages, labels (liked or corrected) and topics. What one half leaves free the other takes.
    """
    if len(lessons) <= most:
        return list(lessons)
    new = [i for i, lesson in enumerate(lessons) if lesson.state is not LessonState.VERIFIED]
    earlier = [i for i, lesson in enumerate(lessons) if lesson.state is LessonState.VERIFIED]
    new.sort(key=lambda i: (_tried(lessons[i]), -i))
    places = new[: max(most - most // 2, most - len(earlier))]
    places += [earlier[i] for i in _spread([lessons[i] for i in earlier], most - len(places), seed)]
    return [lessons[i] for i in sorted(places)]


def _total(counts: Mapping[str, int], allowance: int, room: int) -> int:
    return min(room, sum(min(count, allowance) for count in counts.values()))


def _enough(user: str, allowance: int, total: int) -> str:
    return f"user {user} already has {allowance / total:.0%} of tonight's lessons"


def _tried(lesson: Lesson) -> bool:
    """Whether a night has had this lesson: what failed once must not keep the others waiting for ever."""
    return lesson.adapter is not None or any(
        event.night_id is not None and event.state is LessonState.QUEUED and not event.reason.startswith(PAST)
        for event in lesson.events
    )


def _spread(lessons: Sequence[Lesson], most: int, seed: int) -> list[int]:
    """Places of `most` of the lessons: every age and label in turn, within each every topic in turn, by lot."""
    if most <= 0:
        return []
    topics, count = _topics(lessons), len(lessons)
    cells = [(AGES * i // count, lesson.unwanted is None) for i, lesson in enumerate(lessons)]
    lots = [_lot(lesson, seed) for lesson in lessons]
    order = sorted(range(count), key=lambda i: (lots[i], i))
    order = _in_turn(order, [(cell, topic) for cell, topic in zip(cells, topics, strict=True)])
    return _in_turn(order, cells)[:most]


def _in_turn(order: Sequence[int], groups: Sequence[object]) -> list[int]:
    """`order`, with the first of each group before the second of any."""
    seen: Counter[object] = Counter()
    turn: dict[int, int] = {}
    for i in order:
        turn[i] = seen[groups[i]]
        seen[groups[i]] += 1
    return sorted(order, key=turn.__getitem__)


def _lot(lesson: Lesson, seed: int) -> bytes:
    """A lesson's own lot, so that another lesson more or less changes nobody's."""
    said = _SAID.encode([seed, list(lesson.history), lesson.question, lesson.wanted, lesson.unwanted])
    return hashlib.sha256(said.encode()).digest()


_SAID = json.JSONEncoder(sort_keys=True)


def _topics(lessons: Sequence[Lesson]) -> list[str]:
    """What each question is about: of its words the one that most of the questions hold."""
    asked = [set(_WORD.findall(lesson.question.casefold())) - _COMMON for lesson in lessons]
    held = Counter(word for question in asked for word in question)
    return [max(question, key=lambda word: (held[word], word), default="") for question in asked]
