"""Keeping an index level with the ledger: at once where that takes a moment, else beside everything else.

What is new is embedded in small slices, and no lock is held meanwhile: who asks goes first, and finds what there is.
An index that another embedder made goes on serving, with that embedder where it can still be had, while one of the new
embedder is made beside it; both are durable slice by slice, so whoever is killed goes on from there.

What somebody had forgotten while it was embedded is not put in, and what of the forgotten an index still holds (its
lock was held, or a process was killed over it) is removed with the next look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memory.errors import IndexUnusable, NightschoolError
from memory.ledger import Ledger
from memory.places import Part, seq_of
from memory.records import Marks

if TYPE_CHECKING:
    from memory.bits import Bits
    from memory.embedder import Embedder, Vectors
    from memory.vectors import VectorIndex

SLICE = 8
"""Rows that are taken in at once while others may ask: twice as many texts, a quarter of a second of one core."""
BATCH = 256
"""The same where somebody waits for all of it."""
PATIENCE = 1.0
"""Seconds that who asks waits for what is new to be taken in; what is left then is taken in beside it."""
PAUSE = 0.05
"""Seconds for which what is taken in beside waits for who takes in himself."""
NEXT = "next"
"""The folder, in the index's, in which the index of a new embedder is made while the old one serves."""

Progress = Callable[[int, int], None]
"""Called with (exchanges in the index, exchanges in all) after each batch."""


