"""Conversations as a whole: lists, search, titles, branches, removal. What a page is, it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import NotFound
from memory.folding import find, joined

TITLE_CHARS = 80
AROUND = 60
"""Characters of a find that are shown on either side of the word."""

e, c, r = t.exchanges.c, t.conversations.c, t.ratings.c


Row = tuple[str, str, datetime, int, str, str | None]
"""(id, title, last written at, exchanges, what was found, id of the exchange that holds it)."""


def shelf(db: sa.Connection, user: str, words: Sequence[str], limit: int) -> list[Row]:
    """The newest first."""
    last = sa.func.max(e.seq)
    query = sa.select(e.conversation_id, last, sa.func.min(e.seq), sa.func.count()).where(e.user == user)
    if words:
        query = query.where(e.conversation_id.in_(_with_words(user, words)))
    query = query.group_by(e.conversation_id).order_by(last.desc()).limit(limit)
    rows = [tuple(row) for row in db.execute(query)]
    firsts = _by_seq(db, [row[2] for row in rows], e.question)
    lasts = _by_seq(db, [row[1] for row in rows], e.created_at)
    titles = dict(db.execute(sa.select(c.id, c.title).where(c.id.in_([row[0] for row in rows]))).all())
    return [
        (found, titles[found] or shorten(firsts[first]), lasts[last], count, *_excerpt(db, found, words))
        for found, last, first, count in rows
    ]


def owner(db: sa.Connection, conversation_id: str) -> str:
    """Raises: NotFound."""
    found = db.execute(sa.select(c.user).where(c.id == conversation_id)).scalar()
    if found is None:
        raise NotFound("conversation", conversation_id)
    return str(found)


def check_owner(db: sa.Connection, conversation_id: str, user: str) -> None:
    """Raises: NotFound: somebody else's is as good as none."""
    if owner(db, conversation_id) != user:
        raise NotFound("conversation", conversation_id)


def title(db: sa.Connection, conversation_id: str) -> str:
    """The one that was given, or else the first words. Raises: NotFound."""
    owner(db, conversation_id)
    given = db.execute(sa.select(c.title).where(c.id == conversation_id)).scalar()
    first = sa.select(e.question).where(e.conversation_id == conversation_id).order_by(e.seq).limit(1)
    return str(given) if given else shorten(db.execute(first).scalar() or "")


def shorten(text: str) -> str:
    """The first words, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1].rstrip()}…"


def rename(db: sa.Connection, conversation_id: str, title: str) -> None:
    """An empty one is none."""
    db.execute(sa.update(t.conversations).where(c.id == conversation_id).values(title=title or None))


def suggest_title(db: sa.Connection, conversation_id: str, title: str) -> None:
    """One that has a title keeps it."""
    untitled = sa.update(t.conversations).where(c.id == conversation_id, c.title.is_(None))
    db.execute(untitled.values(title=title))


def newest(db: sa.Connection, user: str, conversation_id: str | None) -> str | None:
    """The id of the exchange that was written last."""
    query = sa.select(e.id).where(e.user == user)
    if conversation_id is not None:
        query = query.where(e.conversation_id == conversation_id)
    return db.execute(query.order_by(e.seq.desc()).limit(1)).scalar()


def branch(db: sa.Connection, exchange_id: str) -> list[dict[str, Any]]:
    """The exchange and all that it follows, oldest first."""
    columns = (e.id, e.parent_id, e.conversation_id, e.user, e.created_at, e.question, e.answer, e.adapter)
    chain = sa.select(e.id, e.parent_id, e.seq).where(e.id == exchange_id).cte("chain", recursive=True)
    before = t.exchanges.alias("before")
    chain = chain.union_all(
        sa.select(before.c.id, before.c.parent_id, before.c.seq).join(chain, before.c.id == chain.c.parent_id)
    )
    query = sa.select(*columns).join(chain, e.id == chain.c.id).order_by(e.seq)
    return [dict(row) for row in db.execute(query).mappings()]


def forks(db: sa.Connection, conversation_id: str) -> list[tuple[str, str | None]]:
    """(id, id of the parent), in the order of writing."""
    query = sa.select(e.id, e.parent_id).where(e.conversation_id == conversation_id).order_by(e.seq)
    return [(found, parent) for found, parent in db.execute(query)]


def _with_words(user: str, words: Sequence[str]) -> sa.CompoundSelect[Any]:
    """A query for the ids of `user`'s conversations in which an exchange with its correction, or the title, holds all
    the words.
    """
    said = sa.select(e.conversation_id).where(e.user == user, _holds(words, e.question, e.answer))
    corrected = sa.select(e.conversation_id).select_from(_corrected()).where(e.user == user, _in_corrected(words))
    named = sa.select(c.id).where(c.user == user, c.title.is_not(None), _holds(words, c.title))
    return said.union(corrected, named)


def _corrected() -> sa.FromClause:
    """Exchanges with the rating in force, where it brings a correction."""
    last = sa.select(sa.func.max(r.seq)).group_by(r.exchange_id)
    holds = sa.and_(r.value != 0, sa.func.trim(sa.func.coalesce(r.correction, "")) != "", r.seq.in_(last))
    return t.exchanges.join(t.ratings, sa.and_(r.exchange_id == e.id, holds))


def _in_corrected(words: Sequence[str]) -> sa.ColumnElement[bool]:
    return _holds(words, e.question, e.answer, r.correction)


def _holds(words: Sequence[str], *columns: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.func.holds(joined(list(words)), *columns, type_=sa.Boolean)


def _by_seq(db: sa.Connection, seqs: Sequence[int], column: sa.ColumnElement[Any]) -> dict[int, Any]:
    return dict(db.execute(sa.select(e.seq, column).where(e.seq.in_(seqs))).all())


def _excerpt(db: sa.Connection, conversation_id: str, words: Sequence[str]) -> tuple[str, str | None]:
    """What stands around the first of the words, where an exchange holds them, with the correction that it may need;
    and the exchange's id.
    """
    if not words:
        return "", None
    said = sa.select(e.id, e.question, e.answer, sa.literal("").label("correction"))
    said = said.where(e.conversation_id == conversation_id, _holds(words, e.question, e.answer))
    row = db.execute(said.order_by(e.seq.desc()).limit(1)).first()
    if row is None:
        corrected = sa.select(e.id, e.question, e.answer, r.correction).select_from(_corrected())
        corrected = corrected.where(e.conversation_id == conversation_id, _in_corrected(words))
        row = db.execute(corrected.order_by(e.seq.desc()).limit(1)).first()
    if row is None:
        return "", None
    text = " ".join(" — ".join(filter(None, (row.question, row.answer, row.correction))).split())
    begins, ends = find(text, words[0]) or (0, 0)
    begins, ends = max(begins - AROUND, 0), ends + AROUND
    return f"{'…' if begins else ''}{text[begins:ends]}{'…' if ends < len(text) else ''}", row.id
