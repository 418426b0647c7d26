"""Turns of those who write one database: threads and processes, one at a time.

SQLite in WAL mode lets one connection checkpoint while another commits. Before 3.51.3 (but for 3.44.6 and 3.50.7 and
what followed them) the two can meet so that the log is taken for written where it is not, and pages are lost: the
"WAL-reset bug", https://sqlite.org/wal.html#walresetbug. Python brings whatever SQLite its system has. Where whoever
commits or checkpoints takes a turn, and a commit's own checkpoint is part of it, they can't meet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.002
"""How often it is looked whether another process is through."""


def needs_turns(version: tuple[int, ...]) -> bool:
    """Whether SQLite of that version has the bug."""
    return version < (3, 44, 6) or (3, 45) <= version < (3, 50, 7) or (3, 51) <= version < (3, 51, 3)


class Turns:
    """Of one database. Where the file of the lock can't be written, there is none to take: SQLite tells what is wrong.

    Args:
        path: the database; None: nobody needs any.
    """

    def __init__(self, path: Path | None) -> None:
        self._thread = threading.Lock()
        self._lock = FileLock(f"{path}-turn", thread_local=False) if path else None

    @contextmanager
    def taken(self, seconds: float) -> Iterator[None]:
        """A turn, for as long as the block lasts. Not within another. Raises: TimeoutError after so many seconds."""
        if self._lock is None:
            yield
            return
        if not self._thread.acquire(timeout=seconds):
            raise TimeoutError("another thread writes")
        try:
            try:
                self._lock.acquire(timeout=seconds, poll_interval=POLL_SECONDS)
            except Timeout as error:
                raise TimeoutError("another process writes") from error
            except OSError:
                yield
                return
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self._thread.release()
