"""What ends the turns that are under way, whoever asked: the page, a program, a command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stops:
    """The `stop` of each turn under way. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[threading.Event] = set()
        self._ended = False

    @contextmanager
    def under_way(self, stop: threading.Event) -> Iterator[None]:
        """For as long as the context lasts, `end` sets `stop`."""
        with self._lock:
            self._under_way.add(stop)
            if self._ended:
                stop.set()
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(stop)

    def end(self) -> None:
        """Stop all that is under way, and all that begins from now on: the process is about to end."""
        with self._lock:
            self._ended = True
            for stop in self._under_way:
                stop.set()
