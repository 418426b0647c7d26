"""The log of what candidates of nights have shown. What an entry says, only who wrote it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from memory import tables as t


def append(db: sa.Connection, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add entries, in their order."""
    if entries:
        db.execute(sa.insert(t.study_log), [{"entry": dict(entry)} for entry in entries])


def entries(db: sa.Connection, *, first: int, limit: int | None) -> list[dict[str, Any]]:
    """Those from place `first` (0 is the oldest), in their order, at most `limit`."""
    query = sa.select(t.study_log.c.entry).order_by(t.study_log.c.seq).offset(first).limit(limit)
    return [dict(entry) for entry in db.execute(query).scalars()]
