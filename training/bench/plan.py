"""Streams as days: what the user brings when, and what is asked after each night. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from memory.errors import BadInput
from training.streams import StreamItem

NIGHTS_MAX = 10_000
"""Nights that some machine may live to see: the days of all are laid out beforehand."""


@dataclass(frozen=True)
class Day:
    """What the user brings on one day, and of which stream's which session it is."""

    stream: str
    session: int
    taught: tuple[StreamItem, ...]


@dataclass(frozen=True)
class Plan:
    """The days, the first at 0, and all items that are asked in evaluations.

    After the last day the user brings the same days again in turn, until there were `nights`.
    """

    days: tuple[Day, ...]
    items: tuple[StreamItem, ...]
    nights: int


def plan(
    items: Sequence[StreamItem],
    nights: int | None = None,
    *,
    days_each: int | None = None,
    items_each: int | None = None,
) -> Plan:
    """The days of one stream after those of the other, in the order in which the streams come, and `nights` in all.

    What belongs to later days is not asked, nor are the controls of a stream that never has its turn.

    Args:
        days_each: of every stream only the first so many days, so that many streams in a row are hours shorter.
        items_each: of every day only the first so many that are taught, and the first so many probes, whether or not
            they are about those.

    Raises: BadInput for a stream that teaches nothing, for no days, items or nights, or for more than `NIGHTS_MAX`.
    """
    if items_each is not None and items_each < 1:
        raise BadInput(f"a bench of {items_each} items a day would measure nothing: name at least 1")
    if days_each is not None and days_each < 1:
        raise BadInput(f"a bench of {days_each} days of each stream would measure nothing: name at least 1")
    if nights is not None and nights < 1:
        raise BadInput(f"a bench of {nights} nights would measure nothing: name at least 1")
    if nights is not None and nights > NIGHTS_MAX:
        raise BadInput(f"a bench of {nights} nights would not end: name at most {NIGHTS_MAX:,}")
    items = _first_of_each_day(items, items_each)
    days: list[Day] = []
    ends: dict[str, int] = {}
    for name in dict.fromkeys(item.stream for item in items):
        sessions: dict[int, list[StreamItem]] = {}
        for item in items:
            if item.stream == name and item.split == "teach":
                sessions.setdefault(item.session, []).append(item)
        if not sessions:
            raise BadInput(f"the stream {name!r} teaches nothing: it has no item whose split is 'teach'")
        ends[name] = max(sessions)
        days += [Day(name, session, tuple(sessions[session])) for session in sorted(sessions)[:days_each]]
    kept = tuple(days[:nights])
    last = {day.stream: day.session for day in kept}
    whole = {name for name in last if last[name] == ends[name]}
    asked = [x for x in items if x.stream in whole or (x.stream in last and x.session <= last[x.stream])]
    return Plan(kept, tuple(asked), nights or len(kept))


def _first_of_each_day(items: Sequence[StreamItem], most: int | None) -> Sequence[StreamItem]:
    """Of what is taught on a day, and of its probes, the first `most`; controls belong to no day."""
    if most is None:
        return items
    seen: Counter[tuple[str, int, str]] = Counter()
    kept = []
    for item in items:
        of = (item.stream, item.session, item.split)
        if item.split == "control" or seen[of] < most:
            kept.append(item)
        seen[of] += 1
    return kept
