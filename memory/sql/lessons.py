"""Ratings, and the lessons that they queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from memory import tables as t
from memory.errors import NotFound
from memory.records import Lesson, LessonEvent, LessonState, Rating
from memory.sql import nights

WAITING = (LessonState.QUEUED, LessonState.HELD)
"""States of a lesson that is in no version."""


def rate(db: sa.Connection, rating: Rating, lesson: Lesson | None) -> None:
    """Append a rating; an earlier lesson that no night has taken up follows it, any other is undone."""
    db.execute(sa.insert(t.ratings).values(**asdict(rating) | {"reasons": list(rating.reasons)}))
    earlier = db.execute(
        sa.select(t.lessons.c.id, t.lessons.c.state).where(
            t.lessons.c.exchange_id == rating.exchange_id, t.lessons.c.state != LessonState.UNDONE
        )
    )
    why = "the rating was taken back" if rating.value == 0 else "the exchange was rated again"
    for lesson_id, state in list(earlier):
        if lesson is not None and state in WAITING and not nights.one_runs(db):
            content = {"rating_id": rating.id, "wanted": lesson.wanted, "unwanted": lesson.unwanted}
            db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(**content))
            advance(db, lesson_id, LessonEvent(rating.created_at, lesson.state, lesson.reason))
            return
        advance(db, lesson_id, LessonEvent(rating.created_at, LessonState.UNDONE, why))
    if lesson is not None:
        _add(db, lesson)


def ratings_in_force(db: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, Rating]:
    """Id of exchange → its newest rating, unless that takes the others back."""
    newest = (
        sa.select(sa.func.max(t.ratings.c.seq))
        .where(t.ratings.c.exchange_id.in_(list(exchange_ids)))
        .group_by(t.ratings.c.exchange_id)
    )
    rows = db.execute(sa.select(t.ratings).where(t.ratings.c.seq.in_(newest), t.ratings.c.value != 0)).mappings()
    return {row["exchange_id"]: _rating(row) for row in rows}


def rated_ids() -> sa.Select[str]:
    """A query for the ids of all exchanges that have a rating in force."""
    newest = sa.select(sa.func.max(t.ratings.c.seq)).group_by(t.ratings.c.exchange_id)
    return sa.select(t.ratings.c.exchange_id).where(t.ratings.c.seq.in_(newest), t.ratings.c.value != 0)


def get(db: sa.Connection, lesson_id: str) -> Lesson:
    """Raises: NotFound."""
    row = db.execute(sa.select(t.lessons).where(t.lessons.c.id == lesson_id)).mappings().first()
    if row is None:
        raise NotFound("lesson", lesson_id)
    return _lesson(row, _events(db, sa.select(sa.literal(lesson_id)))[lesson_id])


def find(db: sa.Connection, *, states: Sequence[LessonState] | None, newest_first: bool) -> list[Lesson]:
    """Lessons in one of `states` (None: in any), in the order in which they were queued, or the other way round."""
    query = sa.select(t.lessons)
    if states is not None:
        query = query.where(t.lessons.c.state.in_([str(s) for s in states]))
    order = t.lessons.c.seq.desc() if newest_first else t.lessons.c.seq
    rows = list(db.execute(query.order_by(order)).mappings())
    events = _events(db, query.with_only_columns(t.lessons.c.id))
    return [_lesson(row, events.get(row["id"], [])) for row in rows]


def advance(db: sa.Connection, lesson_id: str, event: LessonEvent) -> None:
    """Write a lesson's next state. Raises: NotFound."""
    state = db.execute(sa.select(t.lessons.c.state).where(t.lessons.c.id == lesson_id)).scalar()
    if state is None:
        raise NotFound("lesson", lesson_id)
    if state == LessonState.UNDONE:
        # Taken back while the night ran: what the night found out about it no longer matters.
        return
    values = {"state": str(event.state), "reason": event.reason, "night_id": event.night_id, "adapter": event.adapter}
    db.execute(sa.insert(t.lesson_events).values(lesson_id=lesson_id, at=event.at, **values))
    db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(**values))


def _add(db: sa.Connection, lesson: Lesson) -> None:
    row = asdict(lesson) | {"history": list(lesson.history)}
    del row["events"]
    db.execute(sa.insert(t.lessons).values(**row))
    advance(db, lesson.id, LessonEvent(lesson.created_at, lesson.state, lesson.reason))


def _events(db: sa.Connection, lesson_ids: sa.Select[str]) -> dict[str, list[LessonEvent]]:
    query = sa.select(t.lesson_events).where(t.lesson_events.c.lesson_id.in_(lesson_ids))
    rows = db.execute(query.order_by(t.lesson_events.c.seq)).mappings()
    events: dict[str, list[LessonEvent]] = {}
    for row in rows:
        event = LessonEvent(row["at"], LessonState(row["state"]), row["reason"], row["night_id"], row["adapter"])
        events.setdefault(row["lesson_id"], []).append(event)
    return events


def _rating(row: sa.RowMapping) -> Rating:
    return Rating(**{k: v for k, v in row.items() if k != "seq"})


def _lesson(row: sa.RowMapping, events: Sequence[LessonEvent]) -> Lesson:
    values = {k: v for k, v in row.items() if k != "seq"}
    return Lesson(**values | {"state": LessonState(row["state"]), "events": tuple(events)})
