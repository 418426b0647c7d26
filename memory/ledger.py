"""The ledger: the only truth, in one SQL database. `Ledger` is all that others see of it.

Each public method is one transaction; what it returns is frozen. Several processes may share a ledger (the server and
the night do). Here are exchanges and what recall reads; each other subject has a module of its own, and `Ledger` takes
them together. How the database is opened and written stands in `memory.database`, the queries in `memory.sql`: no SQL
stands anywhere else. The ledger does not know what a model, a vector or a page is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from memory import sql
from memory.accounts import People
from memory.errors import ForgottenMeanwhile
from memory.history import Shelf
from memory.lessons import Lessons
from memory.nights import Nights
from memory.privacy import Privacy
from memory.records import Document, Exchange, Landmarks, Marks, Only, Passage, Rating, Spoken


class Ledger(People, Shelf, Lessons, Nights, Privacy):
    """Reading and writing the nouns. Open one with `Ledger.open`; it is safe to use from several threads.

    Beside what they say, methods that write raise NotRemembered where nothing can be written, and all of them
    LedgerUnreadable where the file is damaged.
    """

    # ------------------------------------------------------------------ exchanges

    def add_exchange(
        self, exchange: Exchange, *, since: int | None = None, remember: bool = True, train: bool = True
    ) -> int:
        """Store one exchange (and its conversation, when it opens one). Returns its place in the order of writing.

        Args:
            since: `last_forgetting` when its answer was begun.
            remember, train: as in `set_use`, of the conversation that it opens; one that is there keeps its own.

        Raises: NotFound: what it follows; ForgottenMeanwhile: something that it was answered with, since then.
        """
        with self._write() as db:
            if since is not None and sql.forgetting.gone_meanwhile(db, exchange, since):
                raise ForgottenMeanwhile
            return sql.exchanges.add(db, exchange, remember=remember, train=train)

    def add_exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """Store many at once: exchanges that follow nothing, and were given nothing."""
        with self._write() as db:
            sql.exchanges.add_many(db, exchanges)

    def exchange(self, exchange_id: str) -> Exchange:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.exchanges.get(db, exchange_id)

    def known(self, exchange_ids: Sequence[str]) -> set[str]:
        """Those of the ids that there are."""
        with self._read() as db:
            return set(sql.exchanges.conversations(db, exchange_ids))

    def conversations_of(self, exchange_ids: Sequence[str]) -> dict[str, str]:
        """Id → its conversation's, for those that there are."""
        with self._read() as db:
            return sql.exchanges.conversations(db, exchange_ids)

    def thread(self, exchange_id: str | None) -> list[Exchange]:
        """The exchange and all that it follows, oldest first. Empty for None. Raises: NotFound."""
        with self._read() as db:
            return sql.exchanges.thread(db, exchange_id)

    def conversation(self, conversation_id: str) -> list[Exchange]:
        """All exchanges of a conversation in the order of writing, siblings included."""
        with self._read() as db:
            return sql.exchanges.of_conversation(db, conversation_id)

    def latest_conversation(self, user: str) -> str | None:
        """The conversation in which `user` last said something."""
        with self._read() as db:
            return sql.exchanges.latest_conversation(db, user)

    def questions_after(self, seq: int, *, limit: int) -> list[tuple[int, str]]:
        """(seq, question) of exchanges written after `seq`, in order."""
        with self._read() as db:
            return sql.exchanges.questions_after(db, seq, limit=limit)

    def last_seq(self) -> int:
        """The place of the newest exchange; 0 when there is none."""
        with self._read() as db:
            return sql.exchanges.last_seq(db)

    def count_exchanges(self) -> int:
        with self._read() as db:
            return sql.exchanges.count(db)

    # ------------------------------------------------------------------ recall

    def marks(self) -> Marks:
        """How far the ledger reaches."""
        with self._read() as db:
            return sql.written.last(db)

    def written_after(self, marks: Marks, *, limit: int) -> tuple[list[tuple[int, str]], Marks]:
        """Some more (place, text) of what an index that reaches to `marks` must still take in, at most `limit` rows,
        and how far it then reaches. A place that it holds already is replaced. See `memory.places`.
        """
        with self._read() as db:
            return sql.written.after(db, marks, limit=limit)

    def landmarks(self, marks: Marks) -> Landmarks:
        """What stands at `marks`, by which an index that reaches so far knows this ledger again."""
        with self._read() as db:
            return sql.written.landmarks(db, marks)

    def contradicts(self, known: Landmarks) -> bool:
        """Whether another ledger has given an index these, or this one before an older copy took its place."""
        with self._read() as db:
            return sql.written.contradicts(db, known)

    def texts_at(self, places: Sequence[int]) -> list[tuple[int, str]]:
        """(place, text) as an index takes them in, of those places that there are."""
        with self._read() as db:
            return sql.written.at(db, places)

    def still_there(self, places: Sequence[int]) -> set[int]:
        """Those of the places of which the ledger still holds something."""
        with self._read() as db:
            return sql.written.there(db, places)

    def written_by_people(self, marks: Marks) -> tuple[Marks, list[int], list[int]]:
        """(how far the ledger reaches, `seq`s of the exchanges that were corrected after `marks`, be it taken back
        since, and of the passages written after them).
        """
        with self._read() as db:
            return sql.written.by_people(db, marks)

    def places_of(self, user: str, *, most: int) -> list[int] | None:
        """Where an index holds `user`'s exchanges and documents; None where those are more than `most`."""
        with self._read() as db:
            return sql.written.of_user(db, user, most=most)

    def find_words(self, terms: Sequence[str], *, limit: int, user: str | None = None) -> list[tuple[int, float]]:
        """(place, BM25) of what fits any of the terms of `memory.lexicon`, best first."""
        with self._read() as db:
            return sql.lexicon.search(db, terms, limit=limit, user=user) if terms else []

    def given(self, exchange_id: str, *, limit: int = 20) -> list[Exchange]:
        """The newest exchanges that were answered with this one in the prompt."""
        with self._read() as db:
            return sql.exchanges.given(db, exchange_id, limit=limit)

    def newest_exchanges(
        self, *, user: str | None, limit: int, skip: int = 0, only: Only | None = None, words: Sequence[str] = ()
    ) -> list[tuple[Exchange, Rating | None]]:
        """The newest first, each with the rating that holds: `user`'s, or everybody's for None.

        Args:
            skip: so many of the newest are left out.
            only: those that were corrected, those that recall may bring back, or those that it may not.
            words: those that hold all of these, as parts of words too.
        """
        with self._read() as db:
            found = sql.exchanges.newest(db, user, limit=limit, skip=skip, only=only, words=words)
            ratings = sql.lessons.ratings_in_force(db, [exchange.id for exchange in found])
        return [(exchange, ratings.get(exchange.id)) for exchange in found]

    def in_the_weights(self, exchange_ids: Sequence[str], version: str) -> set[str]:
        """Those of the exchanges whose lesson is verified in `version`."""
        with self._read() as db:
            return sql.lessons.in_the_weights(db, exchange_ids, version)

    def passages(self, seqs: Sequence[int], *, user: str | None = None) -> dict[int, tuple[Document, Passage]]:
        """`seq` → a passage and its document, for those that exist (and are `user`'s)."""
        with self._read() as db:
            return sql.documents.by_seq(db, seqs, user=user)

    def newest_passages(self, *, user: str | None, limit: int, skip: int = 0) -> list[tuple[Document, Passage]]:
        """Pieces of documents, the newest document first, each as it goes on: `user`'s, or everybody's for None."""
        with self._read() as db:
            return sql.documents.newest_passages(db, user=user, limit=limit, skip=skip)

    def add_document(self, document: Document, passages: Sequence[Passage]) -> None:
        """Store a document with its passages; an older one of the same user and name is replaced."""
        with self._write() as db:
            sql.documents.add(db, document, passages)

    def document(self, document_id: str) -> Document:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.documents.get(db, document_id)

    def outdated(self, ids: Collection[str]) -> set[str]:
        """Those exchanges that were answered with something that was forgotten since, or with a document that was
        replaced.
        """
        with self._read() as db:
            return sql.exchanges.outdated(db, list(ids))

    def documents(self, *, user: str | None = None) -> list[Document]:
        """The newest first: `user`'s, or everybody's for None."""
        with self._read() as db:
            return sql.documents.every(db, user=user)

    def rated_exchanges(
        self, seqs: Sequence[int], *, user: str | None = None, remembered_only: bool = False
    ) -> dict[int, tuple[Exchange, Rating | None]]:
        """`seq` → (exchange, the rating that holds), for those that exist (and are `user`'s, and of conversations that
        may be recalled).
        """
        with self._read() as db:
            found = sql.exchanges.by_seq(db, seqs, user=user, remembered_only=remembered_only)
            ratings = sql.lessons.ratings_in_force(db, [exchange.id for exchange in found.values()])
        return {seq: (exchange, ratings.get(exchange.id)) for seq, exchange in found.items()}

    def spoken(self, exchange_ids: Sequence[str]) -> dict[str, Spoken]:
        """Id → what that exchange's signature is about, for those that exist."""
        with self._read() as db:
            return {found.exchange_id: found for found in sql.exchanges.spoken(db, exchange_ids)}

    def unrated_exchanges(self, *, limit: int) -> list[Exchange]:
        """The newest exchanges that nobody ever rated. One whose rating was taken back is not among them: a night
        after an undo must be as if there had been nothing to undo.
        """
        with self._read() as db:
            return sql.exchanges.newest_without(db, sql.lessons.rated_ids(), limit=limit)
