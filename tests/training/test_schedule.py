"""Who starts nights: the watch over the ledger, and the clock."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memory import AlreadyRunning, Ledger, NightStatus
from memory.accounts import Deed
from memory.database import RETRY_SECONDS
from memory.testing import night
from training.schedule import TRIES, NightClock, NightWatch, every_night, night_command
from training.settings import Settings

PREAMBLE = """
import sys, time
from datetime import UTC, datetime, timedelta
sys.path.insert(0, {root!r})
from memory import Ledger, NightStatus
from training.lease import this_process
ledger, me = Ledger.open(__import__("pathlib").Path({home!r}) / "ledger.db"), this_process()
begun = lambda: ledger.begin_night(sys.argv[1], holder=me, at=datetime.now(UTC), ttl=timedelta(minutes=5))
"""
GOOD = """
begun()
print("it ran")
ledger.end_night(sys.argv[1], holder=me, status=NightStatus.NOTHING_TO_LEARN, reasons=["no"], at=datetime.now(UTC))
"""
DIES = "begun(); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
SLEEPS = "begun(); time.sleep(600)"


def now() -> datetime:
    """The real time."""
    return datetime.now(UTC)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger on disk, which other processes can open."""
    opened = Ledger.open(tmp_path / "ledger.db")
    yield opened
    opened.close()


def watch(home: Path, ledger: Ledger, script: str, *, bare: bool = False) -> NightWatch:
    """A watch whose night is a small script (`bare`: without a ledger)."""
    preamble = "" if bare else PREAMBLE.format(root=str(Path(__file__).parents[2]), home=str(home))
    return NightWatch(ledger, [sys.executable, "-c", preamble + script], home / "logs", clock=now, every=0.02)


def wait_for(true: Callable[[], object]) -> None:
    """Until `true()` is, or fail."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_it_runs_what_is_queued(tmp_path: Path, shared: Ledger) -> None:
    """A queued night is run in a process of its own, whose words go to a log."""
    watching = watch(tmp_path, shared, GOOD)
    watching.start()
    shared.request_night(night("n1", created_at=now()))
    wait_for(lambda: shared.night("n1").status is NightStatus.NOTHING_TO_LEARN)
    watching.stop()
    assert (tmp_path / "logs" / "night-n1.log").read_text() == "it ran\n"


def test_it_gets_over_a_disk_that_could_not_be_written(tmp_path: Path) -> None:
    """A server that was started without room to write runs nights as soon as there is."""
    seconds = [0.0]
    (tmp_path / "home").write_text("")
    ledger = Ledger.open(tmp_path / "home" / "ledger.db", clock=lambda: seconds[0])
    watching = watch(tmp_path / "home", ledger, GOOD)
    watching.look()
    (tmp_path / "home").unlink()
    seconds[0] = RETRY_SECONDS
    watching.start()
    wait_for(lambda: ledger.read_only is None)
    ledger.request_night(night("n1", created_at=now()))
    wait_for(lambda: ledger.night("n1").status is NightStatus.NOTHING_TO_LEARN)
    watching.stop()
    ledger.close()


def test_it_reaps_a_dead_night(tmp_path: Path, shared: Ledger) -> None:
    """A night whose process was killed is failed and resumable at once, not when its lease expires."""
    watching = watch(tmp_path, shared, DIES)
    watching.start()
    shared.request_night(night("n1", created_at=now()))
    wait_for(lambda: shared.night("n1").status is NightStatus.FAILED)
    watching.stop()
    assert shared.night("n1").resumable
    assert shared.lease() is None
    assert shared.request_night(night("n2", created_at=now())).id == "n1"


def test_stopping_stops_the_night(tmp_path: Path, shared: Ledger) -> None:
    """When the server ends its night ends too, to be resumed by the next."""
    watching = watch(tmp_path, shared, SLEEPS)
    watching.start()
    shared.request_night(night("n1", created_at=now()))
    wait_for(lambda: shared.night("n1").status is NightStatus.RUNNING)
    watching.stop()
    assert (shared.night("n1").status, shared.night("n1").resumable) == (NightStatus.FAILED, True)
    assert shared.lease() is None


def test_a_cancelled_night_is_stopped(tmp_path: Path, shared: Ledger) -> None:
    """Its process is ended at once, and the next night is another one."""
    watching = watch(tmp_path, shared, SLEEPS)
    watching.start()
    shared.request_night(night("n1", created_at=now()))
    wait_for(lambda: shared.night("n1").status is NightStatus.RUNNING)
    running = watching._running
    assert running is not None
    shared.cancel_night("n1", why="cancelled by Tess", at=now(), deed=Deed(now(), "Tess", "night cancelled"))
    wait_for(lambda: running[1].poll() is not None)
    watching.stop()
    assert list(shared.night("n1").reasons) == ["cancelled by Tess"]
    assert shared.request_night(night("n2", created_at=now())).id == "n2"


def test_it_gives_up_on_what_cannot_begin(tmp_path: Path, shared: Ledger) -> None:
    """A night whose process dies before it begins is tried a few times, then fails with a reason, not for ever."""
    watching = watch(tmp_path, shared, "print('no model'); raise SystemExit(3)", bare=True)
    watching.start()
    shared.request_night(night("n1", created_at=now()))
    wait_for(lambda: shared.night("n1").status is NightStatus.FAILED)
    watching.stop()
    (reason,) = shared.night("n1").reasons
    assert reason.startswith("its process ended with 3 before the night began: see ")
    assert (tmp_path / "logs" / "night-n1.log").read_text() == "no model\n" * TRIES
    assert shared.lease() is None


def test_it_leaves_a_night_to_who_was_faster(tmp_path: Path, shared: Ledger) -> None:
    """Where a command line has begun the queued night already, the watch does not end its lease."""
    shared.request_night(night("n1", created_at=now()))
    watching = watch(tmp_path, shared, "time.sleep(0.3)", bare=True)
    watching.look()
    shared.begin_night("n1", holder="the command line", at=now(), ttl=timedelta(minutes=5))
    process = watching._running
    assert process is not None
    process[1].wait()
    watching.look()
    lease = shared.lease()
    assert lease is not None
    assert lease.holder == "the command line"
    assert shared.night("n1").status is NightStatus.RUNNING


def test_one_night_at_a_time(tmp_path: Path, shared: Ledger) -> None:
    """While a night's process lives no second one is started, however often the watch looks."""
    watching = watch(tmp_path, shared, "time.sleep(600)", bare=True)
    shared.request_night(night("n1", created_at=now()))
    watching.look()
    first = watching._running
    watching.look()
    assert watching._running == first
    watching.stop()


