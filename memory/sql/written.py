"""What an index must still take in: texts of exchanges, of ratings that change an answer, and of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from memory import tables as t
from memory.places import Part, place, seq_of
from memory.records import Landmark, Landmarks, Marks

Texts = list[tuple[int, str]]
"""(place, text), to be embedded; a place that an index holds already is replaced."""


def last(db: sa.Connection) -> Marks:
    """How far the ledger reaches, what was forgotten since included."""
    rows = db.execute(sa.text("SELECT name, seq FROM sqlite_sequence"))
    given = {row[0]: row[1] for row in rows}
    return Marks(*(int(given.get(table.name, 0)) for table in (t.exchanges, t.ratings, t.passages)))


def landmarks(db: sa.Connection, marks: Marks) -> Landmarks:
    """The last rows up to `marks`, of those that are there."""
    rows = zip(_IDENTITIES, (marks.exchanges, marks.ratings, marks.passages), strict=True)
    exchange, rating, passage = (_landmark(db, identity, seq) for identity, seq in rows)
    return exchange, rating, passage


def contradicts(db: sa.Connection, known: Landmarks) -> bool:
    """Whether the ledger has another row in the place of one of these. One that was forgotten says nothing."""
    for identity, landmark in zip(_IDENTITIES, known, strict=True):
        there = _landmark(db, identity, landmark.seq)
        if there.seq == landmark.seq and there != landmark:
            return True
    return False


def _landmark(db: sa.Connection, identity: tuple[Any, ...], seq: int) -> Landmark:
    number = identity[0]
    row = db.execute(sa.select(*identity).where(number <= seq).order_by(number.desc()).limit(1)).first()
    if row is None:
        return Landmark(0, 0)
    told = "\n".join(map(str, row[1:])).encode()
    return Landmark(row[0], int.from_bytes(blake2b(told, digest_size=8).digest()))


_IDENTITIES: tuple[tuple[Any, ...], ...] = (
    (t.exchanges.c.seq, t.exchanges.c.id),
    (t.ratings.c.seq, t.ratings.c.id),
    # A document that is replaced keeps its id.
    (t.passages.c.seq, t.passages.c.document_id, t.passages.c.question, t.passages.c.text),
)
"""Of each table `seq`, and what tells one row from all others."""


def after(db: sa.Connection, marks: Marks, *, limit: int) -> tuple[Texts, Marks]:
    """Texts written after `marks`, of at most `limit` rows of one table, and the marks with which they are taken in."""
    if marks == Marks():
        # All that was rated is read below with what holds now.
        marks = replace(marks, ratings=last(db).ratings)
    e = t.exchanges.c
    new = list(db.execute(_exchanges().where(e.seq > marks.exchanges).order_by(e.seq).limit(limit)))
    if new:
        texts = [(place(row[0], Part.QUESTION), row[1]) for row in new] + [_round(*row) for row in new]
        return texts, replace(marks, exchanges=new[-1][0])
    r = t.ratings.c
    rated = list(db.execute(sa.select(r.seq, r.exchange_id).where(r.seq > marks.ratings).order_by(r.seq).limit(limit)))
    if rated:
        changed = db.execute(_exchanges().where(e.id.in_([exchange_id for _, exchange_id in rated])))
        texts = [_round(*row) for row in changed]
        return texts, replace(marks, ratings=rated[-1][0])
    p = t.passages.c
    pieces = list(
        db.execute(sa.select(p.seq, p.question, p.text).where(p.seq > marks.passages).order_by(p.seq).limit(limit))
    )
    if pieces:
        return [_piece(*row) for row in pieces], replace(marks, passages=pieces[-1][0])
    return [], last(db)


def at(db: sa.Connection, places: Sequence[int]) -> Texts:
    """The texts under these places, of those that there are."""
    e, p, found = t.exchanges.c, t.passages.c, Texts()
    seqs, pieces = _seqs(places)
    for row in db.execute(_exchanges().where(e.seq.in_(seqs))) if seqs else ():
        found += [(place(row[0], Part.QUESTION), row[1]), _round(*row)]
    if pieces:
        found += [_piece(*row) for row in db.execute(sa.select(p.seq, p.question, p.text).where(p.seq.in_(pieces)))]
    return [(number, text) for number, text in found if number in set(places)]


def there(db: sa.Connection, places: Sequence[int]) -> set[int]:
    """Those of the places whose exchange or passage is still there."""
    seqs, pieces = _seqs(places)
    held = {("exchange", seq) for seq in db.scalars(sa.select(t.exchanges.c.seq).where(t.exchanges.c.seq.in_(seqs)))}
    held |= {("passage", seq) for seq in db.scalars(sa.select(t.passages.c.seq).where(t.passages.c.seq.in_(pieces)))}
    return {number for number in places if (_kind(seq_of(number)[1]), seq_of(number)[0]) in held}


def by_people(db: sa.Connection, marks: Marks) -> tuple[Marks, list[int], list[int]]:
    """`seq`s of exchanges that were corrected, and of passages, written after `marks`; and how far that reaches."""
    e, r, p, reach = t.exchanges.c, t.ratings.c, t.passages.c, last(db)
    rated = sa.select(e.seq).join(t.ratings, r.exchange_id == e.id).where(r.seq > marks.ratings, r.correction != "")
    pieces = sa.select(p.seq).where(p.seq > marks.passages)
    return reach, list(db.scalars(rated)), list(db.scalars(pieces))


def of_user(db: sa.Connection, user: str, *, most: int) -> list[int] | None:
    """All places of a user's exchanges and documents; None where there are more than `most` of either."""
    c, d, e, p = t.conversations.c, t.documents.c, t.exchanges.c, t.passages.c
    said = sa.select(e.seq).join(t.conversations, c.id == e.conversation_id).where(c.user == user).limit(most + 1)
    kept = sa.select(p.seq).join(t.documents, d.id == p.document_id).where(d.user == user).limit(most + 1)
    exchanges, passages = list(db.scalars(said)), list(db.scalars(kept))
    if max(len(exchanges), len(passages)) > most:
        return None
    places = [place(seq, part) for seq in exchanges for part in (Part.QUESTION, Part.ROUND)]
    return places + [place(seq, Part.PASSAGE) for seq in passages]


def _kind(part: Part) -> str:
    return "passage" if part is Part.PASSAGE else "exchange"


def _seqs(places: Sequence[int]) -> tuple[list[int], list[int]]:
    """`seq`s of the exchanges, and of the passages, that these places are of."""
    both = [seq_of(number) for number in places]
    exchanges = sorted({seq for seq, part in both if part is not Part.PASSAGE})
    return exchanges, sorted({seq for seq, part in both if part is Part.PASSAGE})


def _round(seq: int, question: str, answer: str) -> tuple[int, str]:
    return place(seq, Part.ROUND), f"{question}\n{answer}"


def _piece(seq: int, question: str, text: str) -> tuple[int, str]:
    return place(seq, Part.PASSAGE), f"{question}\n{text}".strip()


def _exchanges() -> sa.Select[int, str, str]:
    """(seq, question, answer that holds): a correction in the place of what it corrects."""
    e, r = t.exchanges.c, t.ratings.c
    newest = sa.select(sa.func.max(r.seq)).where(r.exchange_id == e.id).correlate(t.exchanges).scalar_subquery()
    corrected = sa.and_(r.value != 0, sa.func.trim(sa.func.coalesce(r.correction, "")) != "")
    answer = sa.case((corrected, r.correction), else_=e.answer)
    joined = t.exchanges.outerjoin(t.ratings, r.seq == newest)
    return sa.select(e.seq, e.question, answer).select_from(joined)
