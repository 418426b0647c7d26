"""Deleting what somebody wants forgotten, and every other place in which the ledger repeats it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from memory import tables as t
from memory.errors import NotFound
from memory.places import Part, place
from memory.records import Exchange, Forgotten, Message, Scope, Unfinished
from memory.sql import accounts, documents, exchanges, lexicon
from memory.sql.exchanges import CHUNK

Resign = Callable[[Sequence[Message], str], str]
"""(prompt, answer) → their signature."""
TELLING = 8
"""Characters from which a question in a dialogue is known by itself; a shorter one by its answer too."""
ALONE = 12
"""Characters from which what was said is known wherever it stands, unless somebody else was told the same."""
CUT = "\u2026"
"""Stands in a dialogue in the place of what is forgotten, where something else was said in the same message."""

# Each question asks these two: they are worded once.
_LAST = sa.select(sa.func.max(t.forgettings.c.seq)).where(t.forgettings.c.scope != documents.REPLACED)
_UNFINISHED = (
    sa.select(t.forgettings.c.seq, t.forgettings.c.places, t.forgettings.c.log, t.forgettings.c.words)
    .where(sa.or_(t.forgettings.c.log, t.forgettings.c.words, sa.func.json_array_length(t.forgettings.c.places) > 0))
    .order_by(t.forgettings.c.seq)
)


def user_called(db: sa.Connection, name: str) -> str:
    """Raises: NotFound."""
    account = accounts.named(db, name)
    if account is not None:
        return str(account["id"])
    known = (t.accounts.c.id, t.conversations.c.user, t.documents.c.user)
    if any(db.execute(sa.select(column).where(column == name).limit(1)).first() for column in known):
        return name
    raise NotFound("user", name)


def about(
    db: sa.Connection,
    *,
    exchange: str | None,
    conversation: str | None,
    user: str | None,
    everything: bool,
    document: str | None,
    answers: bool,
) -> Forgotten:
    """What will be gone with one of these: lessons, places in the index, and all texts; with `answers` also what was
    answered with it. Raises: NotFound.
    """
    e, d = t.exchanges.c, t.documents.c
    scopes: dict[Scope, tuple[str | None, sa.ColumnElement[bool]]] = {
        "exchange": (exchange, e.id == exchange),
        "conversation": (conversation, e.conversation_id == conversation),
        "user": (user, e.user == user),
        "everything": ("everything" if everything else None, sa.true()),
        "document": (document, sa.false()),
    }
    scope, which = next((name, clause) for name, (wanted, clause) in scopes.items() if wanted is not None)
    rows = db.execute(sa.select(e.id, e.user).where(which).order_by(e.seq)).all()
    of = {"user": d.user == user, "everything": sa.true(), "document": d.id == document}.get(scope, sa.false())
    kept = db.execute(sa.select(d.id, d.user).where(of)).all()
    if scope in ("exchange", "conversation", "document") and not (rows or kept):
        raise NotFound(scope, exchange or conversation or document or "")
    owner = user if scope == "user" else None if scope == "everything" else (rows or kept)[0][1]
    ids, documents = [row[0] for row in rows], tuple(row[0] for row in kept)
    if answers:
        ids += _answered_with(db, [*ids, *documents])
    return _with_texts(db, Forgotten(scope, owner, tuple(ids), documents=documents))


def _answered_with(db: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Exchanges that were given one of these, or follow it in its dialogue, and those that were given them, and so on:
    as the ledger knows it, and not by what a client's dialogue looks like.
    """
    e, given, known, new = t.exchanges.c, t.given.c, dict.fromkeys(ids), list(ids)
    while new:
        found: dict[str, None] = {}
        for some in _chunks(new):
            found |= dict.fromkeys(db.scalars(sa.select(given.exchange_id).where(given.recalled.in_(some))))
            found |= dict.fromkeys(db.scalars(sa.select(e.id).where(e.parent_id.in_(some))))
        new = [one for one in found if one not in known]
        known |= dict.fromkeys(new)
    return list(known)[len(dict.fromkeys(ids)) :]


