"""Versions, and which one serves."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from memory import tables as t
from memory.errors import BadInput, NotFound
from memory.records import BASE, Adapter, AdapterState

_ACTIVE = sa.select(t.adapters).where(t.adapters.c.state == AdapterState.ACTIVE)


def add(db: sa.Connection, adapter: Adapter) -> None:
    """Store a version; one that is active takes the place of the one that served."""
    values = asdict(adapter) | {"exam": dict(adapter.exam)}
    active = adapter.state == AdapterState.ACTIVE
    if active:
        values["state"] = AdapterState.CANDIDATE
    db.execute(sa.insert(t.adapters).values(**values))
    if active:
        flip(db, adapter.version, adapter.reason)


def flip(db: sa.Connection, version: str, reason: str) -> None:
    """Retire the version that serves, and let `version` serve (`base` for none)."""
    db.execute(
        sa.update(t.adapters).where(t.adapters.c.state == AdapterState.ACTIVE).values(state=str(AdapterState.RETIRED))
    )
    if version != BASE:
        db.execute(
            sa.update(t.adapters)
            .where(t.adapters.c.version == version)
            .values(state=str(AdapterState.ACTIVE), reason=reason)
        )


def withdraw(db: sa.Connection, version: str, reason: str) -> None:
    """Never to serve again. Raises: NotFound."""
    get(db, version)
    gone = sa.update(t.adapters).where(t.adapters.c.version == version)
    db.execute(gone.values(state=str(AdapterState.REJECTED), reason=reason))


def may_serve(db: sa.Connection, version: str) -> None:
    """Raises: NotFound; BadInput for a version that failed its exam."""
    adapter = get(db, version)
    if adapter.state is AdapterState.REJECTED:
        raise BadInput(f"{version} was rejected by its exam: {adapter.reason}")


def get(db: sa.Connection, version: str) -> Adapter:
    """Raises: NotFound."""
    row = db.execute(sa.select(t.adapters).where(t.adapters.c.version == version)).mappings().first()
    if row is None:
        raise NotFound("adapter", version)
    return _adapter(row)


def newest(db: sa.Connection) -> list[Adapter]:
    """All of them, the newest first."""
    rows = db.execute(sa.select(t.adapters).order_by(t.adapters.c.seq.desc())).mappings()
    return [_adapter(row) for row in rows]


def active(db: sa.Connection) -> Adapter | None:
    """The version that serves; None for the base."""
    row = db.execute(_ACTIVE).mappings().first()
    return None if row is None else _adapter(row)


def _adapter(row: sa.RowMapping) -> Adapter:
    return Adapter(**{k: v for k, v in row.items() if k != "seq"} | {"state": AdapterState(row["state"])})
