"""Who starts nights while the server runs: a watch over the ledger, and a clock.

A night is a process of its own, so that it can't slow a turn by more than its share of the cores, and so that its
death is nobody else's. "Learn now" is a queued row in the ledger; whoever put it there, the watch finds it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler

from memory.errors import AlreadyRunning, NightschoolError, NotRemembered
from memory.ledger import Ledger
from memory.records import NightStatus
from training.lease import process_name
from training.settings import Settings

log = logging.getLogger(__name__)

TRIES = 3
"""How often a night's process is started that dies before the night begins."""


class NightWatch:
    """Starts queued nights, one at a time, and notices when one dies.

    Args:
        command: the command that runs a night; its id is put behind.
        logs: folder for what the nights print.
        environment: of the nights' processes; None: this one's.
        every: seconds between two looks at the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        command: Sequence[str],
        logs: Path,
        *,
        clock: Callable[[], datetime],
        environment: Mapping[str, str] | None = None,
        every: float = 1.0,
    ) -> None:
        self._ledger, self._command, self._logs = ledger, list(command), logs
        self._environment = environment
        self._clock, self._every = clock, every
        self._running: tuple[str, subprocess.Popen[bytes]] | None = None
        self._tried: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="night watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and the night as well; it is resumed by the next."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._running is not None:
            night_id, process = self._running
            process.terminate()
            process.wait()
            self._abandon(night_id, process)

    def look(self) -> None:
        """One look: reap what died, start what waits. While nothing can be written no night can begin or end."""
        if not self._ledger.writable():
            return
        if self._running is not None:
            night_id, process = self._running
            if process.poll() is None:
                if self._ledger.night(night_id).status is NightStatus.CANCELLED:
                    process.terminate()
                return
            self._running = None
            self._abandon(night_id, process)
            if self._ledger.night(night_id).status is not NightStatus.QUEUED:
                del self._tried[night_id]
            elif self._tried[night_id] >= TRIES:
                del self._tried[night_id]
                self._give_up(night_id, process.returncode)
        nights = self._ledger.nights(limit=10)
        if any(night.status is NightStatus.RUNNING for night in nights):
            # Not ours: somebody's command, or one whose server died with it.
            self._ledger.reap_nights(at=self._clock())
            return
        for night in nights:
            if night.status is NightStatus.QUEUED:
                self._start(night.id)
                return

    def _abandon(self, night_id: str, process: subprocess.Popen[bytes]) -> None:
        """End the lease that a dead process left. Somebody else may hold the night: a command line was faster."""
        lease = self._ledger.lease()
        if lease is not None and lease.holder == process_name(process.pid):
            self._ledger.abandon_lease(night_id, at=self._clock())

    def _give_up(self, night_id: str, code: int) -> None:
        """End a night whose process can't even begin it, so that the page shows why, rather than try for ever."""
        at, holder = self._clock(), "the night watch"
        why = f"its process ended with {code} before the night began: see {self._log_of(night_id)}"
        self._ledger.begin_night(night_id, holder=holder, at=at, ttl=timedelta(seconds=30))
        self._ledger.end_night(night_id, holder=holder, status=NightStatus.FAILED, reasons=[why], at=at)

    def _log_of(self, night_id: str) -> Path:
        return self._logs / f"night-{night_id}.log"

    def _start(self, night_id: str) -> None:
        self._tried[night_id] += 1
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log_of(night_id).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command with an id of our own
                [*self._command, night_id],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
            )
        self._running = (night_id, process)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            except (NightschoolError, OSError) as error:
                log.warning("the night watch can't go on for now: %s", error)


def every_night(request: Callable[[], object], at: str) -> BackgroundScheduler:
    """Ask for a night every day at `at` (HH:MM, local time). Start and shut down what is returned."""
    hour, minute = at.split(":")

    def ask() -> None:
        try:
            request()
        except (AlreadyRunning, NotRemembered) as error:
            log.warning("no night at %s: %s", at, error)

    scheduler = BackgroundScheduler()
    scheduler.add_job(ask, "cron", hour=int(hour), minute=int(minute), misfire_grace_time=3600, coalesce=True)
    return scheduler


class NightClock:
    """A clock whose hour can be changed while it runs.

    Args:
        request: asks for a night.
        at: HH:MM as it is set now, or None for no clock.
        every: seconds between two looks at it.
    """

    def __init__(self, request: Callable[[], object], at: Callable[[], str | None], *, every: float = 5.0) -> None:
        self._request, self._at, self._every = request, at, every
        self._clock: tuple[str, BackgroundScheduler] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="night clock", daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._set(None)

    def look(self) -> None:
        """Set the clock anew where its hour was changed."""
        at = self._at()
        if at != (self._clock[0] if self._clock else None):
            self._set(at)

    def _set(self, at: str | None) -> None:
        if self._clock:
            self._clock[1].shutdown(wait=False)
        self._clock = (at, every_night(self._request, at)) if at else None
        if self._clock:
            self._clock[1].start()

    def _follow(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            except NightschoolError as error:
                log.warning("the hour of the night can't be read for now: %s", error)


def night_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The command line of a night in a process of its own, and its environment.

    What the server was told on its own command line holds for the night as well: the same home, the same model.
    """
    # -P: never the `app` or `memory` of the folder that the server was started in.
    command = [sys.executable, "-P", "-m", "app", "--home", str(settings.home), "nightly", "--night"]
    environment = os.environ | {
        "NIGHTSCHOOL_MODEL": settings.model,
        "NIGHTSCHOOL_MODELS_DIR": str(settings.models),
    }
    return command, environment
