"""Holding a night: a lease in the ledger, renewed by a thread while the work goes on.

A process that dies stops renewing, and its lease runs out by itself. One that was stopped for too long (a laptop
asleep) finds its lease gone and ends before it changes anything.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from memory.errors import LeaseLost, NotRemembered
from memory.ledger import Ledger


def this_process() -> str:
    """A name for who holds a lease: host and process."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """What `this_process` says in another process of this machine."""
    return f"{socket.gethostname()} (process {pid})"


@contextmanager
def heartbeat(
    ledger: Ledger, night_id: str, holder: str, *, clock: Callable[[], datetime], ttl: timedelta
) -> Iterator[Callable[[], None]]:
    """Renew `holder`'s lease six times per `ttl`. Yields a check that raises LeaseLost once it is lost."""
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(ttl.total_seconds() / 6):
            try:
                if not ledger.renew_lease(holder, at=clock(), ttl=ttl):
                    lost.set()
                    return
            except NotRemembered:
                # A full disk for a moment; if it lasts, the lease runs out, which is what it is for.
                continue

    def check() -> None:
        if lost.is_set():
            raise LeaseLost(night_id)

    thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        done.set()
        thread.join()
