"""Exchanges and their conversations. What a rating is, it does not know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from memory import tables as t
from memory.errors import NotFound
from memory.folding import joined
from memory.records import Exchange, Only, Spoken

CHUNK = 500
"""Ids in one query; a database takes only so many."""


def add(db: sa.Connection, exchange: Exchange, *, remember: bool = True, train: bool = True) -> int:
    """Store an exchange, and its conversation when it opens one, with what that may be used for; returns its `seq`.

    Raises: NotFound: its parent.
    """
    parent = sa.select(t.exchanges.c.seq).where(t.exchanges.c.id == exchange.parent_id)
    if exchange.parent_id is not None and db.execute(parent).first() is None:
        raise NotFound("exchange", exchange.parent_id)
    row = asdict(exchange)
    row["history"], row["prompt"] = list(exchange.history), list(exchange.prompt)
    row["recollections"] = [dict(r) for r in exchange.recollections]
    db.execute(
        upsert(t.conversations)
        .values(
            id=exchange.conversation_id,
            user=exchange.user,
            created_at=exchange.created_at,
            remember=remember,
            train=train,
        )
        .on_conflict_do_nothing()
    )
    result = db.execute(sa.insert(t.exchanges).values(**row))
    given = {str(r.get("document_id") or r.get("exchange_id") or "") for r in exchange.recollections} - {""}
    if given:
        db.execute(sa.insert(t.given), [{"recalled": one, "exchange_id": exchange.id} for one in sorted(given)])
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def add_many(db: sa.Connection, exchanges: Sequence[Exchange]) -> None:
    """Store exchanges that follow nothing and were given nothing, in a few statements."""
    opened = {
        x.conversation_id: {"id": x.conversation_id, "user": x.user, "created_at": x.created_at} for x in exchanges
    }
    db.execute(upsert(t.conversations).on_conflict_do_nothing(), list(opened.values()))
    columns = [column.name for column in t.exchanges.c if column.name != "seq"]
    db.execute(sa.insert(t.exchanges), [{name: getattr(x, name) for name in columns} for x in exchanges])


def get(db: sa.Connection, exchange_id: str) -> Exchange:
    """Raises: NotFound."""
    row = db.execute(sa.select(t.exchanges).where(t.exchanges.c.id == exchange_id)).mappings().first()
    if row is None:
        raise NotFound("exchange", exchange_id)
    return _exchange(row)


def conversations(db: sa.Connection, exchange_ids: Sequence[str]) -> dict[str, str]:
    """Id → its conversation's, for those that there are."""
    e, found = t.exchanges.c, dict[str, str]()
    for first in range(0, len(exchange_ids), CHUNK):
        some = e.id.in_(exchange_ids[first : first + CHUNK])
        found |= {row[0]: row[1] for row in db.execute(sa.select(e.id, e.conversation_id).where(some))}
    return found


def thread(db: sa.Connection, exchange_id: str | None) -> list[Exchange]:
    """The exchange and all that it follows, oldest first. Raises: NotFound."""
    chain: list[Exchange] = []
    while exchange_id is not None:
        chain.append(get(db, exchange_id))
        exchange_id = chain[-1].parent_id
    return chain[::-1]


def of_conversation(db: sa.Connection, conversation_id: str) -> list[Exchange]:
    """All of them, in the order of writing."""
    query = sa.select(t.exchanges).where(t.exchanges.c.conversation_id == conversation_id).order_by(t.exchanges.c.seq)
    return [_exchange(row) for row in db.execute(query).mappings()]


def latest_conversation(db: sa.Connection, user: str) -> str | None:
    """The id of the conversation that `user`'s newest exchange is in."""
    query = sa.select(t.exchanges.c.conversation_id).where(t.exchanges.c.user == user)
    return db.execute(query.order_by(t.exchanges.c.seq.desc()).limit(1)).scalar()


def questions_after(db: sa.Connection, seq: int, *, limit: int) -> list[tuple[int, str]]:
    """(seq, question), in the order of writing."""
    query = sa.select(t.exchanges.c.seq, t.exchanges.c.question).where(t.exchanges.c.seq > seq)
    return [(s, q) for s, q in db.execute(query.order_by(t.exchanges.c.seq).limit(limit))]


def last_seq(db: sa.Connection) -> int:
    """The largest `seq`; 0 when there is none."""
    return db.execute(sa.select(sa.func.max(t.exchanges.c.seq))).scalar() or 0


def count(db: sa.Connection) -> int:
    """How many there are."""
    return db.execute(sa.select(sa.func.count()).select_from(t.exchanges)).scalar_one()


