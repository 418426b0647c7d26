"""Nights, and the lease that the one that runs holds. It knows neither lessons nor versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import AlreadyRunning, BadInput, LeaseLost, NotFound
from memory.records import Lease, Night, NightStatus

NIGHT = "night"
"""The name of the lease that a night holds."""


def request(db: sa.Connection, night: Night) -> Night:
    """Queue `night`, or the one that can go on or waits already. Raises: AlreadyRunning."""
    reap(db, night.created_at)
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
        _update(db, row["id"], status=NightStatus.QUEUED, ended_at=None, reasons=[])
    return get(db, row["id"])


def begin(
    db: sa.Connection,
    night_id: str,
    *,
    holder: str,
    at: datetime,
    ttl: timedelta,
    seed: int | None,
    settings: Mapping[str, Any] | None,
) -> Night:
    """Take the lease and mark the night as running. Raises: AlreadyRunning, NotFound, BadInput."""
    reap(db, at)
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
    _update(
        db,
        night_id,
        status=NightStatus.RUNNING,
        started_at=sa.func.coalesce(t.nights.c.started_at, sa.bindparam("now", at, type_=t.Time)),
        ended_at=None,
        resumable=False,
        reasons=[],
        **({} if seed is None else {"seed": seed}),
        **({} if settings is None else {"settings": dict(settings)}),
    )
    return get(db, night_id)


def progressed(db: sa.Connection, night_id: str, *, stage: str, progress: float, detail: str) -> None:
    """Write how far a night is."""
    _update(db, night_id, stage=stage, progress=round(progress, 4), detail=detail)


def name_adapter(db: sa.Connection, night_id: str) -> str:
    """The version that is the night's already, or else the next free one."""
    taken = db.execute(sa.select(t.nights.c.adapter).where(t.nights.c.id == night_id)).scalar()
    if taken:
        return str(taken)
    names = db.execute(sa.select(t.nights.c.adapter).where(t.nights.c.adapter.is_not(None))).scalars()
    version = f"v{max((int(name[1:]) for name in names), default=0) + 1}"
    _update(db, night_id, adapter=version)
    return version


def end(
    db: sa.Connection,
    night_id: str,
    *,
    status: NightStatus,
    reasons: Sequence[str],
    report: str | None,
    at: datetime,
    resumable: bool,
) -> Night:
    """Write a night's verdict, and give its lease back. Whether it held one, `check_lease` says."""
    _update(
        db,
        night_id,
        status=status,
        reasons=list(reasons),
        report=report,
        ended_at=at,
        resumable=resumable,
        **({} if resumable else {"progress": 1.0, "detail": ""}),
    )
    end_lease(db, night_id)
    return get(db, night_id)


def cancel(db: sa.Connection, night_id: str, *, why: str, at: datetime) -> None:
    """End a night that waits or runs, for good. Raises: NotFound; BadInput when it has ended already."""
    night = get(db, night_id)
    if night.status.ended:
        raise BadInput(f"the night has ended already: {night.status.replace('_', ' ')}")
    end(db, night_id, status=NightStatus.CANCELLED, reasons=[why], report=None, at=at, resumable=False)


def reap(db: sa.Connection, at: datetime) -> list[str]:
    """Mark nights that say they run, without a living lease, as cut off; returns their ids."""
    held = lease(db)
    living = held.night_id if held is not None and held.expires_at > at else None
    dead = t.nights.c.status == NightStatus.RUNNING
    if living is not None:
        dead = dead & (t.nights.c.id != living)
    rows = list(db.execute(sa.select(t.nights.c.id, t.nights.c.stage).where(dead)))
    for night_id, stage in rows:
        why = f"it was cut off in stage '{stage}'; the next night goes on from there"
        _update(db, night_id, status=NightStatus.FAILED, reasons=[why], ended_at=at, resumable=True)
    return [night_id for night_id, _ in rows]


def get(db: sa.Connection, night_id: str) -> Night:
    """Raises: NotFound."""
    row = db.execute(sa.select(t.nights).where(t.nights.c.id == night_id)).mappings().first()
    if row is None:
        raise NotFound("night", night_id)
    return _night(row)


def newest(db: sa.Connection, *, limit: int) -> list[Night]:
    """The newest first."""
    rows = db.execute(sa.select(t.nights).order_by(t.nights.c.seq.desc()).limit(limit)).mappings()
    return [_night(row) for row in rows]


def one_runs(db: sa.Connection) -> bool:
    """Whether any night says that it runs."""
    running = sa.select(t.nights.c.seq).where(t.nights.c.status == NightStatus.RUNNING).limit(1)
    return db.execute(running).first() is not None


# ---------------------------------------------------------------------- the lease


def lease(db: sa.Connection) -> Lease | None:
    """The lease as it stands, expired or not."""
    row = db.execute(sa.select(t.leases).where(t.leases.c.name == NIGHT)).mappings().first()
    return None if row is None else Lease(**{k: v for k, v in row.items() if k != "name"})


def renew_lease(db: sa.Connection, holder: str, *, at: datetime, ttl: timedelta) -> bool:
    """Put off the lease's end, if it is `holder`'s."""
    changed = db.execute(
        sa.update(t.leases)
        .where(t.leases.c.name == NIGHT, t.leases.c.holder == holder)
        .values(renewed_at=at, expires_at=at + ttl)
    )
    return changed.rowcount == 1


def check_lease(db: sa.Connection, night_id: str, *, holder: str) -> None:
    """Raises: LeaseLost when nobody holds the lease; AlreadyRunning when another holder or night has it."""
    held = lease(db)
    if held is None:
        raise LeaseLost(night_id)
    if held.holder != holder or held.night_id != night_id:
        raise AlreadyRunning(held.holder, held.night_id, held.renewed_at)


def end_lease(db: sa.Connection, night_id: str) -> None:
    """Nobody holds it for this night any more."""
    db.execute(sa.delete(t.leases).where(t.leases.c.name == NIGHT, t.leases.c.night_id == night_id))


def _refuse_if_running(db: sa.Connection, at: datetime) -> None:
    held = lease(db)
    if held is not None and held.expires_at > at:
        raise AlreadyRunning(held.holder, held.night_id, held.renewed_at)


def _update(db: sa.Connection, night_id: str, **values: Any) -> None:
    db.execute(sa.update(t.nights).where(t.nights.c.id == night_id).values(**values))


def _night(row: sa.RowMapping) -> Night:
    return Night(**{k: v for k, v in row.items() if k != "seq"} | {"status": NightStatus(row["status"])})