class Keeper:
    """One index of one embedder, and the ledger that it follows. Safe to use from several threads and processes.

    Args:
        folder: where the index is kept between runs; None keeps it in memory only.
        patience: see `PATIENCE`.
        leaving: whether its embedder is one that is being left: then it never makes an index anew.
    """

    def __init__(
        self,
        ledger: Ledger,
        embedder: Embedder,
        folder: Path | None,
        *,
        patience: float = PATIENCE,
        leaving: bool = False,
    ) -> None:
        self.embedder, self.folder = embedder, folder
        self._ledger, self._patience, self._leaving = ledger, patience, leaving
        self.lock = threading.RLock()
        self._filling = threading.Lock()
        self._asking, self._asked = 0, threading.Condition()
        self._index: VectorIndex | None = None
        self._stop = threading.Event()
        self._beside: threading.Thread | None = None
        self._folding: threading.Thread | None = None
        self.rebuilt: str | None = None
        """Why the index was last built anew from the ledger, or None."""

    # ------------------------------------------------------------------ asking

    @property
    def index(self) -> VectorIndex | None:
        """As far as it is loaded; to be touched under `lock`."""
        return self._index

    def embed(self, texts: Sequence[str]) -> Vectors:
        """For who asks: what is taken in beside waits meanwhile."""
        with self._asked:
            self._asking += 1
        try:
            return self.embedder.embed(texts)
        finally:
            with self._asked:
                self._asking -= 1
                self._asked.notify_all()

    def near(self, vector: Vectors, k: int, among: Bits | None = None) -> list[tuple[int, float]]:
        """(place, cosine) of the `k` nearest (of those places), of what is taken in so far."""
        with self.lock:
            return self._index.search(vector, k, among) if self._index else []

    @property
    def marks(self) -> Marks:
        """How far in the ledger the index reaches."""
        return self._index.marks if self._index else Marks()

    @property
    def size(self) -> int:
        """Vectors in the index, as far as it is loaded."""
        return len(self._index) if self._index else 0

    @property
    def behind(self) -> int:
        """About how many rows of the ledger are still to be taken in."""
        return _distance(self.marks, self._ledger.marks())

    # ------------------------------------------------------------------ taking in

    def level(self) -> bool:
        """Take in what is new, for as long as patience lasts; the rest beside. False where there is nothing at all."""
        if self._nothing():
            return False
        if not self._fill(until=time.monotonic() + self._patience):
            self._go_on_beside()
        return True

    def level_fully(self, progress: Progress | None = None) -> None:
        """Take in all that is new, however long it takes."""
        if not self._nothing():
            self._fill(until=None, progress=progress)

    def build(self, why: str, progress: Progress | None = None) -> None:
        """Make the index anew from the ledger."""
        from memory.vectors import VectorIndex

        with self.lock:
            self.rebuilt = why
            self._index = VectorIndex.create(self.folder, self.embedder)
        self.level_fully(progress)

    def _nothing(self) -> bool:
        """Whether there is nothing to recall: that needs no weights."""
        with self.lock:
            empty = self._index is None and not (self.folder and self.folder.exists())
        return empty and self._ledger.marks() == Marks()

    def _fill(self, *, until: float | None, progress: Progress | None = None) -> bool:
        """Slice by slice, up to a time. Returns whether the index is level then."""
        total, done = (self._ledger.count_exchanges(), 0) if progress else (0, 0)
        while True:
            left = -1.0 if until is None else max(0.0, until - time.monotonic())
            if not self._filling.acquire(timeout=left):
                return False
            try:
                taken = self._take_some(SLICE if until is not None else BATCH)
            finally:
                self._filling.release()
            if taken is None:
                return True
            done += taken
            if progress and taken:
                progress(done, max(done, total))
            if self._stop.is_set() or (until is not None and time.monotonic() >= until):
                return False

    def _take_some(self, most: int) -> int | None:
        """Take in so many rows at most. Returns how many exchanges that were; None where nothing was left."""
        with self.lock:
            index, reaches = self._ready()
            since = index.marks
            if since == reaches:
                # As nearly always: then this is all that a question costs.
                return None
            texts, reach = self._ledger.written_after(since, limit=most)
            if not texts and reach == since:
                return None
        vectors = self.embedder.embed([text for _, text in texts])
        with self.lock, index.exclusive():
            if self._index is not index or not index.sync() or index.marks != since:
                # Another process has made a new one, or has taken this in itself.
                return 0
            there = self._ledger.still_there([place for place, _ in texts])
            kept = [n for n, (place, _) in enumerate(texts) if place in there]
            index.put([texts[n][0] for n in kept], vectors[kept], reach, self._ledger.landmarks(reach))
        if index.must_fold:
            if self._folding is not None:
                self._folding.join()
            if index.must_fold:
                index.fold(self.lock)
        elif index.wants_folding and (self._folding is None or not self._folding.is_alive()):
            self._folding = threading.Thread(target=index.fold, args=(self.lock,), name="fold", daemon=True)
            self._folding.start()
        return sum(1 for place, _ in texts if seq_of(place)[1] is Part.QUESTION)

    def _ready(self) -> tuple[VectorIndex, Marks]:
        """The index as it is now, without what was forgotten, and how far the ledger reaches."""
        from memory.vectors import VectorIndex

        if self._index is None:
            self._index = self._open()
        if not self._index.sync():
            self._index = self._open()
        # What could not be written before, perhaps because another process held the lock, may be now.
        self._index.save()
        reaches = self._ledger.marks()
        if _ahead(self._index.marks, reaches):
            self.rebuilt = "it is ahead of the ledger"
            self._index = VectorIndex.create(self.folder, self.embedder)
        return self._index, reaches

    def _open(self) -> VectorIndex:
        # Here, not above: FAISS is loaded by those who recall.
        from memory.vectors import VectorIndex

        if self.folder is not None:
            try:
                found = VectorIndex.open(self.folder, self.embedder)
                if self._ledger.contradicts(found.landmarks):
                    # A copy of the ledger was put in its place, and written on: the numbers mean other texts now.
                    raise IndexUnusable(self.folder, "it was made of another ledger, or of a newer copy of it")
                return found
            except IndexUnusable as error:
                if self._leaving:
                    raise
                self.rebuilt = error.reason
        return VectorIndex.create(self.folder, self.embedder)

    def _go_on_beside(self) -> None:
        with self.lock:
            if self._beside is None or not self._beside.is_alive():
                self._beside = threading.Thread(target=self._fill_beside, name="embedding", daemon=True)
                self._beside.start()

    def _fill_beside(self) -> None:
        level = False
        while not level and not self._stop.is_set():
            with self._asked:
                while self._asking:
                    self._asked.wait(1.0)
            try:
                # One slice at a time.
                level = self._fill(until=time.monotonic() + PAUSE)
            except (NightschoolError, OSError):
                # Whoever asks next meets it too, and is told; then it is tried again.
                return

    # ------------------------------------------------------------------ another embedder

    def move_into(self, folder: Path, *, unless: Callable[[], bool]) -> bool:
        """Take in everything, and put this index into the place of the one in `folder`. Goes on where an earlier try
        was ended. False where it was not brought to its end: `unless` became true, or another process holds a lock.
        """
        level = False
        while not level:
            if unless():
                return False
            level = self._fill(until=time.monotonic() + PAUSE)
        with self.lock:
            if self._index is None or not self._index.move_into(folder):
                return False
            self.folder, self._index = folder, None
            return True

    # ------------------------------------------------------------------ forgetting, and the end

    def forget(self, places: Sequence[int]) -> bool:
        """Remove what was embedded of these places, from the files too; no embedder is needed for it. False where
        another process holds the lock.
        """
        from memory import vectors

        with self.lock:
            if self._index is None:
                return self.folder is None or vectors.forget(self.folder, places)
            try:
                return self._index.remove(places)
            except IndexUnusable:
                self._index = None
                return self.folder is None or vectors.forget(self.folder, places)

    def save(self) -> None:
        """Wait for what is just being made, and write what could not be written so far; see `not_saved`."""
        self._stop.set()
        for thread in (self._beside, self._folding):
            if thread is not None:
                thread.join()
        self._stop.clear()
        with self.lock:
            if self._index is not None:
                self._index.save()

    def wait(self) -> None:
        """Wait until all is taken in that is being taken in beside."""
        if self._beside is not None:
            self._beside.join()


def _ahead(marks: Marks, of: Marks) -> bool:
    return marks.exchanges > of.exchanges or marks.ratings > of.ratings or marks.passages > of.passages


def _distance(marks: Marks, to: Marks) -> int:
    return max(0, to.exchanges - marks.exchanges) + max(0, to.passages - marks.passages)
