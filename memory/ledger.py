"""The ledger: the only truth, in one SQL database. No SQL stands anywhere else.

Each public method is one transaction; what it returns is frozen. Several processes may share a ledger (the server and
the night do): SQLite in WAL mode, every writing transaction taken with BEGIN IMMEDIATE so that read-then-write is
atomic. The ledger does not know what a model, a vector or a page is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.sqlite import insert as upsert

from memory import tables as t
from memory.errors import (
    AlreadyRunning,
    BadInput,
    LeaseLost,
    LedgerNewer,
    LedgerUnreadable,
    NotFound,
    NotRemembered,
)
from memory.records import (
    BASE,
    Adapter,
    AdapterState,
    Exchange,
    Lease,
    Lesson,
    LessonEvent,
    LessonState,
    Night,
    NightStatus,
    Rating,
)

NIGHT = "night"
"""The name of the lease that a night holds."""

WAITING = (LessonState.QUEUED, LessonState.HELD)
"""States of a lesson that is in no version."""

MIGRATIONS = Path(__file__).parent / "migrations"


class Ledger:
    """Reading and writing the nouns. Open one with `Ledger.open`; it is safe to use from several threads."""

    def __init__(self, engine: sa.Engine, *, path: Path = Path(":memory:"), read_only: str | None = None) -> None:
        self._engine = engine
        self._path = path
        self.read_only = read_only
        """Why nothing can be written, or None."""

    # ------------------------------------------------------------------ opening

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at `path`, made or migrated where needed; an older one is copied beside itself first.

        A folder that can't be written gives a ledger that reads what is there (or is empty) and refuses to write.

        Raises:
            LedgerNewer: a newer Nightschool wrote it.
            LedgerUnreadable: the file is no database.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _has_content(path):
                # Before anything may write: another program's database or a newer ledger stays as it is, to the byte.
                with _opened(_uri(path, "mode=ro"), wal=False) as engine:
                    _check(engine, path)
            with _opened(_uri(path, "mode=rwc")) as engine:
                with engine.execution_options(nightschool_write=True).connect() as connection:
                    # SQLite opens a read-only file without a word, and tells at the first write. This one is not kept.
                    connection.exec_driver_sql("PRAGMA user_version = 0")
                    connection.rollback()
                _migrate(engine, path)
        except (OSError, sa.exc.OperationalError) as error:
            return cls._open_read_only(path, why=_why_read_only(path, error))
        except sa.exc.DatabaseError as error:
            raise LedgerUnreadable(path, _why(error)) from error
        return cls(_sqlite(_uri(path, "mode=rwc")), path=path)

    @classmethod
    def _open_read_only(cls, path: Path, *, why: str) -> Ledger:
        if not _has_content(path):
            return cls(_in_memory(), path=path, read_only=why)
        failure: BaseException | None = None
        # `immutable` reads a WAL database where SQLite can't make the -shm file, but is blind to what is still in the
        # WAL and to other writers: the second choice.
        for options in ("mode=ro", "mode=ro&immutable=1"):
            try:
                with _opened(_uri(path, options), wal=False) as engine:
                    _check(engine, path)
                    with engine.connect() as connection:
                        connection.execute(sa.select(t.nights.c.seq).limit(1))
            except sa.exc.DatabaseError as error:
                failure = error
            else:
                return cls(_sqlite(_uri(path, options), wal=False), path=path, read_only=why)
        raise LedgerUnreadable(path, _why(failure) if failure else why) from failure

    @classmethod
    def in_memory(cls) -> Ledger:
        """An empty ledger that lives as long as this object, for tests."""
        return cls(_in_memory())

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._damage_told(), self._engine.connect() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise LedgerUnreadable(self._path, _why(error)) from error

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise BadInput("the ledger takes no text with half of a surrogate pair") from error
        except sa.exc.DatabaseError as error:
            # Its subclasses are about statements and locks; the class itself is what a damaged page gives.
            if type(error) is not sa.exc.DatabaseError:
                raise
            raise LedgerUnreadable(self._path, _why(error)) from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        if self.read_only:
            raise NotRemembered(self.read_only)
        try:
            with self._damage_told(), self._engine.connect() as plain:
                connection = plain.execution_options(nightschool_write=True)
                with connection.begin():
                    yield connection
        except sa.exc.OperationalError as error:
            raise NotRemembered(_why(error)) from error

    # ------------------------------------------------------------------ exchanges

    def add_exchange(self, exchange: Exchange) -> int:
        """Store one exchange (and its conversation, when it opens one). Returns its place in the order of writing."""
        row = asdict(exchange)
        row["history"], row["prompt"] = list(exchange.history), list(exchange.prompt)
        row["recollections"] = [dict(r) for r in exchange.recollections]
        with self._write() as db:
            db.execute(
                upsert(t.conversations)
                .values(id=exchange.conversation_id, user=exchange.user, created_at=exchange.created_at)
                .on_conflict_do_nothing()
            )
            result = db.execute(sa.insert(t.exchanges).values(**row))
            return int(result.inserted_primary_key[0])  # type: ignore[index]

    def exchange(self, exchange_id: str) -> Exchange:
        """Raises: NotFound."""
        with self._read() as db:
            row = db.execute(sa.select(t.exchanges).where(t.exchanges.c.id == exchange_id)).mappings().first()
        if row is None:
            raise NotFound("exchange", exchange_id)
        return _exchange(row)

    def thread(self, exchange_id: str | None) -> list[Exchange]:
        """The exchange and all that it follows, oldest first. Empty for None. Raises: NotFound."""
        chain: list[Exchange] = []
        while exchange_id is not None:
            chain.append(self.exchange(exchange_id))
            exchange_id = chain[-1].parent_id
        return chain[::-1]

    def conversation(self, conversation_id: str) -> list[Exchange]:
        """All exchanges of a conversation in the order of writing, siblings included."""
        query = (
            sa.select(t.exchanges).where(t.exchanges.c.conversation_id == conversation_id).order_by(t.exchanges.c.seq)
        )
        with self._read() as db:
            return [_exchange(row) for row in db.execute(query).mappings()]

    def latest_conversation(self, user: str) -> str | None:
        """The conversation in which `user` last said something."""
        query = sa.select(t.exchanges.c.conversation_id).where(t.exchanges.c.user == user)
        with self._read() as db:
            return db.execute(query.order_by(t.exchanges.c.seq.desc()).limit(1)).scalar()

    def questions_after(self, seq: int, *, limit: int) -> list[tuple[int, str]]:
        """(seq, question) of exchanges written after `seq`, in order: what an index must still take in."""
        query = sa.select(t.exchanges.c.seq, t.exchanges.c.question).where(t.exchanges.c.seq > seq)
        with self._read() as db:
            return [(s, q) for s, q in db.execute(query.order_by(t.exchanges.c.seq).limit(limit))]

    def last_seq(self) -> int:
        """The place of the newest exchange; 0 when there is none."""
        with self._read() as db:
            return db.execute(sa.select(sa.func.max(t.exchanges.c.seq))).scalar() or 0

    def count_exchanges(self) -> int:
        with self._read() as db:
            return db.execute(sa.select(sa.func.count()).select_from(t.exchanges)).scalar_one()

    def rated_exchanges(
        self, seqs: Sequence[int], *, user: str | None = None
    ) -> dict[int, tuple[Exchange, Rating | None]]:
        """`seq` → (exchange, the rating that holds), for those that exist (and are `user`'s)."""
        query = sa.select(t.exchanges).where(t.exchanges.c.seq.in_(list(seqs)))
        if user is not None:
            query = query.where(t.exchanges.c.user == user)
        with self._read() as db:
            found = {row["seq"]: _exchange(row) for row in db.execute(query).mappings()}
            ratings = _ratings_in_force(db, [e.id for e in found.values()])
        return {seq: (exchange, ratings.get(exchange.id)) for seq, exchange in found.items()}

    def unrated_exchanges(self, *, limit: int) -> list[Exchange]:
        """The newest exchanges without a rating in force: dialogues that no lesson is about."""
        last = sa.select(sa.func.max(t.ratings.c.seq)).group_by(t.ratings.c.exchange_id)
        rated = sa.select(t.ratings.c.exchange_id).where(t.ratings.c.seq.in_(last), t.ratings.c.value != 0)
        query = sa.select(t.exchanges).where(t.exchanges.c.id.not_in(rated))
        query = query.order_by(t.exchanges.c.seq.desc()).limit(limit)
        with self._read() as db:
            return [_exchange(row) for row in db.execute(query).mappings()]

    # ------------------------------------------------------------------ ratings and lessons

    def rate(self, rating: Rating, lesson: Lesson | None) -> None:
        """Append a rating with the lesson that it queues (None for value 0).

        A lesson that no night has taken up yet follows its rating: a thumb, and then the better answer, are one lesson.
        Any other lesson of an earlier rating is undone.
        """
        with self._write() as db:
            values = asdict(rating) | {"reasons": list(rating.reasons)}
            db.execute(sa.insert(t.ratings).values(**values))
            earlier = db.execute(
                sa.select(t.lessons.c.id, t.lessons.c.state).where(
                    t.lessons.c.exchange_id == rating.exchange_id, t.lessons.c.state != LessonState.UNDONE
                )
            )
            why = "the rating was taken back" if rating.value == 0 else "the exchange was rated again"
            for lesson_id, state in list(earlier):
                if lesson is not None and state in WAITING and not _night_runs(db):
                    content = {"rating_id": rating.id, "wanted": lesson.wanted, "unwanted": lesson.unwanted}
                    db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(**content))
                    _advance(db, lesson_id, LessonEvent(rating.created_at, lesson.state, lesson.reason))
                    return
                _advance(db, lesson_id, LessonEvent(rating.created_at, LessonState.UNDONE, why))
            if lesson is not None:
                row = asdict(lesson) | {"history": list(lesson.history)}
                del row["events"]
                db.execute(sa.insert(t.lessons).values(**row))
                _advance(db, lesson.id, LessonEvent(lesson.created_at, lesson.state, lesson.reason))

    def rating(self, exchange_id: str) -> Rating | None:
        """The rating of an exchange that holds (a taken-back one counts as none)."""
        return self.ratings([exchange_id]).get(exchange_id)

    def ratings(self, exchange_ids: Sequence[str]) -> dict[str, Rating]:
        """Id of exchange → the rating that holds, for those that have one."""
        with self._read() as db:
            return _ratings_in_force(db, exchange_ids)

    def lessons(self, *, states: Sequence[LessonState] | None = None, newest_first: bool = False) -> list[Lesson]:
        """Lessons in the order in which they were queued, each with its life so far."""
        query = sa.select(t.lessons)
        if states is not None:
            query = query.where(t.lessons.c.state.in_([str(s) for s in states]))
        order = t.lessons.c.seq.desc() if newest_first else t.lessons.c.seq
        with self._read() as db:
            rows = list(db.execute(query.order_by(order)).mappings())
            events = _events(db, query.with_only_columns(t.lessons.c.id))
        return [_lesson(row, events.get(row["id"], [])) for row in rows]

    def lesson(self, lesson_id: str) -> Lesson:
        """Raises: NotFound."""
        with self._read() as db:
            row = db.execute(sa.select(t.lessons).where(t.lessons.c.id == lesson_id)).mappings().first()
            if row is None:
                raise NotFound("lesson", lesson_id)
            return _lesson(row, _events(db, sa.select(sa.literal(lesson_id)))[lesson_id])

    def advance_lessons(self, events: Mapping[str, LessonEvent]) -> None:
        """Write the next state of several lessons at once (lesson id → event). An undone lesson stays undone."""
        with self._write() as db:
            for lesson_id, event in events.items():
                _advance(db, lesson_id, event)

    # ------------------------------------------------------------------ nights

    def request_night(self, night: Night) -> Night:
        """Queue `night`, or the one that was cut off and can go on, or the one that waits already.

        Raises:
            AlreadyRunning: one runs; the error names who holds the lease.
        """
        with self._write() as db:
            _reap(db, night.created_at)
            _refuse_if_running(db, night.created_at)
            waiting = db.execute(
                sa.select(t.nights)
                .where((t.nights.c.status == NightStatus.QUEUED) | t.nights.c.resumable)
                .order_by(t.nights.c.seq.desc())
            )
            row = waiting.mappings().first()
            if row is None:
                values = asdict(night) | {"settings": dict(night.settings), "reasons": list(night.reasons)}
                db.execute(sa.insert(t.nights).values(**values))
                return night
            if row["status"] != NightStatus.QUEUED:
                db.execute(
                    sa.update(t.nights)
                    .where(t.nights.c.seq == row["seq"])
                    .values(status=NightStatus.QUEUED, ended_at=None, reasons=[])
                )
        return self.night(row["id"])

    def begin_night(
        self,
        night_id: str,
        *,
        holder: str,
        at: datetime,
        ttl: timedelta,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Night:
        """Take the lease and mark the night as running, with the seed and the settings that it runs with (None keeps
        those that it was requested with).

        Raises:
            AlreadyRunning: another holder's lease is in force.
            NotFound: no such night.
            BadInput: it has ended already.
        """
        with self._write() as db:
            _reap(db, at)
            _refuse_if_running(db, at)
            found = db.execute(sa.select(t.nights.c.status, t.nights.c.resumable).where(t.nights.c.id == night_id))
            row = found.first()
            if row is None:
                raise NotFound("night", night_id)
            if row.status != NightStatus.QUEUED and not row.resumable:
                raise BadInput(f"night {night_id} has ended: {row.status}")
            db.execute(sa.delete(t.leases).where(t.leases.c.name == NIGHT))
            db.execute(
                sa.insert(t.leases).values(
                    name=NIGHT, holder=holder, night_id=night_id, acquired_at=at, renewed_at=at, expires_at=at + ttl
                )
            )
            db.execute(
                sa.update(t.nights)
                .where(t.nights.c.id == night_id)
                .values(
                    status=NightStatus.RUNNING,
                    started_at=sa.func.coalesce(t.nights.c.started_at, sa.bindparam("now", at, type_=t.Time)),
                    ended_at=None,
                    resumable=False,
                    reasons=[],
                    **({} if seed is None else {"seed": seed}),
                    **({} if settings is None else {"settings": dict(settings)}),
                )
            )
        return self.night(night_id)

    def renew_lease(self, holder: str, *, at: datetime, ttl: timedelta) -> bool:
        """The heartbeat. False when the lease is no longer this holder's."""
        with self._write() as db:
            changed = db.execute(
                sa.update(t.leases)
                .where(t.leases.c.name == NIGHT, t.leases.c.holder == holder)
                .values(renewed_at=at, expires_at=at + ttl)
            )
            return changed.rowcount == 1

    def lease(self) -> Lease | None:
        """The lease as it stands, expired or not."""
        with self._read() as db:
            return _lease(db)

    def night_progress(self, night_id: str, *, stage: str, progress: float, detail: str = "") -> None:
        """Say how far a night is; `progress` in [0, 1] over all stages."""
        with self._write() as db:
            db.execute(
                sa.update(t.nights)
                .where(t.nights.c.id == night_id)
                .values(stage=stage, progress=round(progress, 4), detail=detail)
            )

    def name_adapter(self, night_id: str) -> str:
        """The version that this night's adapter will bear: the next free one, the same again after a cut-off."""
        with self._write() as db:
            taken = db.execute(sa.select(t.nights.c.adapter).where(t.nights.c.id == night_id)).scalar()
            if taken:
                return str(taken)
            names = db.execute(sa.select(t.nights.c.adapter).where(t.nights.c.adapter.is_not(None))).scalars()
            version = f"v{max((int(name[1:]) for name in names), default=0) + 1}"
            db.execute(sa.update(t.nights).where(t.nights.c.id == night_id).values(adapter=version))
            return version

    def end_night(
        self,
        night_id: str,
        *,
        holder: str,
        status: NightStatus,
        reasons: Sequence[str],
        at: datetime,
        report: str | None = None,
        adapter: Adapter | None = None,
        back_to_base: bool = False,
        lessons: Sequence[tuple[str, LessonEvent]] = (),
        resumable: bool = False,
    ) -> Night:
        """Everything a night's end changes, in one transaction: the version that serves, the lessons, the verdict, the
        lease. Before it nothing has changed for the day; after it everything has.

        Raises:
            AlreadyRunning: the lease went to another holder meanwhile; nothing was written.
            LeaseLost: the lease was ended meanwhile, and nobody holds one now; nothing was written.
        """
        with self._write() as db:
            lease = _lease(db)
            if lease is None:
                raise LeaseLost(night_id)
            if lease.holder != holder or lease.night_id != night_id:
                raise AlreadyRunning(lease.holder, lease.night_id, lease.renewed_at)
            if adapter is not None:
                _add_adapter(db, adapter)
            if back_to_base:
                _flip(db, BASE, reasons[0])
            for lesson_id, event in lessons:
                _advance(db, lesson_id, event)
            db.execute(
                sa.update(t.nights)
                .where(t.nights.c.id == night_id)
                .values(
                    status=status,
                    reasons=list(reasons),
                    report=report,
                    ended_at=at,
                    resumable=resumable,
                    **({} if resumable else {"progress": 1.0, "detail": ""}),
                )
            )
            db.execute(sa.delete(t.leases).where(t.leases.c.name == NIGHT, t.leases.c.holder == holder))
        return self.night(night_id)

    def reap_nights(self, *, at: datetime) -> list[Night]:
        """Nights that say they run though nobody holds their lease any more are marked failed, to be resumed."""
        if self.read_only:
            return []
        with self._write() as db:
            ids = _reap(db, at)
        return [self.night(night_id) for night_id in ids]

    def abandon_lease(self, night_id: str, *, at: datetime) -> None:
        """End a dead night's lease before its time: for who started the process and saw it die."""
        with self._write() as db:
            db.execute(sa.delete(t.leases).where(t.leases.c.name == NIGHT, t.leases.c.night_id == night_id))
            _reap(db, at)

    def night(self, night_id: str) -> Night:
        """Raises: NotFound."""
        with self._read() as db:
            row = db.execute(sa.select(t.nights).where(t.nights.c.id == night_id)).mappings().first()
        if row is None:
            raise NotFound("night", night_id)
        return _night(row)

    def nights(self, *, limit: int = 100) -> list[Night]:
        """The newest nights first."""
        with self._read() as db:
            rows = db.execute(sa.select(t.nights).order_by(t.nights.c.seq.desc()).limit(limit)).mappings()
            return [_night(row) for row in rows]

    # ------------------------------------------------------------------ adapters

    def adapter(self, version: str) -> Adapter:
        """Raises: NotFound."""
        with self._read() as db:
            row = db.execute(sa.select(t.adapters).where(t.adapters.c.version == version)).mappings().first()
        if row is None:
            raise NotFound("adapter", version)
        return _adapter(row)

    def adapters(self) -> list[Adapter]:
        """The newest version first."""
        with self._read() as db:
            rows = db.execute(sa.select(t.adapters).order_by(t.adapters.c.seq.desc())).mappings()
            return [_adapter(row) for row in rows]

    def active_adapter(self) -> Adapter | None:
        """The version that serves; None for the base."""
        with self._read() as db:
            query = sa.select(t.adapters).where(t.adapters.c.state == AdapterState.ACTIVE)
            row = db.execute(query).mappings().first()
        return None if row is None else _adapter(row)

    def activate(self, version: str, *, reason: str) -> Adapter | None:
        """Let `version` serve (`base` for none); the one before it retires. One transaction: it is the switch.

        Raises: NotFound; BadInput for a version that failed its exam.
        """
        with self._write() as db:
            if version != BASE:
                known = db.execute(
                    sa.select(t.adapters.c.state, t.adapters.c.reason).where(t.adapters.c.version == version)
                )
                row = known.first()
                if row is None:
                    raise NotFound("adapter", version)
                if row.state == AdapterState.REJECTED:
                    raise BadInput(f"{version} was rejected by its exam: {row.reason}")
            _flip(db, version, reason)
        return self.active_adapter()


# ---------------------------------------------------------------------- within a transaction


def _ratings_in_force(db: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, Rating]:
    newest = (
        sa.select(sa.func.max(t.ratings.c.seq))
        .where(t.ratings.c.exchange_id.in_(list(exchange_ids)))
        .group_by(t.ratings.c.exchange_id)
    )
    rows = db.execute(sa.select(t.ratings).where(t.ratings.c.seq.in_(newest), t.ratings.c.value != 0)).mappings()
    return {row["exchange_id"]: _rating(row) for row in rows}


def _events(db: sa.Connection, lesson_ids: sa.Select[str]) -> dict[str, list[LessonEvent]]:
    query = sa.select(t.lesson_events).where(t.lesson_events.c.lesson_id.in_(lesson_ids))
    rows = db.execute(query.order_by(t.lesson_events.c.seq)).mappings()
    events: dict[str, list[LessonEvent]] = {}
    for row in rows:
        event = LessonEvent(row["at"], LessonState(row["state"]), row["reason"], row["night_id"], row["adapter"])
        events.setdefault(row["lesson_id"], []).append(event)
    return events


def _advance(db: sa.Connection, lesson_id: str, event: LessonEvent) -> None:
    state = db.execute(sa.select(t.lessons.c.state).where(t.lessons.c.id == lesson_id)).scalar()
    if state is None:
        raise NotFound("lesson", lesson_id)
    if state == LessonState.UNDONE:
        # Taken back while the night ran: what the night found out about it no longer matters.
        return
    values = {"state": str(event.state), "reason": event.reason, "night_id": event.night_id, "adapter": event.adapter}
    db.execute(sa.insert(t.lesson_events).values(lesson_id=lesson_id, at=event.at, **values))
    db.execute(sa.update(t.lessons).where(t.lessons.c.id == lesson_id).values(**values))


def _night_runs(db: sa.Connection) -> bool:
    running = sa.select(t.nights.c.seq).where(t.nights.c.status == NightStatus.RUNNING).limit(1)
    return db.execute(running).first() is not None


def _lease(db: sa.Connection) -> Lease | None:
    row = db.execute(sa.select(t.leases).where(t.leases.c.name == NIGHT)).mappings().first()
    return None if row is None else Lease(**{k: v for k, v in row.items() if k != "name"})


def _refuse_if_running(db: sa.Connection, at: datetime) -> None:
    lease = _lease(db)
    if lease is not None and lease.expires_at > at:
        raise AlreadyRunning(lease.holder, lease.night_id, lease.renewed_at)


def _reap(db: sa.Connection, at: datetime) -> list[str]:
    lease = _lease(db)
    living = lease.night_id if lease is not None and lease.expires_at > at else None
    dead = t.nights.c.status == NightStatus.RUNNING
    if living is not None:
        dead = dead & (t.nights.c.id != living)
    rows = list(db.execute(sa.select(t.nights.c.id, t.nights.c.stage).where(dead)))
    for night_id, stage in rows:
        why = f"it was cut off in stage '{stage}'; the next night goes on from there"
        db.execute(
            sa.update(t.nights)
            .where(t.nights.c.id == night_id)
            .values(status=NightStatus.FAILED, reasons=[why], ended_at=at, resumable=True)
        )
    return [night_id for night_id, _ in rows]


def _add_adapter(db: sa.Connection, adapter: Adapter) -> None:
    values = asdict(adapter) | {"exam": dict(adapter.exam)}
    active = adapter.state == AdapterState.ACTIVE
    if active:
        values["state"] = AdapterState.CANDIDATE
    db.execute(sa.insert(t.adapters).values(**values))
    if active:
        _flip(db, adapter.version, adapter.reason)


def _flip(db: sa.Connection, version: str, reason: str) -> None:
    db.execute(
        sa.update(t.adapters).where(t.adapters.c.state == AdapterState.ACTIVE).values(state=str(AdapterState.RETIRED))
    )
    if version != BASE:
        db.execute(
            sa.update(t.adapters)
            .where(t.adapters.c.version == version)
            .values(state=str(AdapterState.ACTIVE), reason=reason)
        )


# ---------------------------------------------------------------------- rows to nouns


def _exchange(row: sa.RowMapping) -> Exchange:
    return Exchange(**{k: v for k, v in row.items() if k != "seq"})


def _rating(row: sa.RowMapping) -> Rating:
    return Rating(**{k: v for k, v in row.items() if k != "seq"})


def _lesson(row: sa.RowMapping, events: Sequence[LessonEvent]) -> Lesson:
    values = {k: v for k, v in row.items() if k != "seq"}
    return Lesson(**values | {"state": LessonState(row["state"]), "events": tuple(events)})


def _night(row: sa.RowMapping) -> Night:
    return Night(**{k: v for k, v in row.items() if k != "seq"} | {"status": NightStatus(row["status"])})


def _adapter(row: sa.RowMapping) -> Adapter:
    return Adapter(**{k: v for k, v in row.items() if k != "seq"} | {"state": AdapterState(row["state"])})


# ---------------------------------------------------------------------- the database


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _why_read_only(path: Path, error: BaseException) -> str:
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        return f"the folder {path.parent} can't be written"
    return f"{path}: {_why(error)}"


def _uri(path: Path, options: str) -> str:
    return f"{path.absolute().as_uri()}?{options}"


def _sqlite(uri: str, *, wal: bool = True, connections: int = 15) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=20, check_same_thread=False, isolation_level=None),
        poolclass=sa.pool.QueuePool,
        pool_size=min(5, connections),
        max_overflow=max(0, connections - 5),
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
            # FULL: an acknowledged rating outlives a power cut, not only a killed process.
            connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("nightschool_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _in_memory() -> sa.Engine:
    # One connection: it is the database, and threads take turns with it.
    engine = _sqlite("file::memory:", wal=False, connections=1)
    t.metadata.create_all(engine)
    return engine


@contextmanager
def _opened(uri: str, *, wal: bool = True) -> Iterator[sa.Engine]:
    engine = _sqlite(uri, wal=wal)
    try:
        yield engine
    finally:
        engine.dispose()


def _alembic(engine: sa.Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["engine"] = engine.execution_options(nightschool_write=True)
    return config


def _check(engine: sa.Engine, path: Path) -> tuple[str | None, str]:
    """(revision of the database, newest revision known here). Raises: LedgerNewer, LedgerUnreadable."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    known = {script.revision for script in scripts.walk_revisions()}
    head = str(scripts.get_current_head())
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        tables = sa.inspect(connection).get_table_names() if current is None else []
    if tables:
        raise LedgerUnreadable(path, "it is another program's database")
    if current is not None and current not in known:
        raise LedgerNewer(path, current, head)
    return current, head


def _backup(path: Path, head: str) -> Path:
    return path.with_name(f"{path.name}.before-{head}.bak")


def _migrate(engine: sa.Engine, path: Path) -> None:
    current, head = _check(engine, path)
    if current == head:
        return
    if current is not None:
        # SQLite's own backup: a whole copy even while another process writes.
        try:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(_backup(path, head))) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            raise OSError(f"no backup could be made before its upgrade: {error}") from error
    command.upgrade(_alembic(engine), "head")


def _why(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    text = getattr(original, "strerror", None) or str(original)
    return text.splitlines()[0] if text else type(original).__name__
