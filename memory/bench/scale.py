"""A million exchanges: how long a search takes, what the index finds, what it costs to hold, to start, and to add one.

Vectors are synthetic, around real ones where some are given: to embed a million texts would take days on two cores.
Each is a real one with noise, so that what is around the same one has cosines of about 0.6, as questions about one
thing have. The index is the product's own, and so is the way it grows: batches are put, and it is folded when it has to
be.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from memory.bench import rows as stored
from memory.embedder import Vectors
from memory.records import Marks

DIMENSIONS = 384
CENTRES = 5_000
"""Random ones, where no real ones are given."""
NOISE = 0.8
"""Length of the noise beside a centre of length 1: cos(centre, vector) is 0.78, and of two of one topic 0.61."""
BATCH = 2_000
QUERIES = 1_000
UNFOLDED = 200
"""One in so many is still beside the base when it is measured."""
ADDITIONS = 200
"""Single exchanges whose cost is measured, at each size."""


class Synthetic:
    """An embedder's name for vectors that no text made."""

    name, dimensions, path = "synthetic-384", DIMENSIONS, None


def grow(
    exchanges: int,
    *,
    around: Vectors | None = None,
    folder: Path | None = None,
    effort: float = 1.0,
    progress: Callable[[float, str], None] = lambda share, told: None,
) -> list[dict[str, Any]]:
    """A row of figures of the index at 1,000 exchanges, at each ten times more, and at `exchanges` (two vectors each);
    then as many rows of the ledger with its lexicon, see `memory.bench.rows`.

    Args:
        around: real vectors of shape (any, 384).
        folder: where the index is left; None: nowhere.
        effort: share of the usual additions and searches that are measured, where figures need not be exact.
    """
    from memory.vectors import VectorIndex

    with tempfile.TemporaryDirectory(prefix="nightschool-scale-") as made:
        home = folder or Path(made)
        home.mkdir(parents=True, exist_ok=True)
        centres = around if around is not None else np.random.default_rng(0).normal(size=(CENTRES, DIMENSIONS))
        np.save(home / "centres.npy", _unit(centres.astype(np.float32)))
        index, source = VectorIndex.create(home / "index", Synthetic()), _Source(home)  # type: ignore[arg-type]
        rows: list[dict[str, Any]] = []
        done, additions = 0, _additions(effort)
        for size in _sizes(exchanges):
            while done < size:
                step = min(BATCH, size - done)
                _put(index, done, source.vectors(2 * step))
                done += step
                # What came last lies beside the base, as it does most of the time: half of what may.
                if index.must_fold or done - step < size - size // UNFOLDED <= done:
                    index.fold()
                progress(done / exchanges / 2, f"{done:,} exchanges, {index.kind}")
            rows.append({"exchanges": done, "base": index.kind} | _cost_of_one_more(index, done, source, additions))
            done += additions
            progress(done / exchanges / 2, "searching")
            rows[-1] |= _searched(home, done, effort)

        def later(share: float, told: str) -> None:
            progress(0.5 + share / 2, told)

        return [*rows, *stored.grow(_sizes(exchanges), home, effort=effort, progress=later)]


def _additions(effort: float) -> int:
    return max(1, round(ADDITIONS * effort))


