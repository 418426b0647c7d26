"""How nights found the version that served. What is told of it, only the night knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from memory import tables as t


def add(db: sa.Connection, night_id: str, told: Mapping[str, Any]) -> None:
    """What one night has to tell."""
    db.execute(sa.insert(t.drifts).values(night_id=night_id, told=dict(told)))


def newest(db: sa.Connection) -> dict[str, Any] | None:
    """What the newest night told that had something to tell."""
    query = sa.select(t.drifts.c.told).join(t.nights, t.nights.c.id == t.drifts.c.night_id)
    told = db.execute(query.order_by(t.nights.c.seq.desc()).limit(1)).scalar()
    return None if told is None else dict(told)
