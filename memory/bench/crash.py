"""Two processes that write one ledger and one index, of which one is killed in the midst, again and again.

Both add exchanges, replace one and the same document, and forget now and then what they wrote just before. Whatever was
acknowledged (its transaction had returned) must be in the ledger, and after a start the index must hold the vectors of
every exchange and passage in the ledger, and no other.
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

from memory.documents import Library
from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import Marks
from memory.testing import Clock, HashingEmbedder, exchange

REPLACES, FORGETS = 2, 3
"""Every how many exchanges a writer replaces the document, or forgets the exchange."""


def survive(rounds: int, *, progress: Callable[[float, str], None] = lambda share, told: None) -> dict[str, Any]:
    """Rounds of two writers each; what was acknowledged, lost, and where the index did not equal the ledger."""
    dice = random.Random(0)
    acknowledged: set[str] = set()
    unequal = forgotten = 0
    with tempfile.TemporaryDirectory(prefix="nightschool-kill-") as made:
        home = Path(made)
        Ledger.open(home / "ledger.db").close()
        for number in range(rounds):
            told, gone = _round(home, number, dice.uniform(0.05, 0.6))
            acknowledged |= told
            forgotten += gone
            unequal += not _equal(home)
            progress((number + 1) / rounds, f"{len(acknowledged)} acknowledged")
        ledger = Ledger.open(home / "ledger.db")
        stored = {exchange.id for exchange, _ in ledger.rated_exchanges(range(1, ledger.last_seq() + 1)).values()}
        ledger.close()
    return {
        "rounds": rounds,
        "acknowledged": len(acknowledged),
        "in the ledger": len(stored),
        "forgotten, or being so when killed": forgotten,
        "acknowledged and lost": len(acknowledged - stored),
        "rounds in which the index was not the ledger": unequal,
    }


def write(home: Path, name: str) -> None:
    """Write and remember until killed. Each exchange is printed once it is acknowledged, and, behind a minus, before it
    is forgotten.
    """
    ledger = Ledger.open(home / "ledger.db")
    memory = Memory(ledger, HashingEmbedder(), home / "index", min_score=0.5)
    written = home / name / "shared.txt"
    written.parent.mkdir()
    number = 0

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    library = Library(ledger, memory, Clock(), lambda: f"{name}-{number}")
    while True:
        number += 1
        one = exchange(f"{name}-{number}", conversation_id=name, question=f"question {name} {number}")
        ledger.add_exchange(one)
        tell(one.id)
        if number % REPLACES == 0:
            written.write_text(f"text {name} {number}")
            library.add(written)
        if number % FORGETS == 0:
            tell(f"-{one.id}")
            ledger.forget(ledger.to_forget(exchange=one.id), lambda prompt, answer: "")
        memory.remember()


def _round(home: Path, number: int, seconds: float) -> tuple[set[str], int]:
    """Both write; one is killed after so many seconds of writing, the other a little later. What was acknowledged and
    not to be forgotten; how many were.
    """
    command = [sys.executable, "-m", "memory.bench.crash", str(home)]
    writers = [
        subprocess.Popen([*command, f"r{number}{which}"], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
        for which in "ab"
    ]
    lines: set[str] = set()
    for writer in writers:
        assert writer.stdout is not None  # noqa: S101 - it is piped
        lines.add(writer.stdout.readline().strip())
    time.sleep(seconds)
    for writer in writers:
        writer.kill()
        lines |= {line.strip() for line in writer.communicate()[0].splitlines()}
        time.sleep(0.02)
    gone = {line[1:] for line in lines if line.startswith("-")}
    return {line for line in lines - gone if line and not line.startswith("-")}, len(gone)


def _equal(home: Path) -> bool:
    """Whether, after a start, the index holds what the ledger does: each place, with the vector of its text."""
    ledger, embedder = Ledger.open(home / "ledger.db"), HashingEmbedder()
    memory = Memory(ledger, embedder, home / "index", min_score=0.5)
    memory.refresh()
    texts, marks = dict[int, str](), Marks()
    while marks != ledger.marks():
        some, marks = ledger.written_after(marks, limit=10**9)
        texts |= dict(some)
    held = memory.contents()
    ledger.close()
    if memory.rebuilt not in (None, "manifest.json is missing") or set(held) != set(texts):
        return False
    vectors = embedder.embed(list(texts.values()))
    return all(abs(float(held[place] @ vector) - 1) < 1e-4 for place, vector in zip(texts, vectors, strict=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