def _searched(home: Path, done: int, effort: float) -> dict[str, float]:
    command = [sys.executable, "-m", "memory.bench.scale", str(home), str(done), str(effort)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own
    return dict(zip(told.split()[::2], map(float, told.split()[1::2]), strict=True))


def _sizes(exchanges: int) -> list[int]:
    return sorted({size for size in (1_000, 10_000, 100_000) if size < exchanges} | {exchanges})


def search_anew(home: Path, done: int, effort: float = 1.0) -> dict[str, float]:
    """In a process of its own: seconds to open, milliseconds of a search, recall@10 of exact search, MB resident."""
    from memory.vectors import VectorIndex

    began = perf_counter()
    index = VectorIndex.open(home / "index", Synthetic())  # type: ignore[arg-type]
    queries = _Source(home).queries(max(2, round(QUERIES * effort)))
    index.search(queries[0], 10)
    started = perf_counter() - began
    for query in queries[: len(queries) // 2]:
        index.search(query, 10)
    times, cpu, found = [], [], []
    for query in queries:
        at, used = perf_counter(), process_time()
        hits = index.search(query, 10)
        times.append(1000 * (perf_counter() - at))
        cpu.append(1000 * (process_time() - used))
        found.append({place for place, _ in hits})
    resident = _resident_mb()
    exact = _exact(home, queries[:200], done, _additions(effort))
    shares = [len(one & best) / 10 for one, best in zip(found, exact, strict=False)]
    return {
        "start_s": round(started, 2),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "cpu_p50_ms": round(float(np.percentile(cpu, 50)), 2),
        "cpu_p99_ms": round(float(np.percentile(cpu, 99)), 2),
        "recall@10": round(float(np.mean(shares)), 4),
        "resident_mb": round(resident),
    }


class _Source:
    """The same vectors again, in the same order, from the same seed."""

    def __init__(self, home: Path) -> None:
        self._centres = np.load(home / "centres.npy")
        self._random = np.random.default_rng(1)

    def vectors(self, count: int) -> Vectors:
        return self._near(self._random, count)

    def queries(self, count: int) -> Vectors:
        return self._near(np.random.default_rng(2), count)

    def _near(self, random: np.random.Generator, count: int) -> Vectors:
        noise = _unit(random.normal(size=(count, DIMENSIONS)).astype(np.float32))
        return _unit(self._centres[random.integers(len(self._centres), size=count)] + NOISE * noise)


def _put(index: Any, done: int, rows: Vectors) -> None:
    with index.exclusive():
        index.sync()
        first = 4 * (done + 1)
        places = [first + 4 * (n // 2) + n % 2 for n in range(len(rows))]
        index.put(places, rows, Marks(exchanges=done + len(rows) // 2))


def _cost_of_one_more(index: Any, done: int, source: _Source, additions: int) -> dict[str, float]:
    """Milliseconds to put one exchange, durable: the median, and of the processor alone; with a search beside."""
    times, cpu = [], []
    for n in range(additions):
        rows = source.vectors(2)
        at, used = perf_counter(), process_time()
        _put(index, done + n, rows)
        times.append(1000 * (perf_counter() - at))
        cpu.append(1000 * (process_time() - used))
    return {"one_more_ms": round(float(np.median(times)), 2), "one_more_cpu_ms": round(float(np.median(cpu)), 2)}


def _exact(home: Path, queries: Vectors, done: int, additions: int) -> list[set[int]]:
    """The ten nearest of each query among all, compared with one by one."""
    source = _Source(home)
    best = np.full((len(queries), 10), -2.0, dtype=np.float32)
    where = np.zeros((len(queries), 10), dtype=np.int64)
    at = 0
    for step in _steps(done, additions):
        rows = source.vectors(2 * step)
        places = np.asarray([4 * (at + 1) + 4 * (n // 2) + n % 2 for n in range(len(rows))])
        scores = np.concatenate([best, queries @ rows.T], axis=1)
        held = np.concatenate([where, np.broadcast_to(places, (len(queries), len(places)))], axis=1)
        order = np.argpartition(-scores, 10, axis=1)[:, :10]
        best, where = np.take_along_axis(scores, order, 1), np.take_along_axis(held, order, 1)
        at += step
    return [set(row.tolist()) for row in where]


def _steps(done: int, additions: int) -> list[int]:
    """The very batches in which `grow` drew its vectors: what is random depends on them."""
    steps: list[int] = []
    at = 0
    for size in _sizes(done - additions):
        while at < size:
            steps.append(min(BATCH, size - at))
            at += steps[-1]
        steps += [1] * additions
        at += additions
    return steps


def _unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _resident_mb() -> float:
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    figures = search_anew(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write(" ".join(f"{name} {value}" for name, value in figures.items()))
