"""Nights in processes of their own, for a test to kill: `python night_process.py` forks one for each line it reads.

A line is JSON: home, night, stage, candidates. The night prints its process's id and the stage's name once it is in the
middle of it, and waits there for ever, its lease alive; `placed` is the instant between the new adapter's files and the
last transaction. Once that process is dead a line says `gone`. Importing is most of what a night so small costs: it is
done once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory.ledger import Ledger
from training.nightly import run
from training.settings import NightSettings
from training.testing import school

WORDY = ("before", "replay", "train", "after", "candidates")
"""Stages in which the teacher works: they are interrupted at its second word."""


def tell_test(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait_to_be_killed(where: str) -> None:
    """Say who and where we are."""
    tell_test(f"{os.getpid()} {where}")
    time.sleep(600)


class SlowLedger(Ledger):
    """A ledger that never comes to the last transaction."""

    def end_night(self, night_id: str, **_: Any) -> Any:
        wait_to_be_killed("placed")


def night(home: Path, night_id: str, stage: str, candidates: int) -> None:
    """Run the night up to `stage`."""
    words = 0

    def tell(now: str, share: float, detail: str) -> None:
        nonlocal words
        if now == stage:
            words += 1
            if words > (2 if stage in WORDY else 0):
                wait_to_be_killed(stage)

    ledger = (SlowLedger if stage == "placed" else Ledger).open(home / "ledger.db")
    made = school(
        home,
        ledger,
        settings=NightSettings(lease_seconds=1.0, candidates=candidates),
        clock=lambda: datetime.now(UTC),
        holder="the killed one",
        tell=tell,
    )
    run(made, night_id, seed=0)


def main() -> None:
    """One night after another, until there are no more lines."""
    for line in sys.stdin:
        home, *which = json.loads(line)
        process = os.fork()
        if process == 0:
            night(Path(home), *which)
            return
        os.waitpid(process, 0)
        tell_test("gone")


if __name__ == "__main__":
    main()
