"""Whose turn it is: as many answers at once as the engine computes together, and users in turn.

Whoever asks takes a place, and waits for it where all are taken. What somebody has under way or in front of them counts
against their next question, not against other people's: who asks twenty things at once is before nobody who asks one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Event

LOOKS = 0.1
"""Seconds after which who waits looks whether it was stopped, or whether the engine answers more at once by now."""


class Places:
    """Who is answered and who waits. Safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._answered: list[Place] = []
        self._waiting: list[Place] = []
        self._turns: Counter[str] = Counter()

    @contextmanager
    def place(self, user: str) -> Iterator[Place]:
        """A place for one answer to `user`, waited for with `Place.wait`, and free again when the context ends."""
        place = Place(self, user)
        with self._changed:
            self._waiting.append(place)
        try:
            yield place
        finally:
            with self._changed:
                (self._answered if place in self._answered else self._waiting).remove(place)
                if not self._waiting:
                    # Nobody is kept from anything: who had how many turns is forgotten.
                    self._turns.clear()
                self._changed.notify_all()

    def _wait(self, place: Place, stop: Event, at_once: Callable[[], int]) -> Iterator[int]:
        told = None
        while not stop.is_set():
            with self._changed:
                before = self._before(place)
                if before == 0 and len(self._answered) < at_once():
                    self._waiting.remove(place)
                    self._answered.append(place)
                    self._turns[place.user] += 1
                    # Whoever is the next now may find a place, too.
                    self._changed.notify_all()
                    return
                if told == before:
                    self._changed.wait(LOOKS)
                    continue
            # Of those who are answered, one has to end.
            told = before
            yield before + 1

    def _before(self, place: Place) -> int:
        """How many of those who wait come before `place`: whoever has least, then who had the fewest turns."""
        has = Counter(one.user for one in self._answered)
        ranks: dict[Place, tuple[int, int, int]] = {}
        for arrived, one in enumerate(self._waiting):
            ranks[one] = (has[one.user], self._turns[one.user], arrived)
            has[one.user] += 1
        return sum(rank < ranks[place] for rank in ranks.values())


class Place:
    """Of one answer; see `Places.place`."""

    def __init__(self, places: Places, user: str) -> None:
        self._places, self.user = places, user

    def wait(self, stop: Event, at_once: Callable[[], int]) -> Iterator[int]:
        """Wait until it is free, or `stop` is set; gives how many answers come before, whenever that has changed.

        Args:
            at_once: how many are answered at once, as it is now.
        """
        return self._places._wait(self, stop, at_once)