def _with_texts(db: sa.Connection, gone: Forgotten) -> Forgotten:
    e, lesson, r = t.exchanges.c, t.lessons.c, t.ratings.c
    seqs, passages, lessons, texts = list[int](), list[int](), list[str](), set[str]()
    for some in _chunks(gone.exchanges):
        for seq, *said in db.execute(sa.select(e.seq, e.question, e.answer).where(e.id.in_(some))).all():
            seqs.append(seq)
            texts.update(said)
        for rated in db.execute(sa.select(r.comment, r.correction).where(r.exchange_id.in_(some))).all():
            texts.update(text or "" for text in rated)
        lessons += db.scalars(sa.select(lesson.id).where(lesson.exchange_id.in_(some)))
    for document_id in gone.documents:
        p = t.passages.c
        query = sa.select(p.seq, p.question, p.text).where(p.document_id == document_id)
        for seq, *written in db.execute(query).all():
            passages.append(seq)
            texts.update(written)
    return Forgotten(
        gone.scope,
        gone.user,
        gone.exchanges,
        tuple(lessons),
        gone.documents,
        tuple(seqs),
        tuple(passages),
        frozenset(texts - {""}),
        tuple(cut.exchange.id for cut in _cuts(db, gone)),
    )


def forget(db: sa.Connection, gone: Forgotten, resign: Resign) -> None:
    """Delete them, and take them out of the prompts and histories of what stays, which is signed anew."""
    for cut in list(_cuts(db, gone)):
        if cut.changed:
            _write_without(db, cut, resign)
    ids = (*gone.exchanges, *gone.documents)
    for some in _chunks(ids):
        # Who was answered with it stays known, without a word of what it was.
        told = sa.select(sa.literal(t.GONE), t.given.c.exchange_id).where(t.given.c.recalled.in_(some)).distinct()
        db.execute(sa.insert(t.given).prefix_with("OR IGNORE").from_select(["recalled", "exchange_id"], told))
        db.execute(sa.delete(t.given).where(t.given.c.recalled.in_(some)))
    for some in _chunks(ids):
        db.execute(sa.delete(t.given).where(t.given.c.exchange_id.in_(some)))
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
    empty = ~sa.exists().where(t.exchanges.c.conversation_id == t.conversations.c.id)
    db.execute(sa.delete(t.conversations).where(empty))
    # As they are now: a document may have been replaced since somebody looked.
    passages = [seq for document_id in gone.documents for seq in documents.remove(db, document_id)]
    places = [place(seq, part) for seq in gone.seqs for part in (Part.QUESTION, Part.ROUND)]
    places += [place(seq, Part.PASSAGE) for seq in passages]
    db.execute(sa.insert(t.forgettings).values(scope=gone.scope, user=gone.user, places=places, log=True, words=True))


# ---------------------------------------------------------------------- while others work


def last(db: sa.Connection) -> int:
    """The number of the newest; 0 where nothing was ever forgotten."""
    return int(db.execute(_LAST).scalar() or 0)


def gone_meanwhile(db: sa.Connection, exchange: Exchange, since: int) -> bool:
    """Whether something that an exchange was answered with was forgotten after number `since`: what it follows, what
    it recalled, or, where nobody can tell, anything of the same user's.
    """
    e, d, f = t.exchanges.c, t.documents.c, t.forgettings.c
    newer = sa.select(f.scope).where(f.seq > since, sa.or_(f.user.is_(None), f.user == exchange.user))
    scopes = set(db.scalars(newer)) - {documents.REPLACED}
    if not scopes:
        return False
    # Of a dialogue that a client brings along nobody knows which exchanges it repeats.
    if scopes & {"user", "everything"} or (exchange.history and scopes - {"document"}):
        return True
    used = {str(r["exchange_id"]) for r in exchange.recollections if r.get("exchange_id")}
    used |= {exchange.parent_id} if exchange.parent_id else set()
    quoted = {str(r["document_id"]) for r in exchange.recollections if r.get("document_id")}
    there = set(db.scalars(sa.select(e.id).where(e.id.in_(used))))
    there |= set(db.scalars(sa.select(d.id).where(d.id.in_(quoted))))
    return bool((used | quoted) - there)


def unfinished(db: sa.Connection) -> Unfinished:
    """What is still to be done. Rows on which nothing is left are few: they cost nothing to look at."""
    rows = db.execute(_UNFINISHED).all()
    places = tuple(found for row in rows for found in row.places)
    through = max((row.seq for row in rows), default=0)
    return Unfinished(places, through, any(row.words for row in rows), any(row.log for row in rows))