def test_every_night_at_its_time() -> None:
    """The clock asks once a day at HH:MM, local time, and a night that was missed within the hour is made up."""
    asked: list[int] = []
    scheduler = every_night(lambda: asked.append(1), "03:45")
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        following = job.trigger.get_next_fire_time(None, datetime.now(scheduler.timezone))
        assert (following.hour, following.minute, following.second) == (3, 45, 0)
        assert following - datetime.now(scheduler.timezone) <= timedelta(hours=25)
        assert (job.misfire_grace_time, job.coalesce) == (3600, True)
        job.func()
        assert asked == [1]
    finally:
        scheduler.shutdown(wait=False)


def test_the_clock_follows_when_its_hour_is_changed() -> None:
    """Set, set anew, and taken away, without a restart."""
    hours: list[str | None] = [None]
    clock = NightClock(lambda: None, lambda: hours[0])

    def set_for() -> list[str]:
        clock.look()
        jobs = clock._clock[1].get_jobs() if clock._clock else []
        return [f"{job.next_run_time:%H:%M}" for job in jobs]

    assert set_for() == []
    clock.start()
    for hour in ("03:45", "04:00", None):
        hours[0] = hour
        assert set_for() == ([hour] if hour else [])
    clock.stop()


def test_a_refused_night_does_not_stop_the_clock(logged: io.StringIO) -> None:
    """When one runs already the clock logs a line and goes on."""

    def refuse() -> None:
        raise AlreadyRunning("somebody", "n1", now())

    scheduler = every_night(refuse, "00:00")
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        job.func()
    finally:
        scheduler.shutdown(wait=False)
    assert "no night at 00:00: night n1 is running, held by somebody" in logged.getvalue()


def test_the_command_of_a_night() -> None:
    """This very Python runs it, never the folder's own `app`, with the home and the model of the server."""
    command, environment = night_command(Settings(home=Path("/x"), model="/weights"))
    assert command == [sys.executable, "-P", "-m", "app", "--home", "/x", "nightly", "--night"]
    assert (environment["NIGHTSCHOOL_MODEL"], environment["NIGHTSCHOOL_MODELS_DIR"]) == ("/weights", "/x/models")
