"""Two processes that write one ledger and one index, of which one is killed in the midst, again and again.

Whatever was acknowledged (its transaction had returned) must be in the ledger, and after a start the index must hold
the two vectors of every exchange in the ledger, and no other.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import Marks
from memory.testing import HashingEmbedder, exchange


def survive(rounds: int, *, progress: Callable[[float, str], None] = lambda share, told: None) -> dict[str, Any]:
    """Rounds of two writers each; what was acknowledged, lost, and where the index did not equal the ledger."""
    dice = random.Random(0)
    acknowledged: set[str] = set()
    unequal = 0
    with tempfile.TemporaryDirectory(prefix="nightschool-kill-") as made:
        home = Path(made)
        Ledger.open(home / "ledger.db").close()
        for number in range(rounds):
            acknowledged |= _round(home, number, dice.uniform(0.05, 0.6))
            unequal += not _equal(home)
            progress((number + 1) / rounds, f"{len(acknowledged)} acknowledged")
        ledger = Ledger.open(home / "ledger.db")
        stored = {exchange.id for exchange, _ in ledger.rated_exchanges(range(1, ledger.last_seq() + 1)).values()}
        ledger.close()
    return {
        "rounds": rounds,
        "acknowledged": len(acknowledged),
        "in the ledger": len(stored),
        "acknowledged and lost": len(acknowledged - stored),
        "rounds in which the index was not the ledger": unequal,
    }


def write(home: Path, name: str) -> None:
    """Write and remember exchanges until killed; each is printed once it is acknowledged."""
    ledger = Ledger.open(home / "ledger.db")
    memory = Memory(ledger, HashingEmbedder(), home / "index", min_score=0.5)
    number = 0
    while True:
        number += 1
        one = exchange(f"{name}-{number}", conversation_id=name, question=f"question {name} {number}")
        ledger.add_exchange(one)
        sys.stdout.write(f"{one.id}\n")
        sys.stdout.flush()
        memory.remember()


def _round(home: Path, number: int, seconds: float) -> set[str]:
    """Both write; one is killed after so many seconds of writing, the other a little later."""
    command = [sys.executable, "-m", "memory.bench.crash", str(home)]
    writers = [
        subprocess.Popen([*command, f"r{number}{which}"], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
        for which in "ab"
    ]
    told: set[str] = set()
    for writer in writers:
        assert writer.stdout is not None  # noqa: S101 - it is piped
        told.add(writer.stdout.readline().strip())
    time.sleep(seconds)
    for writer in writers:
        writer.kill()
        told |= {line.strip() for line in writer.communicate()[0].splitlines() if line.strip()}
        time.sleep(0.02)
    return told - {""}


def _equal(home: Path) -> bool:
    """Whether, after a start, the index holds what the ledger does: each place, with the vector of its text."""
    ledger, embedder = Ledger.open(home / "ledger.db"), HashingEmbedder()
    memory = Memory(ledger, embedder, home / "index", min_score=0.5)
    memory.refresh()
    texts, _ = ledger.written_after(Marks(), limit=10**9)
    held = memory.contents()
    ledger.close()
    if memory.rebuilt not in (None, "manifest.json is missing") or set(held) != {place for place, _ in texts}:
        return False
    vectors = embedder.embed([text for _, text in texts])
    return all(abs(float(held[place] @ vector) - 1) < 1e-4 for (place, _), vector in zip(texts, vectors, strict=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
