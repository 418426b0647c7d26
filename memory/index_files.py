"""The files of a vector index: a manifest, a log that is only appended to, a lock, and the base beside them.

The manifest names the generation, and with it which log and base count; it is replaced whole. A log's record is whole
or it is none (length, checksum), and says how far in the ledger the index reaches with it. So a kill at any point
leaves an index that is short of something, never one that is wrong. Processes that share a folder take turns by the
lock, and read what another has appended.

A folder that can't be written, or whose lock another process holds, stops nobody: `not_saved` says so. This module
does not search.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from memory import bases
from memory.embedder import Embedder, Vectors
from memory.errors import IndexUnusable
from memory.records import UNKNOWN, Landmark, Landmarks, Marks

MANIFEST = "manifest.json"
LOG = "log-{}.bin"
LOCK = ".lock"
NEW = "new-"
"""How a folder begins in which a base is made; behind it the process that does."""

LOCK_SECONDS = 10
"""How long to wait for another process that appends; after that, what is new stays in memory and is made up for."""

_HEADER = struct.Struct("<4sIqqqI")
_LANDMARKS = struct.Struct("<qQqQqQ")
_BARE, _MAGIC = b"NSV1", b"NSV2"
"""How a record begins: as an earlier Nightschool wrote it, or with landmarks at its end."""

Record = tuple[Any, Vectors, Marks, Landmarks]
"""(places, vectors, how far in the ledger the index reaches with them, what stands there)."""


@dataclass(frozen=True)
class Maker:
    """The embedder of an index: its name, the length of its vectors, and where its weights lay, if anywhere."""

    name: str
    dimensions: int
    path: Path | None = None

    @classmethod
    def of(cls, embedder: Embedder) -> Maker:
        """That embedder."""
        return cls(embedder.name, embedder.dimensions, embedder.path)


class IndexFiles:
    """The files in `folder` of an index of that maker. To be written within `exclusive`, and only where `held`."""

    def __init__(self, folder: Path, maker: Maker) -> None:
        self.folder, self.maker = folder, maker
        self.generation = 0
        """The one that was read or written last."""
        self.not_saved: str | None = None
        """Why something could not be written, or None."""
        self._read_to = 0
        self._lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)

    # ------------------------------------------------------------------ taking turns

    @property
    def held(self) -> bool:
        """Whether no other process can write now."""
        return self._lock.is_locked

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No other process writes meanwhile. Where that can't be had, nothing is written, and `not_saved` says why."""
        held = self._acquired()
        try:
            yield
        finally:
            if held:
                self._lock.release()

    def _acquired(self) -> bool:
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
        try:
            yield
        except OSError as error:
            self.not_saved = f"{self.folder}: {error.strerror or error}"

    # ------------------------------------------------------------------ reading

    def open(self) -> tuple[bases.Base | None, Marks, Landmarks]:
        """The base, how far in the ledger it reaches and what stands there; what came since, `appended` gives.

        Raises: IndexUnusable.
        """
        manifest, maker = read_manifest(self.folder), self.maker
        if manifest["embedder"] != maker.name:
            raise IndexUnusable(self.folder, f"it was made by {manifest['embedder']}, not by {maker.name}")
        if manifest["dimensions"] != maker.dimensions:
            raise IndexUnusable(self.folder, f"it has {manifest['dimensions']} dimensions, not {maker.dimensions}")
        self.generation, self._read_to = manifest["generation"], 0
        held = manifest["base"]
        base = bases.load(self.folder, held, maker.dimensions) if held is not None else None
        return base, manifest["marks"], manifest["landmarks"]

    @property
    def current(self) -> bool:
        """Whether the folder still holds the generation that was read or written last."""
        return generation_of(self.folder) == self.generation

    def appended(self) -> Iterator[Record]:
        """The records of the log that were not given yet, whoever appended them."""
        try:
            with (self.folder / LOG.format(self.generation)).open("rb") as log:
                log.seek(self._read_to)
                content = log.read()
        except FileNotFoundError:
            return
        for record, length in _records(content, self.maker.dimensions):
            self._read_to += length
            yield record

    # ------------------------------------------------------------------ writing

    def append(self, ids: Any, rows: Vectors, marks: Marks, landmarks: Landmarks) -> None:
        """Append a record."""
        with self._telling():
            self._append(ids, rows, marks, landmarks)

    def begin(self, base: bases.Base | None, ids: Any, rows: Vectors, marks: Marks, landmarks: Landmarks) -> None:
        """A new generation, in the place of whatever lies there: a base, and a log of what is fresh beside it."""
        with self._telling():
            self.folder.mkdir(parents=True, exist_ok=True)
            generation = max(self.generation, generation_of(self.folder)) + 1
            if base is not None:
                base.move(self.folder, generation)
            self.generation, self._read_to = generation, 0
            if len(ids):
                self._append(ids, rows, marks, landmarks)
            else:
                (self.folder / LOG.format(generation)).write_bytes(b"")
            self._write_manifest(base, marks, landmarks)
            self.tidy()

    def _append(self, ids: Any, rows: Vectors, marks: Marks, landmarks: Landmarks) -> None:
        payload = ids.tobytes() + rows.tobytes() + _LANDMARKS.pack(*(n for landmark in landmarks for n in landmark))
        header = _HEADER.pack(_MAGIC, len(ids), marks.exchanges, marks.ratings, marks.passages, zlib.crc32(payload))
        path = self.folder / LOG.format(self.generation)
        with path.open("r+b" if path.exists() else "w+b") as log:
            # What lies behind is half a record of a process that was killed.
            log.truncate(self._read_to)
            log.seek(self._read_to)
            log.write(header + payload)
            self._read_to = log.tell()

    def _write_manifest(self, base: bases.Base | None, marks: Marks, landmarks: Landmarks) -> None:
        manifest = {
            "format": 2,
            "embedder": self.maker.name,
            "dimensions": self.maker.dimensions,
            "path": str(self.maker.path) if self.maker.path else None,
            "generation": self.generation,
            "base": base.manifest() if base else None,
            "marks": asdict(marks),
            "landmarks": landmarks,
        }
        bases.replace(self.folder / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")

    def place_for_a_base(self) -> Path:
        """A folder of this process in which a base can be made."""
        return self.folder / f"{NEW}{os.getpid()}"

    def tidy(self, *, under_way: bool = False) -> None:
        """Remove what earlier generations left, and bases that a process was killed over; `under_way`: also those that
        one is just making.
        """
        kept = {MANIFEST, LOCK, LOG.format(self.generation), bases.name(self.generation)}
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in kept:
                path.unlink(missing_ok=True)
            elif path.name.startswith(NEW) and (under_way or not _runs(path.name.removeprefix(NEW))):
                shutil.rmtree(path, ignore_errors=True)


def made_by(folder: Path | None) -> Maker | None:
    """The embedder of the index in `folder`, where one lies there that can be read."""
    try:
        manifest = None if folder is None else read_manifest(folder)
    except IndexUnusable:
        return None
    if manifest is None:
        return None
    path = manifest.get("path")
    return Maker(manifest["embedder"], manifest["dimensions"], Path(path) if isinstance(path, str) else None)


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


def read_manifest(folder: Path) -> dict[str, Any]:
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
            marks = Marks(**manifest["marks"])
            return {**manifest, "marks": marks, "landmarks": _landmarks(manifest.get("landmarks"))}
        case {"embedder": str(), "last_seq": int()}:
            raise IndexUnusable(folder, "an earlier Nightschool made it")
        case _:
            raise IndexUnusable(folder, f"{MANIFEST} is damaged")


def generation_of(folder: Path) -> int:
    """Of the index that lies there now; 0 where there is none that can be read."""
    try:
        return int(read_manifest(folder)["generation"])
    except IndexUnusable:
        return 0


def _landmarks(told: Any) -> Landmarks:
    """Unknown where an earlier Nightschool, which told none, wrote what they are read of."""
    match told:
        case [[int(), int()], [int(), int()], [int(), int()]] if all(0 <= seq < 2**63 for seq, _ in told):
            exchange, rating, passage = (Landmark(seq, digest % 2**64) for seq, digest in told)
            return exchange, rating, passage
        case _:
            return UNKNOWN


def _records(content: bytes, dimensions: int) -> Iterator[tuple[Record, int]]:
    """Each whole record with its length in bytes, up to the first that is not."""
    at = 0
    while at + _HEADER.size <= len(content):
        magic, count, exchanges, ratings, passages, checksum = _HEADER.unpack_from(content, at)
        bare = count * (8 + 4 * dimensions)
        length = bare if magic == _BARE else bare + _LANDMARKS.size
        payload = content[at + _HEADER.size : at + _HEADER.size + length]
        if magic not in (_BARE, _MAGIC) or len(payload) != length or zlib.crc32(payload) != checksum:
            return
        ids = np.frombuffer(payload, dtype=np.int64, count=count)
        rows = np.frombuffer(payload, dtype=np.float32, offset=8 * count, count=count * dimensions)
        numbers = _LANDMARKS.unpack_from(payload, bare) if length > bare else ()
        landmarks = _landmarks(list(zip(numbers[::2], numbers[1::2], strict=True)))
        marks = Marks(exchanges, ratings, passages)
        yield (ids, rows.reshape(count, dimensions), marks, landmarks), _HEADER.size + length
        at += _HEADER.size + length


def _runs(process: str) -> bool:
    """Whether the process of that number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
