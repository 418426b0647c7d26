"""Nearest vectors, over FAISS, of a size from one to millions: how they are kept, searched, replaced and removed.

Two parts. The *base* is a file that never changes: exact while it is small, inverted lists with 8-bit codes, mapped
into memory, once it is large (`memory.bases` decides). What came since is *fresh*: in memory, and on disk a log that is
only appended to, so that one more vector costs the same whatever the size. `fold` makes a new base of both; searches
and additions go on meanwhile.

A log's record is whole or it is none (length, checksum), and says how far in the ledger the index reaches with it. So
a kill at any point leaves an index that is short of something, never one that is wrong, and `recall` takes in again
what it is short of. Processes that share a folder take turns by a lock, and read what another has appended.

This module does not know what the vectors mean.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from memory import bases
from memory.embedder import Embedder, Vectors
from memory.errors import IndexUnusable
from memory.records import Marks

MANIFEST = "manifest.json"
LOG = "log-{}.bin"
LOCK = ".lock"
NEW = "new-"
"""How a folder begins in which a base is made; behind it the process that does."""

FRESH = 4096
"""Vectors that a search compares with one by one beside the base, before they are folded into it."""
FRESH_SHARE = 100
"""Of a large base, one in so many: then each vector is written anew about so often, whatever the size, and a start,
which finds the lists of what is fresh, stays short."""
BULK, BULK_SHARE = 100_000, 4
"""The same while very many are added at once: so many, or a quarter."""

LOCK_SECONDS = 10
"""How long to wait for another process that appends; after that, what is new stays in memory and is made up for."""

_HEADER = struct.Struct("<4sIqqqI")
_MAGIC = b"NSV1"


class VectorIndex:
    """Vectors of unit length and shape (dimensions,), float32, each under a place. Not safe to use from several threads
    but for `fold`, which may run beside everything else as `fold` says.

    `marks` tells how far in the ledger it reaches. Without a folder it lives in memory.
    """

    def __init__(self, embedder_name: str, dimensions: int, folder: Path | None = None) -> None:
        self.embedder_name, self.dimensions, self.folder = embedder_name, dimensions, folder
        self.marks = Marks()
        self.not_saved: str | None = None
        """Why the last vectors could not be written to the folder, or None."""
        self._generation = 0
        self._offset = 0
        self._base: bases.Base | None = None
        self._lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS) if folder else None
        self._clear_fresh()

    @classmethod
    def open(cls, folder: Path, embedder: Embedder) -> VectorIndex:
        """The index in `folder`.

        Raises:
            IndexUnusable: it is missing, damaged, or `embedder` did not make it; the reason says which.
        """
        index = cls(embedder.name, embedder.dimensions, folder)
        index._load()
        return index

    @classmethod
    def create(cls, folder: Path | None, embedder: Embedder) -> VectorIndex:
        """An empty index, in the place of whatever lies in `folder`; where that can't be written, in memory."""
        index = cls(embedder.name, embedder.dimensions, folder)
        if folder is not None:
            with index._telling():
                folder.mkdir(parents=True, exist_ok=True)
                with index.exclusive():
                    index._generation = _generation_of(folder) + 1
                    index._write_manifest(None, Marks())
                    index._tidy()
        return index

    def __len__(self) -> int:
        return len(self._fresh_places) + (len(self._base) - len(self._masked) if self._base else 0)

    @property
    def kind(self) -> str:
        """How the base is made: none, flat, or inverted lists."""
        return self._base.kind if self._base else "none"

    # ------------------------------------------------------------------ searching

    def search(self, vector: Vectors, k: int) -> list[tuple[int, float]]:
        """The `k` nearest as (place, cosine in [-1, 1]), nearest first; fewer where the index holds fewer.

        Of a large base it is the nearest that its lists give: nearly always the same.
        """
        if k <= 0:
            return []
        row = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
        hits = []
        if self._base:
            found = self._base.search(row, k + len(self._masked))
            hits = [(place, score) for place, score in found if place not in self._masked]
        if self._fresh_places:
            hits += _pairs(*self._fresh.search(row, min(k, self._fresh.ntotal)))
        hits.sort(key=lambda hit: (-hit[1], -hit[0]))
        return hits[:k]

    # ------------------------------------------------------------------ adding

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """For as long as the context lasts no other process appends. Where that can't be had, what is added stays in
        memory, and `not_saved` says why.
        """
        held = self._acquired()
        try:
            yield
        finally:
            if held and self._lock is not None:
                self._lock.release()

    def put(self, places: Sequence[int], vectors: Vectors, marks: Marks) -> None:
        """Add vectors of shape (len(places), dimensions), or replace those under the same places; with them the index
        reaches to `marks`. Within `exclusive`, after `sync`.

        Raises:
            ValueError: the shapes do not fit.
        """
        if vectors.shape != (len(places), self.dimensions):
            raise ValueError(f"expected vectors of shape {(len(places), self.dimensions)}, got {vectors.shape}")
        ids = np.asarray(places, dtype=np.int64)
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.folder is not None and self._locked:
            with self._telling():
                self._append(ids, rows, marks)
        self._take(ids, rows, marks)

    def save(self) -> None:
        """Write what could not be written when it was added; where it still can't, `not_saved` says why."""
        if self.folder is None or not self.not_saved:
            return
        self.not_saved = None
        with self.exclusive():
            if self._locked:
                self._generation = max(self._generation, _generation_of(self.folder))
                self._swap(self._base, *self._fresh_vectors())

    def sync(self) -> bool:
        """Take in what other processes have appended. False: the folder holds another index now, or none."""
        if self.folder is None or self.not_saved:
            return True
        if _generation_of(self.folder) != self._generation:
            return False
        self._replay()
        return True

    def _take(self, ids: Any, rows: Vectors, marks: Marks) -> None:
        again = [place for place in ids.tolist() if place in self._fresh_places]
        if again:
            self._fresh.remove_ids(np.asarray(again, dtype=np.int64))
        if len(ids):
            self._fresh.add_with_ids(rows, ids)
        self._fresh_places.update(ids.tolist())
        if self._base:
            self._masked.update(self._base.among(ids))
        self.marks = marks

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
            if self.folder is None:
                return True
            written = self._locked and not self.not_saved
            if written:
                # What another process is just making a base of holds them too: it finds this one changed, and gives up.
                self._tidy(under_way=True)
        return written

    # ------------------------------------------------------------------ moving

    def move_into(self, folder: Path) -> bool:
        """Put this index, whose folder goes, into the place of what lies in `folder`; it is of no use afterwards.

        Returns:
            False where another process holds a lock, or it can't be written there.
        """
        there, source = VectorIndex(self.embedder_name, self.dimensions, folder), self.folder
        with there.exclusive(), self.exclusive():
            if there.not_saved or self.not_saved or not self.sync():
                return False
            there._generation, there.marks = _generation_of(folder), self.marks
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
            generation, base, masked = self._generation, self._base, set(self._masked)
            ids, rows = self._fresh_vectors()
            ids, rows = ids.copy(), rows.copy()
        folder = self.folder / f"{NEW}{os.getpid()}" if self.folder else None
        try:
            built = bases.build(base, masked, ids, rows, self.dimensions, folder)
        except (OSError, RuntimeError):  # FAISS's own
            # The disk is full, or somebody had something forgotten, and with it what was made so far.
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            return False
        with lock, self.exclusive():
            if not self.sync() or self._generation != generation:
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
        marks = self.marks
        if self.folder is not None and self._locked:
            with self._telling():
                generation = self._generation + 1
                if base is not None:
                    base.move(self.folder, generation)
                self._generation, self._offset = generation, 0
                if len(ids):
                    self._append(ids, rows, marks)
                else:
                    (self.folder / LOG.format(generation)).write_bytes(b"")
                self._write_manifest(base, marks)
                self._tidy()
        self._base = base
        self._clear_fresh()
        if len(ids):
            self._take(ids, rows, marks)
        self.marks = marks

    def _clear_fresh(self) -> None:
        self._fresh: Any = self._base.fresh() if self._base else bases.flat(self.dimensions)
        self._fresh_places: set[int] = set()
        self._masked: set[int] = set()

    def _fresh_vectors(self) -> tuple[Any, Vectors]:
        return bases.contents(self._fresh, self.dimensions)

    # ------------------------------------------------------------------ files

    @property
    def _locked(self) -> bool:
        return self._lock is not None and self._lock.is_locked

    def _acquired(self) -> bool:
        """Take the lock, where there is one and it can be had."""
        if self._lock is None or self.folder is None:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            return True
        except Timeout:
            self.not_saved = f"{self.folder}: another process holds its lock"
        except OSError as error:
            self.not_saved = f"{self.folder}: {error.strerror or error}"
        return False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        assert self.folder is not None  # noqa: S101 - who has none saves nothing
        try:
            yield
        except OSError as error:
            self.not_saved = f"{self.folder}: {error.strerror or error}"

    def _append(self, ids: Any, rows: Vectors, marks: Marks) -> None:
        assert self.folder is not None  # noqa: S101 - as above
        payload = ids.tobytes() + rows.tobytes()
        header = _HEADER.pack(_MAGIC, len(ids), marks.exchanges, marks.ratings, marks.passages, zlib.crc32(payload))
        path = self.folder / LOG.format(self._generation)
        with path.open("r+b" if path.exists() else "w+b") as log:
            # What lies behind is half a record of a process that was killed.
            log.truncate(self._offset)
            log.seek(self._offset)
            log.write(header + payload)
            self._offset = log.tell()

    def _replay(self) -> None:
        assert self.folder is not None  # noqa: S101 - as above
        try:
            with (self.folder / LOG.format(self._generation)).open("rb") as log:
                log.seek(self._offset)
                content = log.read()
        except FileNotFoundError:
            return
        for ids, rows, marks, length in _records(content, self.dimensions):
            self._take(ids, rows, marks)
            self._offset += length

    def _write_manifest(self, base: bases.Base | None, marks: Marks) -> None:
        assert self.folder is not None  # noqa: S101 - as above
        manifest = {
            "format": 2,
            "embedder": self.embedder_name,
            "dimensions": self.dimensions,
            "generation": self._generation,
            "base": base.manifest() if base else None,
            "marks": asdict(marks),
        }
        replace(self.folder / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")

    def _load(self) -> None:
        assert self.folder is not None  # noqa: S101 - as above
        folder = self.folder
        manifest = _read_manifest(folder)
        if manifest["embedder"] != self.embedder_name:
            raise IndexUnusable(folder, f"it was made by {manifest['embedder']}, not by {self.embedder_name}")
        if manifest["dimensions"] != self.dimensions:
            raise IndexUnusable(folder, f"it has {manifest['dimensions']} dimensions, not {self.dimensions}")
        self._generation, self.marks, self._offset = manifest["generation"], manifest["marks"], 0
        self._base = bases.load(folder, manifest["base"], self.dimensions) if manifest["base"] is not None else None
        self._clear_fresh()
        self._replay()

    def _tidy(self, *, under_way: bool = False) -> None:
        """Remove what earlier generations left, and bases that a process was killed over; `under_way`: also those that
        one is just making.
        """
        assert self.folder is not None  # noqa: S101 - as above
        kept = {MANIFEST, LOCK, LOG.format(self._generation), bases.name(self._generation)}
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in kept:
                path.unlink(missing_ok=True)
            elif path.name.startswith(NEW) and (under_way or not _runs(path.name.removeprefix(NEW))):
                shutil.rmtree(path, ignore_errors=True)


def forget(folder: Path, places: Sequence[int]) -> bool:
    """`VectorIndex.remove` for whoever has no embedder: of whichever index lies in `folder`. One that can't be read
    goes altogether: it is made again from the ledger.
    """
    if not folder.is_dir():
        return True
    try:
        manifest = _read_manifest(folder)
        index = VectorIndex(manifest["embedder"], manifest["dimensions"], folder)
        index._load()
        return index.remove(places)
    except IndexUnusable:
        return erase(folder)


def made_by(folder: Path | None) -> str | None:
    """The name of the embedder of the index in `folder`, where one lies there that can be read."""
    try:
        return None if folder is None else str(_read_manifest(folder)["embedder"])
    except IndexUnusable:
        return None


def erase(folder: Path) -> bool:
    """Remove all that lies in the folder of an index. False where another process holds its lock."""
    try:
        with FileLock(folder / LOCK, timeout=LOCK_SECONDS):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink(missing_ok=True)
    except (OSError, Timeout):
        return False
    return True


def _runs(process: str) -> bool:
    """Whether the process of that number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _records(content: bytes, dimensions: int) -> Iterator[tuple[Any, Vectors, Marks, int]]:
    """(places, vectors, marks, bytes) of each whole record, up to the first that is not."""
    at = 0
    while at + _HEADER.size <= len(content):
        magic, count, exchanges, ratings, passages, checksum = _HEADER.unpack_from(content, at)
        length = count * (8 + 4 * dimensions)
        payload = content[at + _HEADER.size : at + _HEADER.size + length]
        if magic != _MAGIC or len(payload) != length or zlib.crc32(payload) != checksum:
            return
        ids = np.frombuffer(payload, dtype=np.int64, count=count)
        rows = np.frombuffer(payload, dtype=np.float32, offset=8 * count).reshape(count, dimensions)
        yield ids, rows, Marks(exchanges, ratings, passages), _HEADER.size + length
        at += _HEADER.size + length


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Raises: IndexUnusable."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise IndexUnusable(folder, f"{MANIFEST} is missing") from error
    except OSError as error:
        raise IndexUnusable(folder, error.strerror or type(error).__name__) from error
    except ValueError as error:
        raise IndexUnusable(folder, f"{MANIFEST} is damaged") from error
    match manifest:
        case {
            "format": 2,
            "embedder": str(),
            "dimensions": int(),
            "generation": int(),
            "base": dict() | None,
            "marks": {"exchanges": int(), "ratings": int(), "passages": int()},
        }:
            return {**manifest, "marks": Marks(**manifest["marks"])}
        case {"embedder": str(), "last_seq": int()}:
            raise IndexUnusable(folder, "an earlier Nightschool made it")
        case _:
            raise IndexUnusable(folder, f"{MANIFEST} is damaged")


def _generation_of(folder: Path) -> int:
    """Of the index that lies there now; 0 where there is none that can be read."""
    try:
        return int(_read_manifest(folder)["generation"])
    except IndexUnusable:
        return 0


def _pairs(scores: Any, ids: Any) -> list[tuple[int, float]]:
    pairs = zip(ids[0].tolist(), np.clip(scores[0], -1, 1).tolist(), strict=True)
    return [(place, score) for place, score in pairs if place >= 0]


def replace(path: Path, content: bytes) -> None:
    """Write a file so that at any instant, a power cut included, the old or the new one is there, whole."""
    # The process id: two processes that save at once must not write into one temporary file.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
