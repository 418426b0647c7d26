"""The ledger: the only truth, in one SQL database. `Ledger` is all that others see of it.

Each public method is one transaction; what it returns is frozen. Several processes may share a ledger (the server and
the night do). How the database is opened and written stands in `memory.database`, the queries in `memory.sql`: no SQL
stands anywhere else. The ledger does not know what a model, a vector or a page is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from memory import sql
from memory.accounts import Deed, People
from memory.history import Shelf
from memory.records import (
    BASE,
    Adapter,
    Document,
    Exchange,
    Forgotten,
    Lease,
    Lesson,
    LessonEvent,
    LessonState,
    Marks,
    Message,
    Night,
    NightStatus,
    Passage,
    Rating,
    Spoken,
    Votes,
)


class Ledger(People, Shelf):
    """Reading and writing the nouns. Open one with `Ledger.open`; it is safe to use from several threads.

    Beside what they say, methods that write raise NotRemembered where nothing can be written, and all of them
    LedgerUnreadable where the file is damaged.
    """

    # ------------------------------------------------------------------ exchanges

    def add_exchange(self, exchange: Exchange, *, remember: bool = True, train: bool = True) -> int:
        """Store one exchange (and its conversation, when it opens one). Returns its place in the order of writing.

        Args:
            remember, train: as in `set_use`, of the conversation that it opens; one that is there keeps its own.
        """
        with self._write() as db:
            return sql.exchanges.add(db, exchange, remember=remember, train=train)

    def exchange(self, exchange_id: str) -> Exchange:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.exchanges.get(db, exchange_id)

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

    def find_words(self, query: str, *, limit: int, user: str | None = None) -> list[tuple[int, float]]:
        """(place, BM25) of what fits a query of `memory.lexicon`, best first."""
        with self._read() as db:
            return sql.lexicon.search(db, query, limit=limit, user=user)

    def given(self, exchange_id: str, *, limit: int = 20) -> list[Exchange]:
        """The newest exchanges that were answered with this one in the prompt."""
        with self._read() as db:
            return sql.exchanges.given(db, exchange_id, limit=limit)

    def newest_exchanges(self, *, user: str | None, limit: int) -> list[Exchange]:
        """The newest first: `user`'s, or everybody's for None."""
        with self._read() as db:
            return sql.exchanges.newest(db, user, limit=limit)

    def in_the_weights(self, exchange_ids: Sequence[str], version: str) -> set[str]:
        """Those of the exchanges whose lesson is verified in `version`."""
        with self._read() as db:
            return sql.lessons.in_the_weights(db, exchange_ids, version)

    def passages(self, seqs: Sequence[int], *, user: str | None = None) -> dict[int, tuple[Document, Passage]]:
        """`seq` → a passage and its document, for those that exist (and are `user`'s)."""
        with self._read() as db:
            return sql.documents.by_seq(db, seqs, user=user)

    def add_document(self, document: Document, passages: Sequence[Passage]) -> None:
        """Store a document with its passages; an older one of the same user and name is replaced."""
        with self._write() as db:
            sql.documents.add(db, document, passages)

    def document(self, document_id: str) -> Document:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.documents.get(db, document_id)

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

    # ------------------------------------------------------------------ privacy

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

    def to_forget(
        self,
        *,
        exchange: str | None = None,
        conversation: str | None = None,
        user: str | None = None,
        everything: bool = False,
        document: str | None = None,
    ) -> Forgotten:
        """What `forget` would delete of one of these. Raises: NotFound."""
        with self._read() as db:
            if document is not None:
                sql.documents.get(db, document)
                return sql.forgetting.about(db, [], document_ids=[document])
            ids = sql.forgetting.chosen(
                db, exchange=exchange, conversation=conversation, user=user, everything=everything
            )
            return sql.forgetting.about(db, ids, document_ids=_documents_of(db, user, everything))

    def forget(
        self,
        gone: Forgotten,
        resign: Callable[[Sequence[Message], str], str],
        *,
        user: str | None = None,
        everything: bool = False,
        document: str | None = None,
    ) -> bool:
        """Delete it, everywhere in the ledger: rows are overwritten, and the WAL is emptied. What stays and was
        answered with it loses it from prompt and history, and is signed anew. Nothing brings it back.

        Returns:
            False where another process reads just now, so that the WAL is emptied later.
        """
        with self._write() as db:
            documents = [document] if document is not None else _documents_of(db, user, everything)
            sql.forgetting.forget(db, gone, resign, document_ids=documents)
        return self._empty_wal()

    # ------------------------------------------------------------------ ratings and lessons

    def rate(self, rating: Rating, lesson: Lesson | None) -> None:
        """Append a rating with the lesson that it queues (None for value 0).

        A lesson that no night has taken up yet follows its rating: a thumb, and then the better answer, are one lesson.
        Any other lesson of an earlier rating is undone.
        """
        with self._write() as db:
            sql.lessons.rate(db, rating, lesson)

    def rating(self, exchange_id: str) -> Rating | None:
        """The rating of an exchange that holds (a taken-back one counts as none)."""
        return self.ratings([exchange_id]).get(exchange_id)

    def ratings(self, exchange_ids: Sequence[str]) -> dict[str, Rating]:
        """Id of exchange → the rating that holds, for those that have one."""
        with self._read() as db:
            return sql.lessons.ratings_in_force(db, exchange_ids)

    def lessons(self, *, states: Sequence[LessonState] | None = None, newest_first: bool = False) -> list[Lesson]:
        """Lessons in the order in which they were queued, each with its life so far."""
        with self._read() as db:
            return sql.lessons.find(db, states=states, newest_first=newest_first)

    def lesson(self, lesson_id: str) -> Lesson:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.lessons.get(db, lesson_id)

    def lesson_of(self, exchange_id: str) -> Lesson | None:
        """The newest lesson that came of an exchange."""
        with self._read() as db:
            found = sql.lessons.of_exchange(db, exchange_id)
            return None if found is None else sql.lessons.get(db, found)

    def advance_lessons(self, events: Mapping[str, LessonEvent]) -> None:
        """Write the next state of several lessons at once (lesson id → event). An undone lesson stays undone."""
        with self._write() as db:
            sql.lessons.advance_all(db, list(events.items()))

    def review_lesson(
        self, lesson_id: str, *, hold: str | None, event: LessonEvent, deed: Deed, wanted: str | None = None
    ) -> Lesson:
        """What a person decided over a lesson: to hold it back, and why, or (None) to let it go to the next night.

        Args:
            wanted: a better answer in place of the one that it has.

        Raises: NotFound; BadInput when it was undone, or a night runs that may be at it.
        """
        with self._write() as db:
            sql.lessons.review(db, lesson_id, hold=hold, event=event, wanted=wanted)
            sql.accounts.did(db, deed.at, deed.by, deed.action, deed.detail)
            return sql.lessons.get(db, lesson_id)

    # ------------------------------------------------------------------ nights

    def request_night(self, night: Night) -> Night:
        """Queue `night`, or the one that was cut off and can go on, or the one that waits already.

        Raises:
            AlreadyRunning: one runs; the error names who holds the lease.
        """
        with self._write() as db:
            return sql.nights.request(db, night)

    def begin_night(
        self,
        night_id: str,
        *,
        holder: str,
        at: datetime,
        ttl: timedelta,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Night:
        """Take the lease and mark the night as running, with the seed and the settings that it runs with (None keeps
        those that it was requested with).

        Raises:
            AlreadyRunning: another holder's lease is in force.
            NotFound: no such night.
            BadInput: it has ended already.
        """
        with self._write() as db:
            return sql.nights.begin(db, night_id, holder=holder, at=at, ttl=ttl, seed=seed, settings=settings)

    def renew_lease(self, holder: str, *, at: datetime, ttl: timedelta) -> bool:
        """The heartbeat. False when the lease is no longer this holder's."""
        with self._write() as db:
            return sql.nights.renew_lease(db, holder, at=at, ttl=ttl)

    def lease(self) -> Lease | None:
        """The lease as it stands, expired or not."""
        with self._read() as db:
            return sql.nights.lease(db)

    def night_progress(self, night_id: str, *, stage: str, progress: float, detail: str = "") -> None:
        """Say how far a night is; `progress` in [0, 1] over all stages."""
        with self._write() as db:
            sql.nights.progressed(db, night_id, stage=stage, progress=progress, detail=detail)

    def name_adapter(self, night_id: str) -> str:
        """The version that this night's adapter will bear: the next free one, the same again after a cut-off."""
        with self._write() as db:
            return sql.nights.name_adapter(db, night_id)

    def end_night(
        self,
        night_id: str,
        *,
        holder: str,
        status: NightStatus,
        reasons: Sequence[str],
        at: datetime,
        report: str | None = None,
        adapter: Adapter | None = None,
        back_to: str | None = None,
        drift: Mapping[str, Any] | None = None,
        lessons: Sequence[tuple[str, LessonEvent]] = (),
        resumable: bool = False,
    ) -> Night:
        """Everything a night's end changes, in one transaction: the version that serves, the lessons, the verdict, the
        lease. Before it nothing has changed for the day; after it everything has.

        Args:
            back_to: an earlier version, or `base`, that serves from now on.
            drift: how the night found the version that served.

        Raises:
            AlreadyRunning: the lease went to another holder meanwhile; nothing was written.
            LeaseLost: the lease was ended meanwhile, and nobody holds one now; nothing was written.
        """
        with self._write() as db:
            sql.nights.check_lease(db, night_id, holder=holder)
            if adapter is not None:
                sql.adapters.add(db, adapter)
            if back_to is not None:
                if back_to != BASE:
                    sql.adapters.may_serve(db, back_to)
                sql.adapters.flip(db, back_to, reasons[0])
            if drift is not None:
                sql.drifts.add(db, night_id, drift)
            # Conversations may have been deleted while the night ran, and their lessons with them.
            sql.lessons.advance_all(db, lessons, deleted_ok=True)
            return sql.nights.end(
                db, night_id, status=status, reasons=reasons, report=report, at=at, resumable=resumable
            )

    def cancel_night(self, night_id: str, *, why: str, at: datetime, deed: Deed) -> Night:
        """End a night that waits or runs, for good. Its process finds its lease gone and changes nothing.

        Raises: NotFound; BadInput when it has ended already.
        """
        with self._write() as db:
            sql.nights.cancel(db, night_id, why=why, at=at)
            sql.accounts.did(db, deed.at, deed.by, deed.action, deed.detail)
            return sql.nights.get(db, night_id)

    def reap_nights(self, *, at: datetime) -> list[Night]:
        """Nights that say they run though nobody holds their lease any more are marked failed, to be resumed."""
        if not self.writable():
            return []
        with self._write() as db:
            return [sql.nights.get(db, night_id) for night_id in sql.nights.reap(db, at)]

    def abandon_lease(self, night_id: str, *, at: datetime) -> None:
        """End a dead night's lease before its time: for who started the process and saw it die."""
        with self._write() as db:
            sql.nights.end_lease(db, night_id)
            sql.nights.reap(db, at)

    def night(self, night_id: str) -> Night:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.nights.get(db, night_id)

    def nights(self, *, limit: int = 100) -> list[Night]:
        """The newest nights first."""
        with self._read() as db:
            return sql.nights.newest(db, limit=limit)

    # ------------------------------------------------------------------ adapters

    def adapter(self, version: str) -> Adapter:
        """Raises: NotFound."""
        with self._read() as db:
            return sql.adapters.get(db, version)

    def adapters(self) -> list[Adapter]:
        """The newest version first."""
        with self._read() as db:
            return sql.adapters.newest(db)

    def active_adapter(self) -> Adapter | None:
        """The version that serves; None for the base."""
        with self._read() as db:
            return sql.adapters.active(db)

    def withdraw_adapter(self, version: str, reason: str) -> None:
        """A version that may not serve again. Raises: NotFound."""
        with self._write() as db:
            sql.adapters.withdraw(db, version, reason)

    def activate(self, version: str, *, reason: str) -> Adapter | None:
        """Let `version` serve (`base` for none); the one before it retires. One transaction: it is the switch.

        Raises: NotFound; BadInput for a version that failed its exam.
        """
        with self._write() as db:
            if version != BASE:
                sql.adapters.may_serve(db, version)
            sql.adapters.flip(db, version, reason)
            return sql.adapters.active(db)

    # ------------------------------------------------------------------ how it goes

    def votes(self) -> dict[str, Votes]:
        """Version (`base` too) → the thumbs that hold on its answers, for those that anybody has rated."""
        with self._read() as db:
            return sql.lessons.votes(db)

    def lesson_counts(self) -> dict[LessonState, int]:
        """State → how many lessons are in it, for those that there are."""
        with self._read() as db:
            return sql.lessons.counts(db)

    def last_drift(self) -> dict[str, Any] | None:
        """How the newest night that looked found the version that served."""
        with self._read() as db:
            return sql.drifts.newest(db)

    # ------------------------------------------------------------------ what nights learn about nights

    def study_log(self, *, first: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The log of what candidates of nights have shown, in the order of writing, from place `first` on."""
        with self._read() as db:
            return sql.study.entries(db, first=first, limit=limit)

    def append_study_log(self, entries: Sequence[Mapping[str, Any]]) -> None:
        with self._write() as db:
            sql.study.append(db, entries)


def _documents_of(db: Any, user: str | None, everything: bool) -> list[str]:
    if user is None and not everything:
        return []
    return [document.id for document in sql.documents.every(db, user=None if everything else user)]
