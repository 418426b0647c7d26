"""Ratings, and the lessons that they queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import BadInput, NotFound
from memory.records import Lesson, LessonEvent, LessonState, Rating, Votes
from memory.sql import nights
from memory.sql.exchanges import CHUNK

_FIELDS = [part.name for part in fields(Lesson) if part.name != "events"]
_COLUMNS = [t.lessons.c[name] for name in _FIELDS]
"""There may be a hundred thousand rows, and by place they are read in a third of the time that names would take."""

_NEWEST = sa.select(sa.func.max(t.ratings.c.seq)).group_by(t.ratings.c.exchange_id)
_IN_FORCE = sa.select(t.ratings).where(
    t.ratings.c.seq.in_(_NEWEST.where(t.ratings.c.exchange_id.in_(sa.bindparam("exchange_ids", expanding=True)))),
    t.ratings.c.value != 0,
)
"""Each question asks it more than once: it is worded once."""

WAITING = (LessonState.QUEUED, LessonState.HELD)
"""States of a lesson that is in no version."""


def rate(db: sa.Connection, rating: Rating, lesson: Lesson | None) -> None:
    """Append a rating; an earlier lesson that no night has taken up follows it, any other is undone.

    Raises: NotFound: the exchange was forgotten meanwhile.
    """
    if db.execute(sa.select(t.exchanges.c.seq).where(t.exchanges.c.id == rating.exchange_id)).first() is None:
        raise NotFound("exchange", rating.exchange_id)
    db.execute(sa.insert(t.ratings).values(**asdict(rating) | {"reasons": list(rating.reasons)}))
    earlier = db.execute(
        sa.select(t.lessons.c.id, t.lessons.c.state).where(
            t.lessons.c.exchange_id == rating.exchange_id, t.lessons.c.state != LessonState.UNDONE
        )
    )
    why = "the rating was taken back" if rating.value == 0 else "the exchange was rated again"
    for lesson_id, state in list(earlier):
        if lesson is not None and state in WAITING and not nights.one_runs(db):
            follows = sa.update(t.lessons).where(t.lessons.c.id == lesson_id)
            follows = follows.values(rating_id=rating.id, user=lesson.user)
            db.execute(follows.values(wanted=lesson.wanted, unwanted=lesson.unwanted))
            # What a person holds back stays so, however it is rated meanwhile.
            held = get(db, lesson_id).hold if lesson.hold is None else lesson.hold
            db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(hold=held))
            state, reason = (LessonState.HELD, held) if held else (lesson.state, lesson.reason)
            advance(db, lesson_id, LessonEvent(rating.created_at, state, reason))
            return
        advance(db, lesson_id, LessonEvent(rating.created_at, LessonState.UNDONE, why))
    if lesson is not None:
        _add(db, lesson)


def review(db: sa.Connection, lesson_id: str, *, hold: str | None, event: LessonEvent, wanted: str | None) -> None:
    """Hold a lesson back or let it go. Raises: NotFound; BadInput when it was undone, or a night may be at it."""
    lesson = get(db, lesson_id)
    if lesson.state is LessonState.UNDONE:
        raise BadInput("the lesson was taken back: there is nothing to decide over")
    if nights.one_runs(db):
        raise BadInput("a night is running, and may be at this lesson: wait for its end, or cancel it")
    values = {"hold": hold} | ({} if wanted is None else {"wanted": wanted})
    db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(**values))
    advance(db, lesson_id, event)


def ratings_in_force(db: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, Rating]:
    """Id of exchange → its newest rating, unless that takes the others back."""
    rows = db.execute(_IN_FORCE, {"exchange_ids": list(exchange_ids)}).mappings()
    return {row["exchange_id"]: _rating(row) for row in rows}


def votes(db: sa.Connection) -> dict[str, Votes]:
    """Version → thumbs on its answers, by the newest rating of each."""
    query = (
        sa.select(t.exchanges.c.adapter, t.ratings.c.value, sa.func.count())
        .join(t.exchanges, t.exchanges.c.id == t.ratings.c.exchange_id)
        .where(t.ratings.c.seq.in_(_NEWEST), t.ratings.c.value != 0)
        .group_by(t.exchanges.c.adapter, t.ratings.c.value)
    )
    found: dict[str, Votes] = {}
    for version, value, count in db.execute(query):
        held = found.get(version, Votes())
        found[version] = replace(held, up=count) if value > 0 else replace(held, down=count)
    return found


def counts(db: sa.Connection) -> dict[LessonState, int]:
    """State → lessons in it."""
    query = sa.select(t.lessons.c.state, sa.func.count()).group_by(t.lessons.c.state)
    return {LessonState(state): count for state, count in db.execute(query)}


def in_the_weights(db: sa.Connection, exchange_ids: Sequence[str], version: str) -> set[str]:
    """Those of the exchanges whose lesson in force was found right by the newest exam of `version`."""
    lesson, e = t.lessons.c, t.lesson_events.c
    last = sa.select(sa.func.max(e.seq)).where(
        e.lesson_id == lesson.id,
        e.adapter == version,
        e.state.in_([str(LessonState.VERIFIED), str(LessonState.NOT_LEARNED)]),
    )
    query = (
        sa.select(lesson.exchange_id)
        .join(t.lesson_events, e.seq == last.correlate(t.lessons).scalar_subquery())
        .where(
            lesson.exchange_id.in_(list(exchange_ids)),
            lesson.state != LessonState.UNDONE,
            e.state == LessonState.VERIFIED,
        )
    )
    return set(db.scalars(query))


def rated_ids() -> sa.Select[str]:
    """A query for the ids of all exchanges that were ever rated, whether or not it was taken back."""
    return sa.select(t.ratings.c.exchange_id)


def get(db: sa.Connection, lesson_id: str) -> Lesson:
    """Raises: NotFound."""
    row = db.execute(sa.select(*_COLUMNS).where(t.lessons.c.id == lesson_id)).first()
    if row is None:
        raise NotFound("lesson", lesson_id)
    return _lesson(row, _events(db, sa.select(sa.literal(lesson_id)))[lesson_id])


def of_exchange(db: sa.Connection, exchange_id: str) -> str | None:
    """The id of the newest lesson that came of an exchange."""
    query = sa.select(t.lessons.c.id).where(t.lessons.c.exchange_id == exchange_id)
    return db.execute(query.order_by(t.lessons.c.seq.desc()).limit(1)).scalar()


def find(db: sa.Connection, *, states: Sequence[LessonState] | None, newest_first: bool) -> list[Lesson]:
    """Lessons in one of `states` (None: in any), in the order in which they were queued, or the other way round."""
    query = sa.select(*_COLUMNS)
    if states is not None:
        query = query.where(t.lessons.c.state.in_([str(s) for s in states]))
    order = t.lessons.c.seq.desc() if newest_first else t.lessons.c.seq
    rows = list(db.execute(query.order_by(order)))
    events = _events(db, query.with_only_columns(t.lessons.c.id))
    return [_lesson(row, events.get(row.id, [])) for row in rows]


def named(db: sa.Connection, lesson_ids: Collection[str]) -> dict[str, Lesson]:
    """Id → lesson, for those of the ids that there are."""
    found: dict[str, Lesson] = {}
    wanted = list(lesson_ids)
    for first in range(0, len(wanted), CHUNK):
        query = sa.select(*_COLUMNS).where(t.lessons.c.id.in_(wanted[first : first + CHUNK]))
        rows = list(db.execute(query))
        events = _events(db, query.with_only_columns(t.lessons.c.id))
        found |= {row.id: _lesson(row, events.get(row.id, [])) for row in rows}
    return found


def states(db: sa.Connection, lesson_ids: Collection[str]) -> dict[str, LessonState]:
    """Id → state, for those of the ids that there are: the part of a lesson that costs next to nothing to read."""
    found: dict[str, LessonState] = {}
    wanted = list(lesson_ids)
    for first in range(0, len(wanted), CHUNK):
        query = sa.select(t.lessons.c.id, t.lessons.c.state).where(t.lessons.c.id.in_(wanted[first : first + CHUNK]))
        found |= {lesson_id: LessonState(state) for lesson_id, state in db.execute(query)}
    return found


def advance(db: sa.Connection, lesson_id: str, event: LessonEvent) -> None:
    """Write a lesson's next state. Raises: NotFound."""
    advance_all(db, [(lesson_id, event)])


