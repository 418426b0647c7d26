"""BM25 over all that can be recalled. Triggers keep the table (`memory.tables`); here it is only searched."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

BEFORE, TEXT, DATE = 0.7, 1.0, 1.0
"""Weights of the columns: the turn before, question and answer, the day (tuned in docs/BENCHMARKS.md)."""


def search(db: sa.Connection, query: str, *, limit: int, user: str | None) -> list[tuple[int, float]]:
    """(place, BM25) of what fits `query`, FTS5's syntax, best first: `user`'s, or anybody's for None."""
    owned = "" if user is None else " AND user = :user"
    hidden = "SELECT e.seq * 4 FROM conversations c JOIN exchanges e ON e.conversation_id = c.id WHERE NOT c.remember"
    rows = db.execute(
        sa.text(
            f"SELECT rowid, -bm25(lexicon, {BEFORE}, {TEXT}, {DATE}) AS score FROM lexicon"  # noqa: S608 - our numbers
            f" WHERE lexicon MATCH :query{owned} AND rowid NOT IN ({hidden})"
            " ORDER BY score DESC, rowid DESC LIMIT :limit"
        ),
        {"query": query, "limit": limit} | ({} if user is None else {"user": user}),
    )
    return [(int(place), float(score)) for place, score in rows]


def forget_before(db: sa.Connection, ids: Sequence[str]) -> None:
    """Take the answers of these exchanges, which are about to go, out of the rows of those that follow them."""
    follows = "SELECT seq * 4 FROM exchanges WHERE parent_id IN :ids"
    query = sa.text(f"UPDATE lexicon SET before = '' WHERE rowid IN ({follows})")  # noqa: S608 - our own words
    db.execute(query.bindparams(sa.bindparam("ids", expanding=True)), {"ids": list(ids)})


def squeeze(db: sa.Connection) -> None:
    """Merge the table's segments: until then, words of deleted rows may still lie in the file."""
    db.execute(sa.text("INSERT INTO lexicon (lexicon) VALUES ('optimize')"))
