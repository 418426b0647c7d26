"""The ledger's ratings, and the lessons that they queue: what was said of an answer, and what becomes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from memory import sql
from memory.accounts import Deed
from memory.database import Database
from memory.records import Lesson, LessonEvent, LessonState, Rating, Votes


class Lessons(Database):
    """The part of the ledger that is about ratings and lessons."""

    def rate(self, rating: Rating, lesson: Lesson | None) -> None:
        """Append a rating with the lesson that it queues (None for value 0).

        A lesson that no night has taken up yet follows its rating: a thumb, and then the better answer, are one lesson.
        Any other lesson of an earlier rating is undone. Raises: NotFound.
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

    def lessons_named(self, lesson_ids: Collection[str]) -> dict[str, Lesson]:
        """Id → lesson with its life so far, for those of the ids that there are."""
        with self._read() as db:
            return sql.lessons.named(db, lesson_ids)

    def lesson_states(self, lesson_ids: Collection[str]) -> dict[str, LessonState]:
        """Id → state, for those of the ids that there are."""
        with self._read() as db:
            return sql.lessons.states(db, lesson_ids)

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

    def votes(self) -> dict[str, Votes]:
        """Version (`base` too) → the thumbs that hold on its answers, for those that anybody has rated."""
        with self._read() as db:
            return sql.lessons.votes(db)

    def lesson_counts(self) -> dict[LessonState, int]:
        """State → how many lessons are in it, for those that there are."""
        with self._read() as db:
            return sql.lessons.counts(db)