def advance_all(db: sa.Connection, events: Sequence[tuple[str, LessonEvent]], *, deleted_ok: bool = False) -> None:
    """Write the next states of lessons, in order; an undone one stays undone. Raises: NotFound, unless `deleted_ok`.

    In a few statements, however many they are: while they are written nobody else can store an answer.
    """
    reached = states(db, dict.fromkeys(lesson_id for lesson_id, _ in events))
    rows = []
    for lesson_id, event in events:
        if lesson_id not in reached and deleted_ok:
            continue
        if lesson_id not in reached:
            raise NotFound("lesson", lesson_id)
        if reached[lesson_id] is LessonState.UNDONE:
            # Taken back while the night ran: what the night found out about it no longer matters.
            continue
        reached[lesson_id] = event.state
        rows.append(
            {
                "lesson_id": lesson_id,
                "at": event.at,
                "state": str(event.state),
                "reason": event.reason,
                "night_id": event.night_id,
                "adapter": event.adapter,
            }
        )
    if rows:
        db.execute(sa.insert(t.lesson_events), rows)
        last = {row["lesson_id"]: row for row in rows}
        changed = sa.update(t.lessons).where(t.lessons.c.id == sa.bindparam("lesson_id"))
        db.execute(changed, [{k: v for k, v in row.items() if k != "at"} for row in last.values()])


def _add(db: sa.Connection, lesson: Lesson) -> None:
    row = asdict(lesson) | {"history": list(lesson.history)}
    del row["events"]
    db.execute(sa.insert(t.lessons).values(**row))
    advance(db, lesson.id, LessonEvent(lesson.created_at, lesson.state, lesson.reason))


def _events(db: sa.Connection, lesson_ids: sa.Select[str]) -> dict[str, list[LessonEvent]]:
    e = t.lesson_events.c
    query = sa.select(e.lesson_id, e.at, e.state, e.reason, e.night_id, e.adapter).where(e.lesson_id.in_(lesson_ids))
    events: dict[str, list[LessonEvent]] = {}
    # There are hundreds of thousands: rows by place are read three times as fast as by name.
    for lesson_id, at, state, *rest in db.execute(query.order_by(e.seq)):
        events.setdefault(lesson_id, []).append(LessonEvent(at, LessonState(state), *rest))
    return events


def _rating(row: sa.RowMapping) -> Rating:
    return Rating(**{k: v for k, v in row.items() if k != "seq"})


def _lesson(row: Sequence[Any], events: Sequence[LessonEvent]) -> Lesson:
    said = dict(zip(_FIELDS, row, strict=True))
    return Lesson(**said | {"state": LessonState(said["state"]), "events": tuple(events)})
