"""A night in a process of its own, for a test to kill: `python night_process.py HOME NIGHT STAGE CANDIDATES`.

It prints the stage's name once it is in the middle of it, and waits there for ever, its lease alive. `placed` is the
instant between the new adapter's files and the last transaction.
"""

from __future__ import annotations

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


def wait_to_be_killed(where: str) -> None:
    """Say where we are."""
    print(where, flush=True)  # noqa: T201 - the test waits for this line
    time.sleep(600)


class SlowLedger(Ledger):
    """A ledger that never comes to the last transaction."""

    def end_night(self, night_id: str, **_: Any) -> Any:
        wait_to_be_killed("placed")


def main(home: Path, night_id: str, stage: str, candidates: int) -> None:
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