def removed_from_index(db: sa.Connection, through: int) -> None:
    """No place is left of what was forgotten up to that number."""
    f = t.forgettings.c
    db.execute(
        sa.update(t.forgettings).where(f.seq <= through, sa.func.json_array_length(f.places) > 0).values(places=[])
    )


def squeeze(db: sa.Connection, through: int) -> bool:
    """Take some of what is left of deleted words out of the lexicon; whether there is more to do. Once there is not, of
    what was forgotten up to that number nothing is left there.
    """
    more = lexicon.squeeze(db)
    if not more:
        db.execute(sa.update(t.forgettings).where(t.forgettings.c.seq <= through).values(words=False))
    return more


def log_is_empty(db: sa.Connection) -> None:
    """No older page is left."""
    db.execute(sa.update(t.forgettings).where(t.forgettings.c.log).values(log=False))


# ---------------------------------------------------------------------- what stays


class _Cut(NamedTuple):
    """An exchange that stays, with what is left of its history and recollections."""

    exchange: Exchange
    history: list[Message]
    recollections: list[Any]

    @property
    def changed(self) -> bool:
        """Whether anything could be taken out of it."""
        before = list(self.exchange.history), list(self.exchange.recollections)
        return (self.history, self.recollections) != before


def _cuts(db: sa.Connection, gone: Forgotten) -> Iterator[_Cut]:
    """Those exchanges that stay and were answered with some of it, be it as dialogue or as a recollection; also those
    in whose dialogue it may stand, and nobody can tell.
    """
    forgotten, d = frozenset((*gone.exchanges, *gone.documents)), t.documents.c
    names = tuple(db.scalars(sa.select(d.name).where(d.id.in_(gone.documents))))
    touched = _touched(db, gone)
    said = _said(db, gone.exchanges, touched)
    for one in touched:
        exchange = exchanges.get(db, one)
        # Of its own dialogues the ledger knows what they are made of: all else in them is of exchanges that stay.
        of_it = said if exchange.parent_id is None else said._replace(telling=(), doubtful=frozenset())
        history = _without(exchange.history, of_it)
        recollections = [r for r in exchange.recollections if not _is_of(r, forgotten, names)]
        cut = _Cut(exchange, history, recollections)
        if cut.changed or _may_hold(history, of_it):
            yield cut


def _is_of(recollection: Any, forgotten: frozenset[str], names: Sequence[str]) -> bool:
    """Whether it is of something forgotten. Earlier ones of a document bear its name alone, with a page."""
    if forgotten & {recollection.get("exchange_id"), recollection.get("document_id")}:
        return True
    source = None if recollection.get("document_id") else recollection.get("source")
    return source is not None and any(source == name or source.startswith(f"{name}, page ") for name in names)


def _write_without(db: sa.Connection, cut: _Cut, resign: Resign) -> None:
    exchange, history, recollections = cut
    # A client's own, at the head of its dialogue, took the place of the assistant's.
    brought = any(m["role"] == "system" for m in exchange.history[:1])
    system: list[Message] = [m for m in exchange.prompt[:1] if m["role"] == "system" and not brought]
    prompt: list[Message] = [*system, *history, {"role": "user", "content": exchange.question}]
    values = {"history": history, "prompt": prompt, "recollections": recollections}
    changed = sa.update(t.exchanges).where(t.exchanges.c.id == exchange.id)
    db.execute(changed.values(**values, signature=resign(prompt, exchange.answer)))
    db.execute(sa.update(t.lessons).where(t.lessons.c.exchange_id == exchange.id).values(history=history))


def _touched(db: sa.Connection, gone: Forgotten) -> list[str]:
    """Ids of the exchanges that stay, and may hold something of what goes."""
    e, g, found = t.exchanges.c, t.given.c, set[str]()
    for some in _chunks(gone.exchanges):
        conversations = sa.select(e.conversation_id).where(e.id.in_(some))
        found |= set(db.scalars(sa.select(e.id).where(e.conversation_id.in_(conversations))))
    for some in _chunks((*gone.exchanges, *gone.documents)):
        found |= set(db.scalars(sa.select(g.exchange_id).where(g.recalled.in_(some))))
    if gone.exchanges and gone.scope in ("exchange", "conversation"):
        # A client over HTTP brings its dialogue along, and no word of which exchanges that was.
        brought = sa.and_(e.user == gone.user, e.parent_id.is_(None), sa.cast(e.history, sa.String) != "[]")
        found |= set(db.scalars(sa.select(e.id).where(brought)))
    return sorted(found - set(gone.exchanges))


