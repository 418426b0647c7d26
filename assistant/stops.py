"""What ends the turns that are under way, whoever asked: the page, a program, a command line.

It also knows when nobody asks: what the model does in between gives way as soon as a turn comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class Stops:
    """The `stop` of each turn under way, and of what is done between turns. Safe to use from several threads."""

    def __init__(self, *, now: Callable[[], float] = monotonic) -> None:
        self._changed = threading.Condition()
        self._now = now
        self._under_way: set[threading.Event] = set()
        self._between: set[threading.Event] = set()
        self._last_turn = now()
        self._ended = False

    @contextmanager
    def under_way(self, stop: threading.Event) -> Iterator[None]:
        """For as long as the context lasts, `end` sets `stop`, and nothing is done between turns."""
        with self._changed:
            self._under_way.add(stop)
            for idle in self._between:
                idle.set()
            if self._ended:
                stop.set()
        try:
            yield
        finally:
            with self._changed:
                self._under_way.discard(stop)
                self._last_turn = self._now()
                self._changed.notify_all()

    @contextmanager
    def between(self, quiet: float, *, unless: threading.Event) -> Iterator[threading.Event]:
        """Wait until there has been no turn for `quiet` seconds. The event that it gives is set when one comes; it is
        set from the beginning where the process ends, or `unless` is set and `give_way` called.
        """
        stop = threading.Event()
        with self._changed:
            while not (self._ended or unless.is_set()):
                left = self._last_turn + quiet - self._now()
                if not self._under_way and left <= 0:
                    break
                self._changed.wait(None if self._under_way else left)
            else:
                stop.set()
            self._between.add(stop)
        try:
            yield stop
        finally:
            with self._changed:
                self._between.discard(stop)

    def give_way(self) -> None:
        """End what is done between turns."""
        with self._changed:
            for stop in self._between:
                stop.set()
            self._changed.notify_all()

    def end(self) -> None:
        """Stop all that is under way, and all that begins from now on: the process is about to end."""
        with self._changed:
            self._ended = True
            for stop in self._under_way | self._between:
                stop.set()
            self._changed.notify_all()
