"""Nearest vectors, over FAISS, of a size from one to millions: how they are searched, replaced, removed and folded.

Two parts. The *base* is a file that never changes: exact while it is small, inverted lists with 8-bit codes, mapped
into memory, once it is large (`memory.bases` decides). What came since is *fresh*: in memory, and on disk a log that is
only appended to (`memory.index_files`), so that one more vector costs the same whatever the size. `fold` makes a new
base of both; searches and additions go on meanwhile.

An index is never wrong, but may be short of something after a kill, and `memory.keeping` takes in again what it is
short of. This module does not know what the vectors mean.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from memory import bases
from memory.bits import Bits
from memory.embedder import Embedder, Vectors
from memory.errors import IndexUnusable
from memory.index_files import IndexFiles, Maker, erase, made_by
from memory.records import UNKNOWN, Landmarks, Marks

__all__ = ["Maker", "VectorIndex", "forget", "made_by"]

FRESH = 4096
"""Vectors beside the base before they are folded into it."""
FRESH_SHARE = 100
"""Of a large base, one in so many: then each vector is written anew about so often, whatever the size, and a start,
which finds the lists of what is fresh, stays short."""
BESIDE = 1024
"""Of what is fresh beside a base with lists, a search looks into as many lists as hold so many vectors, or into all: of
20,000 it finds what a question is near to (a cosine of 0.7) 995 times of 1,000 (docs/LOG.md).
"""
BULK, BULK_SHARE = 100_000, 4
"""The same while very many are added at once: so many, or a quarter."""


class VectorIndex:
    """Vectors of unit length and shape (dimensions,), float32, each under a place. Not safe to use from several threads
    but for `fold`, which may run beside everything else as `fold` says.

    `marks` tells how far in the ledger it reaches, `landmarks` what stands there. Without a folder it lives in memory.
    """

    def __init__(self, maker: Maker, folder: Path | None = None) -> None:
        self.maker, self.folder = maker, folder
        self.marks, self.landmarks = Marks(), UNKNOWN
        self._files = IndexFiles(folder, maker) if folder else None
        self._base: bases.Base | None = None
        self._clear_fresh()

    @classmethod
    def open(cls, folder: Path, embedder: Embedder) -> VectorIndex:
        """The index in `folder`.

        Raises:
            IndexUnusable: it is missing, damaged, or `embedder` did not make it; the reason says which.
        """
        index = cls(Maker.of(embedder), folder)
        index._load()
        return index

    @classmethod
    def create(cls, folder: Path | None, embedder: Embedder) -> VectorIndex:
        """An empty index, in the place of whatever lies in `folder`; where that can't be written, in memory."""
        index = cls(Maker.of(embedder), folder)
        with index.exclusive():
            index._swap(None, *index._fresh_vectors())
        return index

    def __len__(self) -> int:
        return len(self._fresh_places) + (len(self._base) - len(self._masked) if self._base else 0)

    @property
    def kind(self) -> str:
        """How the base is made: none, flat, or inverted lists."""
        return self._base.kind if self._base else "none"

    @property
    def not_saved(self) -> str | None:
        """Why the last vectors could not be written to the folder, or None."""
        return self._files.not_saved if self._files else None

    # ------------------------------------------------------------------ searching

    def search(self, vector: Vectors, k: int, among: Bits | None = None) -> list[tuple[int, float]]:
        """The `k` nearest as (place, cosine in [-1, 1]), nearest first; fewer where the index holds fewer. Only `among`
        those places, where some are given.

        Of a large base it is the nearest that its lists give: nearly always the same.
        """
        if k <= 0:
            return []
        row = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        hits = []
        if self._base:
            found = self._base.search(row, k + len(self._masked), among)
            hits = [(place, score) for place, score in found if place not in self._masked]
        if self._fresh_places:
            hits += bases.nearest(self._fresh, row, k, among, compared=BESIDE)
        hits.sort(key=lambda hit: (-hit[1], -hit[0]))
        return hits[:k]

    # ------------------------------------------------------------------ adding

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """For as long as the context lasts no other process appends. Where that can't be had, what is added stays in
        memory, and `not_saved` says why.
        """
        with self._files.exclusive() if self._files else nullcontext():
            yield

    def put(self, places: Sequence[int], vectors: Vectors, marks: Marks, landmarks: Landmarks = UNKNOWN) -> None:
        """Add vectors of shape (len(places), dimensions), or replace those under the same places; with them the index
        reaches to `marks`, where `landmarks` stand. Within `exclusive`, after `sync`.

        Raises:
            ValueError: the shapes do not fit.
        """
        wanted = (len(places), self.maker.dimensions)
        if vectors.shape != wanted:
            raise ValueError(f"expected vectors of shape {wanted}, got {vectors.shape}")
        ids = np.asarray(places, dtype=np.int64)
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if self._files is not None and self._files.held:
            self._files.append(ids, rows, marks, landmarks)
        self._take(ids, rows, marks, landmarks)

    def save(self) -> None:
        """Write what could not be written when it was added; where it still can't, `not_saved` says why."""
        if self._files is None or not self._files.not_saved:
            return
        self._files.not_saved = None
        with self.exclusive():
            if self._files.held:
                self._swap(self._base, *self._fresh_vectors())

    def sync(self) -> bool:
        """Take in what other processes have appended. False: the folder holds another index now, or none."""
        if self._files is None or self._files.not_saved:
            return True
        if not self._files.current:
            return False
        self._replay()
        return True

    def _take(self, ids: Any, rows: Vectors, marks: Marks, landmarks: Landmarks) -> None:
        again = [place for place in ids.tolist() if place in self._fresh_places]
        if again:
            self._fresh.remove_ids(np.asarray(again, dtype=np.int64))
        if len(ids):
            self._fresh.add_with_ids(rows, ids)
        self._fresh_places.update(ids.tolist())
        if self._base:
            self._masked.update(self._base.among(ids))
        self.marks, self.landmarks = marks, landmarks

    def contents(self) -> dict[int, Vectors]:
        """Place → vector, of a large base as its codes tell it."""
        pieces = [*(self._base.pieces(self._masked) if self._base else ()), self._fresh_vectors()]
        return {place: row for ids, rows in pieces for place, row in zip(ids.tolist(), rows, strict=True)}

    # ------------------------------------------------------------------ removing

    def remove(self, places: Sequence[int]) -> bool:
        """Remove the vectors under `places`, those that are there, from the files too. A large base is written anew.

        Returns:
            False where another process holds the lock, or the files can't be written: they still hold them then.

        Raises:
            IndexUnusable: another process has put an index of another kind in its place.
        """
        gone = set(places)
        with self.exclusive():
            if not self.sync():
                self._load()
            ids, rows = self._fresh_vectors()
            kept = np.asarray([place not in gone for place in ids.tolist()], dtype=bool)
            base = self._base.without(gone | self._masked) if self._base else None
            self._swap(base, ids[kept], rows[kept])
            if self._files is None:
                return True
            written = self._files.held and not self._files.not_saved
            if written:
                # What another process is just making a base of holds them too: it finds this one changed, and gives up.
                self._files.tidy(under_way=True)
        return written

    # ------------------------------------------------------------------ moving

    def move_into(self, folder: Path) -> bool:
        """Put this index, whose folder goes, into the place of what lies in `folder`; it is of no use afterwards.

        Returns:
            False where another process holds a lock, or it can't be written there.
        """
        there, source = VectorIndex(self.maker, folder), self.folder
        with there.exclusive(), self.exclusive():
            if there.not_saved or self.not_saved or not self.sync():
                return False
            there.marks, there.landmarks = self.marks, self.landmarks
            there._swap(self._base, *self._fresh_vectors())
        if source is not None:
            shutil.rmtree(source, ignore_errors=True)
        return there.not_saved is None

    # ------------------------------------------------------------------ folding

    @property
    def wants_folding(self) -> bool:
        """Whether enough is fresh for a new base."""
        return len(self._fresh_places) > max(FRESH, (len(self._base) if self._base else 0) // FRESH_SHARE)

    @property
    def must_fold(self) -> bool:
        """Whether too much is fresh to go on adding without a new base."""
        return len(self._fresh_places) > max(BULK, (len(self._base) if self._base else 0) // BULK_SHARE)

    def fold(self, lock: Any = None) -> bool:
        """Make a new base of all there is. Returns False where another process has done so meanwhile.

        Args:
            lock: held by everybody who uses this index; taken for the first and the last step only. Between them, which
                takes minutes of a million, searches and additions go on.
        """
        lock = lock or nullcontext()
        with lock:
            base, masked = self._base, set(self._masked)
            generation = self._files.generation if self._files else 0
            ids, rows = self._fresh_vectors()
            ids, rows = ids.copy(), rows.copy()
        folder = self._files.place_for_a_base() if self._files else None
        try:
            built = bases.build(base, masked, ids, rows, self.maker.dimensions, folder)
        except (OSError, RuntimeError):  # FAISS's own
            # The disk is full, or somebody had something forgotten, and with it what was made so far.
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            return False
        with lock, self.exclusive():
            if not self.sync() or (self._files and self._files.generation != generation):
                built.discard()
                return False
            now, rows_now = self._fresh_vectors()
            same = dict(zip(ids.tolist(), rows, strict=True))
            # What was added or replaced while the base was built.
            later = np.asarray(
                [p not in same or not np.array_equal(same[p], v) for p, v in zip(now.tolist(), rows_now, strict=True)],
                dtype=bool,
            )
            self._swap(built, now[later], rows_now[later])
        return True

    def _swap(self, base: bases.Base | None, ids: Any, rows: Vectors) -> None:
        """Serve from `base` and these fresh vectors from now on, on disk too."""
        if self._files is not None and self._files.held:
            self._files.begin(base, ids, rows, self.marks, self.landmarks)
        self._base = base
        self._clear_fresh()
        if len(ids):
            self._take(ids, rows, self.marks, self.landmarks)

    def _load(self) -> None:
        assert self._files is not None  # noqa: S101 - who has none loads nothing
        self._base, self.marks, self.landmarks = self._files.open()
        self._clear_fresh()
        self._replay()

    def _replay(self) -> None:
        for record in self._files.appended() if self._files else ():
            self._take(*record)

    def _clear_fresh(self) -> None:
        self._fresh: Any = self._base.fresh() if self._base else bases.flat(self.maker.dimensions)
        self._fresh_places: set[int] = set()
        self._masked: set[int] = set()

    def _fresh_vectors(self) -> tuple[Any, Vectors]:
        return bases.contents(self._fresh, self.maker.dimensions)


def forget(folder: Path, places: Sequence[int]) -> bool:
    """`VectorIndex.remove` for whoever has no embedder: of whichever index lies in `folder`. One that can't be read
    goes altogether: it is made again from the ledger.
    """
    if not folder.is_dir():
        return True
    maker = made_by(folder)
    if maker is None:
        return erase(folder)
    try:
        index = VectorIndex(maker, folder)
        index._load()
        return index.remove(places)
    except IndexUnusable:
        return erase(folder)