class _Said(NamedTuple):
    """What is to be forgotten, as a dialogue may hold it."""

    answers: Mapping[str, frozenset[str]]
    """Each question with its answers, those that corrected them among them: a client may have put one in its place."""
    telling: tuple[str, ...]
    """Texts that are known by themselves, the longest first."""
    doubtful: frozenset[str]
    """Texts that may be of something else."""


def _said(db: sa.Connection, ids: Sequence[str], touched: Sequence[str]) -> _Said:
    """See `_Said`; of the texts only those that stand in a dialogue of one of `touched`."""
    e, r, found = t.exchanges.c, t.ratings.c, dict[str, set[str]]()
    for some in _chunks(ids):
        answers = sa.select(e.question, e.answer).where(e.id.in_(some))
        corrected = sa.select(e.question, r.correction).where(e.id == r.exchange_id, e.id.in_(some))
        for question, answer in (*db.execute(answers), *db.execute(corrected)):
            found.setdefault(question.strip(), set()).add((answer or "").strip())
    texts = {text for question, told in found.items() for text in (question, *told) if text}
    held = set[str]()
    for some in _chunks(touched):
        for history in db.scalars(sa.select(e.history).where(e.id.in_(some))):
            contents = [m["content"].strip() for m in history]
            whole = "\n".join(contents)
            held |= {text for text in texts - held if (text in whole if len(text) >= ALONE else text in contents)}
    elsewhere = _said_elsewhere(db, held, ids)
    telling = sorted((text for text in held - elsewhere if len(text) >= ALONE), key=len, reverse=True)
    # A "Yes." of many is no trace of any.
    doubtful = held - set(telling) - {text for text in elsewhere if len(text) < ALONE}
    return _Said({question: frozenset(told) for question, told in found.items()}, tuple(telling), frozenset(doubtful))


def _said_elsewhere(db: sa.Connection, texts: Collection[str], ids: Collection[str]) -> set[str]:
    """Those of the texts that are also a question, an answer or a correction of an exchange that stays."""
    e, r, found, gone = t.exchanges.c, t.ratings.c, set[str](), set(ids)
    for some in _chunks(sorted(texts)):
        for column, of in ((e.question, e.id), (e.answer, e.id), (r.correction, r.exchange_id)):
            same = db.execute(sa.select(column, of).where(sa.func.trim(column).in_(some)))
            found |= {text.strip() for text, one in same if one not in gone}
    return found


def _without(history: Sequence[Message], said: _Said) -> list[Message]:
    """The dialogue without those questions and what was answered to them. Of a telling question that is any answer:
    cut short, or said in another branch, it is still an answer to what is to be forgotten. And a telling answer goes
    with whatever the client made of its question.
    """
    kept: list[Message] = []
    at = 0
    while at < len(history):
        question, *rest = (m["content"].strip() for m in history[at : at + 2])
        answers = said.answers.get(question) if history[at]["role"] == "user" else None
        if answers is not None and (len(question) >= TELLING or answers.intersection(rest)):
            answered = at + 1 < len(history) and history[at + 1]["role"] == "assistant"
            at += 2 if answered else 1
            continue
        if history[at]["role"] == "assistant" and question in said.telling:
            if at and history[at - 1]["role"] == "user":
                kept.pop()
        elif (left := _cut_out(history[at], said.telling)) is not None:
            kept.append(left)
        at += 1
    return kept


def _cut_out(message: Message, telling: Sequence[str]) -> Message | None:
    """The message without these texts, itself where none stands in it; None for a system message that said no more."""
    content = message["content"]
    for text in telling:
        content = content.replace(text, CUT)
    if content == message["content"]:
        return message
    if message["role"] == "system" and not re.search(r"\w", content):
        return None
    return {"role": message["role"], "content": content}


def _may_hold(history: Sequence[Message], said: _Said) -> bool:
    """Whether one of the doubtful texts stands in it, a short one as a message of its own."""
    contents = [m["content"].strip() for m in history]
    whole = "\n".join(contents)
    return any(text in whole if len(text) >= ALONE else text in contents for text in said.doubtful)


def _chunks(ids: Sequence[str]) -> Iterable[list[Any]]:
    for first in range(0, len(ids), CHUNK):
        yield list(ids[first : first + CHUNK])
