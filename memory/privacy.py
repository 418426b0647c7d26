"""The ledger's privacy: what a conversation may be used for, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memory import sql
from memory.database import READERS_MS, Database
from memory.records import Forgotten, Message, Unfinished


class Privacy(Database):
    """The part of the ledger that is about what may be kept, and what may not."""

    def set_use(self, conversation_id: str, *, remember: bool, train: bool) -> None:
        """Say whether recall may bring back what is said in a conversation, and whether nights may train on it.

        Raises: NotFound.
        """
        with self._write() as db:
            sql.exchanges.set_use(db, conversation_id, remember=remember, train=train)

    def use(self, conversation_id: str) -> tuple[bool, bool]:
        """(remember, train) of a conversation. Raises: NotFound."""
        with self._read() as db:
            return sql.exchanges.use(db, conversation_id)

    def not_to_be_trained(self) -> set[str]:
        """Ids of the exchanges of conversations that no night may train on."""
        with self._read() as db:
            return sql.exchanges.not_to_be_trained(db)

    def user_called(self, name: str) -> str:
        """The id of an account by its name or its id, or of a user that the ledger knows without an account.

        Raises: NotFound.
        """
        with self._read() as db:
            return sql.forgetting.user_called(db, name)

    def to_forget(
        self,
        *,
        exchange: str | None = None,
        conversation: str | None = None,
        user: str | None = None,
        everything: bool = False,
        document: str | None = None,
        answers: bool = False,
    ) -> Forgotten:
        """What `forget` would delete of one of these, with `answers` also of what was answered with it, be it with
        answers in between. Raises: NotFound.
        """
        with self._read() as db:
            return sql.forgetting.about(
                db,
                exchange=exchange,
                conversation=conversation,
                user=user,
                everything=everything,
                document=document,
                answers=answers,
            )

    def forget(self, gone: Forgotten, resign: Callable[[Sequence[Message], str], str]) -> None:
        """Delete it, everywhere in the ledger: rows are overwritten. What stays and was answered with it loses it from
        prompt and history, and is signed anew. Nothing brings it back.

        What an index still holds of it, and what the ledger's log does, is `unfinished` from the same moment on.
        """
        with self._write() as db:
            sql.forgetting.forget(db, gone, resign)

    def last_forgetting(self) -> int:
        """A number that grows with all that is forgotten: whoever works on texts sees whether one may be gone."""
        with self._read() as db:
            return sql.forgetting.last(db)

    def unfinished(self) -> Unfinished:
        """What of the forgotten is still to be removed outside of the ledger's tables."""
        with self._read() as db:
            return sql.forgetting.unfinished(db)

    def finish_forgetting(self, remove: Callable[[Sequence[int]], bool], *, patient: bool = True) -> Unfinished:
        """Do what is `unfinished`, as far as that can be done now; returns what is left.

        Args:
            remove: takes places out of the index; False where it could not be had.
            patient: whether to squeeze all of the lexicon at once, and to wait for others who read the ledger: as long
                as they do, its log keeps older pages.
        """
        left = self.unfinished()
        if left == Unfinished() or not self.writable():
            return left
        if left.places and remove(left.places):
            with self._write() as db:
                sql.forgetting.removed_from_index(db, left.through)
        while left.words:
            # A piece at a time: of a million exchanges it takes a minute, and others write in between.
            with self._write() as db:
                more = sql.forgetting.squeeze(db, left.through)
            if not more or not patient:
                break
        if left.log and self._empty_wal(READERS_MS if patient else 0):
            with self._write() as db:
                sql.forgetting.log_is_empty(db)
        return self.unfinished()
