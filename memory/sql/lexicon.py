"""BM25 over all that can be recalled. Triggers keep the table (`memory.tables`); here it is only searched.

A search costs as much as there are rows with its words, so of very many rows only the telling words are looked for:
those that few rows have, as far as `ROWS` reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

BEFORE, TEXT, DATE = 0.7, 1.0, 1.0
"""Weights of the columns: the turn before, question and answer, the day (tuned in docs/BENCHMARKS.md)."""

ROWS = 10_000
"""Rows that a search scores, about: a microsecond or two each."""
FEW = 10_000
"""Most places of a user that are all read before a search: a microsecond or two each."""
WINDOW = 20_000
"""The newest rows, in which it is counted how common a word is."""
PAGES = 1000
"""Pages of the table that are merged at once while it is squeezed: others can write in between."""


def search(db: sa.Connection, terms: Sequence[str], *, limit: int, user: str | None) -> list[tuple[int, float]]:
    """(place, BM25) of what fits any of `terms`, FTS5's phrases, best first: `user`'s, or anybody's for None."""
    terms, oldest = _telling(db, terms)
    among, later = ("", "") if user is None else _owned(db, user)
    since = "" if oldest is None else " AND rowid > :oldest"
    found = (
        f"SELECT rowid, -bm25(lexicon, {BEFORE}, {TEXT}, {DATE}) AS score FROM lexicon"  # noqa: S608 - our numbers
        f" WHERE lexicon MATCH :query{among}{since} AND rowid NOT IN ({HIDDEN})"
        " ORDER BY score DESC, rowid DESC LIMIT"
    )
    # Without a LIMIT of its own, which limits nothing, SQLite would ask whose each row is before it sorts them.
    sorted_first = f"SELECT * FROM ({found} -1) AS found WHERE {later} LIMIT :limit"  # noqa: S608 - our own words
    rows = db.execute(
        sa.text(sorted_first if later else f"{found} :limit"),
        {"query": " OR ".join(terms), "limit": limit}
        | ({"user": user} if among or later else {})
        | ({} if oldest is None else {"oldest": oldest}),
    )
    return [(int(place), float(score)) for place, score in rows]


HIDDEN = "SELECT e.seq * 4 FROM conversations c JOIN exchanges e ON e.conversation_id = c.id WHERE NOT c.remember"
OWN = (
    "SELECT e.seq * 4 FROM conversations c JOIN exchanges e ON e.conversation_id = c.id WHERE c.user = :user"
    " UNION ALL"
    " SELECT p.seq * 4 + 2 FROM documents d JOIN passages p ON p.document_id = d.id WHERE d.user = :user"
)
"""A user's places."""
WHOSE = (
    "CASE found.rowid % 4 WHEN 0 THEN (SELECT e.user FROM exchanges e WHERE e.seq = found.rowid / 4) ELSE"
    " (SELECT d.user FROM passages p JOIN documents d ON d.id = p.document_id WHERE p.seq = found.rowid / 4) END"
)
"""The user of what was found. The lexicon says so too, but behind the texts of its rows."""


# One by one, SQLite takes each from the end of an index.
_OUTERMOST = sa.text(
    "SELECT (SELECT min(user) FROM conversations), (SELECT max(user) FROM conversations),"
    " (SELECT min(user) FROM documents), (SELECT max(user) FROM documents)"
)
"""The first and the last user: where they are one, nobody else has said or kept anything."""


def _owned(db: sa.Connection, user: str) -> tuple[str, str]:
    """Conditions by which a search is `user`'s alone: of what is scored, and of what was sorted, best first.

    Whose a row is costs as much to look up as its score: of few it is known before, of many the best alone are asked.
    """
    if set(db.execute(_OUTERMOST).one()) <= {user, None}:
        return "", ""
    count = sa.text(f"SELECT count(*) FROM (SELECT 1 FROM ({OWN}) LIMIT :most)")  # noqa: S608 - our own words
    if db.execute(count, {"user": user, "most": FEW + 1}).scalar_one() <= FEW:
        # The plus keeps SQLite from searching anew for each place.
        return f" AND +rowid IN ({OWN})", ""
    return "", f"{WHOSE} = :user"


