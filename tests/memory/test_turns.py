"""Who writes a database takes a turn, where its SQLite needs that."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from memory import NotRemembered
from memory.ledger import Ledger
from memory.testing import exchange
from memory.turns import Turns, needs_turns


@pytest.mark.parametrize(
    ("version", "needed"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 54, 0), False),
    ],
)
def test_which_sqlite_needs_them(version: tuple[int, int, int], needed: bool) -> None:
    """Those that sqlite.org names."""
    assert needs_turns(version) is needed


def test_threads_and_processes_wait_for_each_other(tmp_path: Path) -> None:
    """For so long, and no longer; afterwards there is a turn for everybody."""
    path = tmp_path / "ledger.db"
    one, other = Turns(path), Turns(path)
    with one.taken(1):
        told: list[str] = []

        def ask() -> None:
            for turns in (one, other):
                try:
                    with turns.taken(0.05):
                        told.append("taken")
                except TimeoutError as error:
                    told.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert told == ["another thread writes", "another process writes"]
    with other.taken(1), pytest.raises(TimeoutError), one.taken(0.01):
        pass
    with one.taken(0.01):
        pass


def test_nobody_holds_a_turn_for_having_been_killed(tmp_path: Path) -> None:
    """The system gives it back."""
    hold = (
        "import sys, time; from pathlib import Path; from memory.turns import Turns\n"
        "with Turns(Path(sys.argv[1])).taken(1): print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "ledger.db"
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError, match="another process"), Turns(path).taken(0.05):
            pass
        holder.kill()
    with Turns(path).taken(1):
        pass


def test_without_a_path_or_a_place_for_the_lock_nobody_waits(tmp_path: Path) -> None:
    """What is wrong with the folder SQLite tells."""
    for path in (None, tmp_path / "nowhere" / "ledger.db"):
        one = Turns(path)
        with one.taken(0.01):
            pass


def test_a_ledger_writes_in_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another has it, a write waits and then says so; reading does not wait."""
    ledger = Ledger.open(tmp_path / "ledger.db")
    ledger._turns = Turns(tmp_path / "ledger.db")
    monkeypatch.setattr("memory.database.BUSY_SECONDS", 0.05)
    ledger.add_exchange(exchange("e1"))
    with Turns(tmp_path / "ledger.db").taken(1):
        with pytest.raises(NotRemembered, match="another process writes"):
            ledger.add_exchange(exchange("e2"))
        assert ledger.count_exchanges() == 1
    ledger.add_exchange(exchange("e2"))
    ledger.close()
