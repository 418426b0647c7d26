"""Deleting what somebody wants forgotten, and every other place in which the ledger repeats it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.errors import NotFound
from memory.records import Forgotten, Message
from memory.sql import documents, exchanges, lexicon
from memory.sql.exchanges import CHUNK

Resign = Callable[[Sequence[Message], str], str]
"""(prompt, answer) → their signature."""


def chosen(
    db: sa.Connection, *, exchange: str | None, conversation: str | None, user: str | None, everything: bool
) -> list[str]:
    """Ids of the exchanges that one of these names, in the order of writing. Raises: NotFound."""
    e = t.exchanges.c
    query = sa.select(e.id).order_by(e.seq)
    if not everything:
        for kind, column, name in (
            ("exchange", e.id, exchange),
            ("conversation", e.conversation_id, conversation),
            ("user", e.user, user),
        ):
            if name is not None:
                query = query.where(column == name)
                if db.execute(query.limit(1)).first() is None and kind != "user":
                    raise NotFound(kind, name)
    return list(db.scalars(query))


def about(db: sa.Connection, ids: Sequence[str], *, document_ids: Sequence[str] = ()) -> Forgotten:
    """What will be gone with these exchanges and documents: lessons, places in the index, and all their texts."""
    e, lesson, r = t.exchanges.c, t.lessons.c, t.ratings.c
    seqs, passages, lessons, texts = list[int](), list[int](), list[str](), set[str]()
    for some in _chunks(ids):
        for seq, *said in db.execute(sa.select(e.seq, e.question, e.answer).where(e.id.in_(some))).all():
            seqs.append(seq)
            texts.update(said)
        for rated in db.execute(sa.select(r.comment, r.correction).where(r.exchange_id.in_(some))).all():
            texts.update(text or "" for text in rated)
        lessons += db.scalars(sa.select(lesson.id).where(lesson.exchange_id.in_(some)))
    for document_id in document_ids:
        query = sa.select(t.passages.c.seq, t.passages.c.text).where(t.passages.c.document_id == document_id)
        for seq, text in db.execute(query).all():
            passages.append(seq)
            texts.add(text)
    return Forgotten(tuple(ids), tuple(lessons), tuple(seqs), tuple(passages), frozenset(texts - {""}))


def forget(db: sa.Connection, gone: Forgotten, resign: Resign, *, document_ids: Sequence[str] = ()) -> None:
    """Delete them, and take them out of the prompts and histories of what stays, which is signed anew."""
    _cut_out(db, gone, resign)
    for some in _chunks(gone.lessons):
        db.execute(sa.delete(t.lesson_events).where(t.lesson_events.c.lesson_id.in_(some)))
        db.execute(sa.delete(t.lessons).where(t.lessons.c.id.in_(some)))
    for some in _chunks(gone.exchanges):
        db.execute(sa.delete(t.ratings).where(t.ratings.c.exchange_id.in_(some)))
    # What follows a forgotten exchange opens its branch now. Newest first: a child goes before its parent.
    for some in _chunks(gone.exchanges):
        lexicon.forget_before(db, some)
        db.execute(sa.update(t.exchanges).where(t.exchanges.c.parent_id.in_(some)).values(parent_id=None))
    for some in _chunks(gone.exchanges):
        # A title may say what went: the first words of what stays are one, too.
        touched = sa.select(t.exchanges.c.conversation_id).where(t.exchanges.c.id.in_(some))
        db.execute(sa.update(t.conversations).where(t.conversations.c.id.in_(touched)).values(title=None))
        db.execute(sa.delete(t.exchanges).where(t.exchanges.c.id.in_(some)))
    empty = t.conversations.c.id.not_in(sa.select(t.exchanges.c.conversation_id))
    db.execute(sa.delete(t.conversations).where(empty))
    for document_id in document_ids:
        documents.remove(db, document_id)
    lexicon.squeeze(db)


def _cut_out(db: sa.Connection, gone: Forgotten, resign: Resign) -> None:
    """Out of exchanges that were answered with it, be it as dialogue or as a recollection, and of their lessons."""
    said = _said(db, gone.exchanges)
    forgotten = frozenset(gone.exchanges)
    for one in _touched(db, gone):
        exchange = exchanges.get(db, one)
        history = _without(exchange.history, said)
        recollections = [r for r in exchange.recollections if r.get("exchange_id") not in forgotten]
        if len(history) == len(exchange.history) and len(recollections) == len(exchange.recollections):
            continue
        system: list[Message] = [m for m in exchange.prompt[:1] if m["role"] == "system"]
        prompt: list[Message] = [*system, *history, {"role": "user", "content": exchange.question}]
        values = {"history": history, "prompt": prompt, "recollections": recollections}
        changed = sa.update(t.exchanges).where(t.exchanges.c.id == one)
        db.execute(changed.values(**values, signature=resign(prompt, exchange.answer)))
        db.execute(sa.update(t.lessons).where(t.lessons.c.exchange_id == one).values(history=history))


def _touched(db: sa.Connection, gone: Forgotten) -> list[str]:
    """Ids of the exchanges that stay, and may hold something of what goes."""
    e, found = t.exchanges.c, set[str]()
    for some in _chunks(gone.exchanges):
        conversations = sa.select(e.conversation_id).where(e.id.in_(some))
        found |= set(db.scalars(sa.select(e.id).where(e.conversation_id.in_(conversations))))
        used = sa.func.json_each(e.recollections).table_valued("value")
        recalled = sa.func.json_extract(used.c.value, "$.exchange_id")
        found |= set(
            db.scalars(sa.select(e.id).select_from(t.exchanges.join(used, sa.true())).where(recalled.in_(some)))
        )
    return sorted(found - set(gone.exchanges))


def _said(db: sa.Connection, ids: Sequence[str]) -> frozenset[tuple[str, str]]:
    e, found = t.exchanges.c, set[tuple[str, str]]()
    for some in _chunks(ids):
        rows = db.execute(sa.select(e.question, e.answer).where(e.id.in_(some)))
        found |= {(row[0], row[1]) for row in rows}
    return frozenset(found)


def _without(history: Sequence[Message], said: frozenset[tuple[str, str]]) -> list[Message]:
    """The dialogue without those questions and answers."""
    kept: list[Message] = []
    at = 0
    while at < len(history):
        two = [m["content"] for m in history[at : at + 2]]
        if len(two) == 2 and (two[0], two[1]) in said:
            at += 2
        else:
            kept.append(history[at])
            at += 1
    return kept


def _chunks(ids: Sequence[str]) -> Iterable[list[Any]]:
    for first in range(0, len(ids), CHUNK):
        yield list(ids[first : first + CHUNK])