def _telling(db: sa.Connection, terms: Sequence[str]) -> tuple[list[str], int | None]:
    """The rarest of the terms, so many that about `ROWS` rows have one; where the rarest has more by itself, also the
    place behind which it is looked for: the newest rows that make `ROWS`.
    """
    newest = db.execute(sa.text("SELECT rowid FROM lexicon ORDER BY rowid DESC LIMIT 1")).scalar() or 0
    if newest <= 4 * ROWS:
        return list(terms), None
    begins = max(0, newest - 4 * WINDOW)
    count = sa.text("SELECT count(*) FROM lexicon WHERE lexicon MATCH :term AND rowid > :begins")
    share = newest / (newest - begins)
    rows = {term: share * db.execute(count, {"term": term, "begins": begins}).scalar_one() for term in terms}
    kept, held = list[str](), 0.0
    for term in sorted(terms, key=rows.__getitem__):
        held += rows[term]
        if kept and held > ROWS:
            break
        kept.append(term)
    rarest = rows[kept[0]]
    return kept, int(newest - newest * ROWS / rarest) if rarest > ROWS else None


def forget_before(db: sa.Connection, ids: Sequence[str]) -> None:
    """Take the answers of these exchanges, which are about to go, out of the rows of those that follow them."""
    follows = "SELECT seq * 4 FROM exchanges WHERE parent_id IN :ids"
    query = sa.text(f"UPDATE lexicon SET before = '' WHERE rowid IN ({follows})")  # noqa: S608 - our own words
    db.execute(query.bindparams(sa.bindparam("ids", expanding=True)), {"ids": list(ids)})


def squeeze(db: sa.Connection) -> bool:
    """Merge some of the table's segments: until all are one, words of deleted rows may lie in the file. Returns whether
    there is more to do.
    """
    changes = sa.text("SELECT total_changes()")
    before = db.execute(changes).scalar_one()
    db.execute(sa.text(f"INSERT INTO lexicon (lexicon, rank) VALUES ('merge', -{PAGES})"))  # noqa: S608 - our number
    # As FTS5 tells it: what changes nothing but its own row had nothing to do.
    more = bool(db.execute(changes).scalar_one() - before >= 2)
    _flatten(db)
    return more


STRUCTURE = 10
"""The row in which FTS5 keeps which segments it has: four bytes of a cookie, then numbers of variable length."""


def _flatten(db: sa.Connection) -> None:
    """Take the empty levels out of the table's structure.

    FTS5 merges all segments into a level above all others and, before SQLite 3.42 or so, never takes one away. From
    2,000 levels on it takes its own table for damaged, and nothing can be written any more: after a thousand
    forgettings (docs/LOG.md).
    """
    row = sa.text("SELECT block FROM lexicon_data WHERE id = :id")
    block = bytes(db.execute(row, {"id": STRUCTURE}).scalar_one())
    flat = flattened(block)
    if flat != block:
        change = sa.text("UPDATE lexicon_data SET block = :block WHERE id = :id")
        db.execute(change, {"block": flat, "id": STRUCTURE})


def flattened(block: bytes) -> bytes:
    """A structure without its empty levels; as it is while a level is being merged, or in another form than this one.

    Levels are, from the youngest, (segments being merged, segments, three numbers for each of these): what counts of
    them is their order (SQLite's fts5_index.c, "structure record").
    """
    cookie, rest = block[:4], block[4:]
    if rest[:1] == b"\xff":
        return block
    numbers = list(_numbers(rest))
    count, segments, written = numbers[:3]
    at, levels = 3, list[list[int]]()
    for _ in range(count):
        size = 2 + 3 * numbers[at + 1]
        levels.append(numbers[at : at + size])
        at += size
    if any(level[0] for level in levels) or at != len(numbers):
        return block
    kept = [level for level in levels if level[1]] or levels[:1]
    told = [len(kept), segments, written, *(number for level in kept for number in level)]
    return cookie + b"".join(map(_varint, told))


def _numbers(data: bytes) -> Iterator[int]:
    """SQLite's varints: seven bits a byte, the highest first, up to eight of them."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 127
        if byte < 128:
            yield value
            value = 0


def _varint(value: int) -> bytes:
    """One number, below 2^56."""
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127 | 128)
    return bytes(reversed(parts))
