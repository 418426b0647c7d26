"""Holding a night: the heartbeat keeps the lease, and its loss is noticed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from memory import LeaseLost, Ledger, NotRemembered
from memory.testing import NOON, Clock, night
from training.lease import heartbeat, process_name, this_process

TTL = timedelta(seconds=0.06)


def begin(ledger: Ledger, holder: str = "me") -> None:
    """A night that `holder` runs."""
    ledger.request_night(night())
    ledger.begin_night("n1", holder=holder, at=NOON, ttl=TTL)


def wait_for(true: Callable[[], object]) -> None:
    """Until `true()` is, or fail."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_it_beats(ledger: Ledger) -> None:
    """While the work goes on the lease is renewed by the clock; afterwards the thread is gone."""
    begin(ledger)
    clock = Clock()
    with heartbeat(ledger, "n1", "me", clock=clock, ttl=TTL) as check:
        later = clock.tick(60)
        wait_for(lambda: (lease := ledger.lease()) and lease.expires_at == later + TTL)
        check()
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("thief", ["nobody", "other"])
def test_a_lost_lease_is_told(ledger: Ledger, thief: str) -> None:
    """Once the lease was ended, or is somebody else's, the check raises; the other's lease is left alone."""
    begin(ledger)
    with heartbeat(ledger, "n1", "me", clock=Clock(), ttl=TTL) as check:
        ledger.abandon_lease("n1", at=NOON)
        if thief == "other":
            ledger.begin_night("n1", holder="other", at=NOON, ttl=TTL)

        def lost() -> bool:
            try:
                check()
            except LeaseLost:
                return True
            return False

        wait_for(lost)
    lease = ledger.lease()
    assert (lease.holder if lease else "nobody") == thief


def test_it_beats_on_after_a_full_disk(ledger: Ledger) -> None:
    """A heartbeat that can't be written is not the end: the next one may be."""
    begin(ledger)

    class Hiccup:
        """A ledger whose disk is full for two beats."""

        beats = 0

        def renew_lease(self, holder: str, **more: object) -> bool:
            self.beats += 1
            if self.beats <= 2:
                raise NotRemembered("database or disk is full")
            return True

    hiccup = Hiccup()
    with heartbeat(hiccup, "n1", "me", clock=Clock(), ttl=TTL) as check:  # type: ignore[arg-type]
        wait_for(lambda: hiccup.beats > 3)
        check()


def test_an_error_in_the_work_ends_the_heartbeat(ledger: Ledger) -> None:
    """The thread does not outlive the work, however it ends."""
    begin(ledger)
    with pytest.raises(OSError), heartbeat(ledger, "n1", "me", clock=Clock(), ttl=TTL):
        raise OSError
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_processes_have_names() -> None:
    """A holder's name tells host and process, and a parent can tell its child's."""
    assert this_process() == process_name(os.getpid())
    assert f"(process {os.getpid()})" in this_process()
