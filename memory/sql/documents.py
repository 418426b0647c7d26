"""Documents and their passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import NotFound
from memory.places import Part, place
from memory.records import Document, Passage

REPLACED = "replaced"
"""Scope of a row of `forgettings` that nobody asked for: whoever works on texts need not begin anew for it."""


def add(db: sa.Connection, document: Document, passages: Sequence[Passage]) -> None:
    """Store a document; an older one of the same user and name is replaced, and what else holds its words (an index,
    the lexicon's corners, the log) is to be cleaned from the same moment on.
    """
    older = sa.select(t.documents.c.id).where(t.documents.c.user == document.user, t.documents.c.name == document.name)
    places = [place(seq, Part.PASSAGE) for (gone,) in list(db.execute(older)) for seq in remove(db, gone)]
    d = document
    if places:
        left = {"places": places, "log": True, "words": True}
        db.execute(sa.insert(t.forgettings).values(scope=REPLACED, user=d.user, **left))
    db.execute(
        sa.insert(t.documents).values(id=d.id, user=d.user, name=d.name, sha256=d.sha256, created_at=d.created_at)
    )
    rows = [{"document_id": d.id, "page": p.page, "question": p.question, "text": p.text} for p in passages]
    if rows:
        db.execute(sa.insert(t.passages), rows)


def remove(db: sa.Connection, document_id: str) -> list[int]:
    """Delete a document with its passages; returns their `seq`s. Raises: NotFound."""
    get(db, document_id)
    mine = t.passages.c.document_id == document_id
    seqs = [seq for (seq,) in db.execute(sa.select(t.passages.c.seq).where(mine))]
    db.execute(sa.delete(t.passages).where(mine))
    db.execute(sa.delete(t.documents).where(t.documents.c.id == document_id))
    return seqs


def get(db: sa.Connection, document_id: str) -> Document:
    """Raises: NotFound."""
    row = db.execute(_documents().where(t.documents.c.id == document_id)).first()
    if row is None:
        raise NotFound("document", document_id)
    return Document(*row)


def every(db: sa.Connection, *, user: str | None) -> list[Document]:
    """`user`'s documents (None: everybody's), the newest first."""
    query = _documents() if user is None else _documents().where(t.documents.c.user == user)
    return [Document(*row) for row in db.execute(query.order_by(t.documents.c.seq.desc()))]


def by_seq(db: sa.Connection, seqs: Sequence[int], *, user: str | None) -> dict[int, tuple[Document, Passage]]:
    """`seq` of a passage → its document and itself, for those that exist and are `user`'s (None: anybody's)."""
    d, p = t.documents.c, t.passages.c
    query = sa.select(p.seq, d.id, d.user, d.name, d.sha256, d.created_at, p.text, p.page, p.question)
    query = query.select_from(t.passages.join(t.documents, d.id == p.document_id)).where(p.seq.in_(list(seqs)))
    if user is not None:
        query = query.where(d.user == user)
    return {seq: (Document(*row[:5]), Passage(*row[5:])) for seq, *row in db.execute(query)}


def newest_passages(db: sa.Connection, *, user: str | None, limit: int, skip: int) -> list[tuple[Document, Passage]]:
    """Pieces of `user`'s documents (None: anybody's), the newest document first, each in its own order."""
    d, p = t.documents.c, t.passages.c
    query = sa.select(d.id, d.user, d.name, d.sha256, d.created_at, p.text, p.page, p.question)
    query = query.select_from(t.passages.join(t.documents, d.id == p.document_id))
    if user is not None:
        query = query.where(d.user == user)
    query = query.order_by(d.seq.desc(), p.seq).limit(limit).offset(skip)
    return [(Document(*row[:5]), Passage(*row[5:])) for row in db.execute(query)]


def _documents() -> sa.Select[Any]:
    d = t.documents.c
    count = sa.select(sa.func.count()).where(t.passages.c.document_id == d.id).scalar_subquery()
    return sa.select(d.id, d.user, d.name, d.sha256, d.created_at, count)
