"""The ledger's shelf: a user's conversations by date and by words, their titles, their branches, and their end.

Rows here are light: of an exchange its words alone, never the prompt that made it, so that a conversation of many
hundred exchanges opens at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from memory.database import Database
from memory.sql import history as sql


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation on the shelf. `found` is a piece of it around the words that were searched for,
    and `found_in` the exchange that holds them.
    """

    id: str
    title: str
    last_at: datetime
    exchanges: int
    found: str = ""
    found_in: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One exchange of a branch: its words alone."""

    id: str
    parent_id: str | None
    conversation_id: str
    user: str
    created_at: datetime
    question: str
    answer: str
    adapter: str


class Shelf(Database):
    """The part of the ledger that is about whole conversations. Each belongs to one user, who is named each time."""

    def conversations(self, user: str, *, words: Sequence[str] = (), limit: int = 200) -> list[Conversation]:
        """The newest first; with `words` those alone in which an exchange or the title holds all of them."""
        with self._read() as db:
            return [Conversation(*row) for row in sql.shelf(db, user, words, limit)]

    def owner(self, conversation_id: str) -> str:
        """Whose it is. Raises: NotFound."""
        with self._read() as db:
            return sql.owner(db, conversation_id)

    def title(self, conversation_id: str) -> str:
        """The one that was given, or else the first words. Raises: NotFound."""
        with self._read() as db:
            return sql.title(db, conversation_id)

    def rename(self, conversation_id: str, title: str, *, user: str) -> None:
        """An empty title brings the first words back. Raises: NotFound, also where it is another user's."""
        with self._write() as db:
            sql.check_owner(db, conversation_id, user)
            sql.rename(db, conversation_id, title)

    def suggest_title(self, conversation_id: str, title: str) -> None:
        """A title for a conversation that has none, if it is still there."""
        with self._write() as db:
            sql.suggest_title(db, conversation_id, title)

    def newest_line(self, user: str, *, conversation_id: str | None = None) -> str | None:
        """The exchange that `user` wrote last (in that conversation)."""
        with self._read() as db:
            return sql.newest(db, user, conversation_id)

    def branch(self, exchange_id: str | None) -> list[Line]:
        """The exchange and all that it follows, oldest first. Empty for None, and where there is none."""
        with self._read() as db:
            return [] if exchange_id is None else [Line(**row) for row in sql.branch(db, exchange_id)]

    def forks(self, conversation_id: str) -> list[tuple[str, str | None]]:
        """(id, id of the parent) of every exchange of a conversation, in the order of writing."""
        with self._read() as db:
            return sql.forks(db, conversation_id)