def by_seq(
    db: sa.Connection, seqs: Sequence[int], *, user: str | None, remembered_only: bool = False
) -> dict[int, Exchange]:
    """`seq` → exchange, for those that exist and are `user`'s (None: anybody's); with `remembered_only`, of
    conversations that may be recalled.
    """
    query = sa.select(t.exchanges).where(t.exchanges.c.seq.in_(list(seqs)))
    if remembered_only:
        hidden = sa.select(t.conversations.c.id).where(t.conversations.c.remember.is_(sa.false()))
        query = query.where(t.exchanges.c.conversation_id.not_in(hidden))
    if user is not None:
        query = query.where(t.exchanges.c.user == user)
    return {row["seq"]: _exchange(row) for row in db.execute(query).mappings()}


def spoken(db: sa.Connection, exchange_ids: Sequence[str]) -> Iterator[Spoken]:
    """(id, prompt, answer, signature) of those that exist."""
    columns = t.exchanges.c.id, t.exchanges.c.prompt, t.exchanges.c.answer, t.exchanges.c.signature
    for first in range(0, len(exchange_ids), CHUNK):
        query = sa.select(*columns).where(t.exchanges.c.id.in_(exchange_ids[first : first + CHUNK]))
        for row in db.execute(query):
            yield Spoken(*row)


def set_use(db: sa.Connection, conversation_id: str, *, remember: bool, train: bool) -> None:
    """Raises: NotFound."""
    use(db, conversation_id)
    c = t.conversations
    db.execute(sa.update(c).where(c.c.id == conversation_id).values(remember=remember, train=train))


def use(db: sa.Connection, conversation_id: str) -> tuple[bool, bool]:
    """(remember, train). Raises: NotFound."""
    c = t.conversations.c
    row = db.execute(sa.select(c.remember, c.train).where(c.id == conversation_id)).first()
    if row is None:
        raise NotFound("conversation", conversation_id)
    return bool(row[0]), bool(row[1])


def not_to_be_trained(db: sa.Connection) -> set[str]:
    """Ids of the exchanges of conversations that no night may train on."""
    e, c = t.exchanges.c, t.conversations.c
    joined = t.exchanges.join(t.conversations, c.id == e.conversation_id)
    return set(db.scalars(sa.select(e.id).select_from(joined).where(c.train.is_(sa.false()))))


def given(db: sa.Connection, exchange_id: str, *, limit: int) -> list[Exchange]:
    """The newest ones that were answered with `exchange_id` in the prompt."""
    e, g = t.exchanges.c, t.given.c
    query = sa.select(t.exchanges).join(t.given, g.exchange_id == e.id).where(g.recalled == exchange_id)
    return [_exchange(row) for row in db.execute(query.order_by(e.seq.desc()).limit(limit)).mappings()]


def outdated(db: sa.Connection, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that were answered with something that was forgotten since, or a document that was replaced."""
    e, g, d = t.exchanges.c, t.given.c, t.documents.c
    query = (
        sa.select(g.exchange_id)
        .join(t.exchanges, e.id == g.exchange_id)
        .join(t.documents, d.id == g.recalled, isouter=True)
        .where(g.exchange_id.in_(list(ids)), sa.or_(g.recalled == t.GONE, d.created_at > e.created_at))
    )
    return set(db.scalars(query))


def newest(
    db: sa.Connection,
    user: str | None,
    *,
    limit: int,
    skip: int = 0,
    only: Only | None = None,
    words: Sequence[str] = (),
) -> list[Exchange]:
    """The newest ones of `user`, or of everybody for None, but for the first `skip` of them; with `words` those alone
    that hold all of them, the correction included.
    """
    e, r = t.exchanges.c, t.ratings.c
    query = sa.select(t.exchanges).order_by(e.seq.desc()).limit(limit).offset(skip)
    if user is not None:
        query = query.where(e.user == user)
    hidden = e.conversation_id.in_(sa.select(t.conversations.c.id).where(sa.text("NOT remember")))
    if only is not None:
        query = query.where(hidden if only == "hidden" else ~hidden)
    last = sa.select(sa.func.max(r.seq)).where(r.exchange_id == e.id).correlate(t.exchanges).scalar_subquery()
    holds = sa.and_(r.seq == last, r.value != 0, sa.func.trim(sa.func.coalesce(r.correction, "")) != "")
    if only == "corrected" or words:
        query = query.join(t.ratings, sa.and_(r.exchange_id == e.id, holds), isouter=only != "corrected")
    if words:
        query = query.where(sa.func.holds(joined(list(words)), e.question, e.answer, r.correction))
    return [_exchange(row) for row in db.execute(query).mappings()]


def newest_without(db: sa.Connection, rated: sa.Select[str], *, limit: int) -> list[Exchange]:
    """The newest ones whose id is not among those that `rated` selects."""
    query = sa.select(t.exchanges).where(t.exchanges.c.id.not_in(rated))
    query = query.order_by(t.exchanges.c.seq.desc()).limit(limit)
    return [_exchange(row) for row in db.execute(query).mappings()]


def _exchange(row: sa.RowMapping) -> Exchange:
    return Exchange(**{k: v for k, v in row.items() if k != "seq"})
