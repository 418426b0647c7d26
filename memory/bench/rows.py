"""A million exchanges in the ledger and its lexicon: what one more costs, and what a search by words does.

Texts are synthetic: words drawn by Zipf's law, as in any language, so that a few are in most of the rows. The ledger is
the product's own, on disk, durable; rows come in bulk, and then one by one where their cost is measured.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from memory import lexicon
from memory.ledger import Ledger
from memory.records import BASE, Exchange, Rating

WORDS = 60_000
"""In the synthetic language."""
ASKED, LEAST, MOST = 8, 15, 60
"""Words of a question; fewest and most of an answer."""
BATCH = 2_000
ADDITIONS, SEARCHES = 100, 200
TERMS = 6
"""Words of a search, of one row."""
USERS = 20
"""Among whom all that is said. A search is for one of them, as prompts and HTTP search; or for anybody, as the command
line may."""
START = datetime(2024, 1, 1, tzinfo=UTC)


def grow(
    sizes: Sequence[int],
    folder: Path,
    *,
    effort: float = 1.0,
    progress: Callable[[float, str], None] = lambda share, told: None,
) -> Iterator[dict[str, Any]]:
    """At each size, milliseconds of the processor (and of the clock) for one exchange more, one correction more, and
    searches by words of a user's and of anybody's, and what the ledger takes on disk. `effort`: share of the usual ones
    that are measured.
    """
    ledger, texts, done = Ledger.open(folder / "ledger.db"), _texts(), 0
    additions, searches = max(1, round(ADDITIONS * effort)), max(1, round(SEARCHES * effort))
    for size in sizes:
        while done < size:
            step = min(BATCH, size - done)
            ledger.add_exchanges([_exchange(done + n, *text) for n, text in enumerate(islice(texts, step))])
            done += step
            progress(done / sizes[-1], f"{done:,} exchanges in the ledger")
        told = {"exchanges": done, "ledger_mb": round((folder / "ledger.db").stat().st_size / 2**20)}
        new = [_exchange(done + n, *text) for n, text in enumerate(islice(texts, additions))]
        stored = [_timed(ledger.add_exchange, exchange) for exchange in new]
        corrected = [_timed(ledger.rate, _correction(exchange), None) for exchange in new]
        done += additions
        asked = [(lexicon.terms(question), user) for question, user in _questions(ledger, done, searches)]
        found = [_timed(ledger.find_words, terms, limit=80, user=user) for terms, user in asked]
        anybodys = [_timed(ledger.find_words, terms, limit=80) for terms, _ in asked]
        written = _figures("stored", stored) | _figures("corrected", corrected)
        yield told | written | _figures("words", found) | _figures("anybodys", anybodys)
    ledger.close()


def _timed(work: Callable[..., object], *what: object, **more: object) -> tuple[float, float]:
    """Milliseconds of the processor, and of the clock."""
    at, used = perf_counter(), process_time()
    work(*what, **more)
    return 1000 * (process_time() - used), 1000 * (perf_counter() - at)


def _figures(name: str, times: Sequence[tuple[float, float]]) -> dict[str, float]:
    cpu, clock = np.asarray(times).T
    return {
        f"{name}_cpu_p50_ms": round(float(np.percentile(cpu, 50)), 2),
        f"{name}_cpu_p99_ms": round(float(np.percentile(cpu, 99)), 2),
        f"{name}_p50_ms": round(float(np.percentile(clock, 50)), 2),
    }


def _questions(ledger: Ledger, done: int, searches: int) -> Iterator[tuple[str, str]]:
    """Some words of a row each, and whose it is."""
    dice = random.Random(1)
    for seq in [dice.randint(1, done) for _ in range(searches)]:
        ((exchange, _),) = ledger.rated_exchanges([seq]).values()
        yield " ".join(dice.sample(f"{exchange.question} {exchange.answer}".split(), TERMS)), exchange.user


def _texts() -> Iterator[tuple[str, str]]:
    """(question, answer), without end and always the same."""
    rng = np.random.default_rng(0)
    shares = 1 / (np.arange(1, WORDS + 1) + 2.7)
    until = np.cumsum(shares / shares.sum())
    names = np.array(["".join(chr(97 + int(digit)) for digit in f"{n:05}") for n in range(WORDS)])
    while True:
        lengths = rng.integers(LEAST, MOST, size=BATCH)
        drawn = names[np.searchsorted(until, rng.random(int(lengths.sum()) + ASKED * BATCH)).clip(max=WORDS - 1)]
        at = 0
        for length in lengths:
            yield " ".join(drawn[at : at + ASKED]), " ".join(drawn[at + ASKED : at + ASKED + length])
            at += ASKED + length


def _exchange(number: int, question: str, answer: str) -> Exchange:
    return Exchange(
        id=f"e{number}",
        conversation_id=f"c{number // 4}",
        parent_id=None,
        user=f"u{number // 4 % USERS}",
        created_at=START + timedelta(minutes=number),
        question=question,
        answer=answer,
        history=[],
        prompt=[{"role": "user", "content": question}],
        model_id="none",
        adapter=BASE,
        adapter_sha256=None,
        recollections=[],
        sampling={},
        timings={},
        finish_reason="stop",
        signature="",
    )


def _correction(exchange: Exchange) -> Rating:
    return Rating(f"{exchange.id}-r", exchange.id, START, -1, [], "", "another answer altogether")
