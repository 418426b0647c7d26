"""The large part of a vector index: a file that never changes, of the kind that its size asks for.

Up to `FLAT` vectors every one is compared with (exact). Beyond, inverted lists with 8-bit codes: a search looks into
the lists nearest to it, and the codes lie on disk, mapped into memory, so that a start reads little. A base is built
from pieces of `CHUNK` vectors that are merged list by list into its file: memory stays small whatever the size.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import shutil
import struct
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from memory.bits import Bits, count
from memory.embedder import Vectors
from memory.errors import IndexUnusable

FLAT = 40_000
"""Most vectors that are compared with one by one: 5 ms on one core."""
CHUNK = 100_000
"""Vectors that are in memory at once while a base is built."""
TRAINED_PER_LIST = 40
"""Vectors per list that its centre is found from; FAISS asks for 39."""
GROWTH = 4
"""A base this many times as large as the one that its lists were made for gets lists of its own."""
COMPARED, PROBED_SHARE = 20_000, 96
"""A search looks into as many lists as hold so many vectors, and into one in so many at least (docs/BENCHMARKS.md)."""

LISTS = b"ilar"
"""How FAISS's file format begins the inverted lists, which come last."""


def name(generation: int) -> str:
    """The file of that generation's base."""
    return f"base-{generation}.faiss"


def flat(dimensions: int) -> Any:
    """An empty exact index."""
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))


@dataclass
class Base:
    """A base, and where it lies (None: in memory). `trained` is the size that its lists were made for."""

    index: Any
    path: Path | None
    trained: int

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def lists(self) -> Any:
        """The inverted lists, or None where it is flat."""
        return _lists_of(self.index)

    @property
    def kind(self) -> str:
        return "flat" if self.lists is None else f"{self.lists.nlist} lists of 8-bit codes"

    def search(self, row: Vectors, k: int, among: Bits | None = None) -> list[tuple[int, float]]:
        """See `nearest`."""
        return nearest(self.index, row, k, among, compared=COMPARED)

    def among(self, places: Any) -> list[int]:
        """Those of `places` that it holds."""
        held = self.places()
        at = np.searchsorted(held, places).clip(max=len(held) - 1)
        return [int(place) for place in places[held[at] == places]] if len(held) else []

    def places(self) -> Any:
        """All that it holds, in ascending order."""
        if not hasattr(self, "_places"):
            found = [ids for ids, _ in self._pieces(vectors=False)]
            self._places = np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
        return self._places

    def fresh(self) -> Any:
        """An empty index in memory for what comes on top: with the same lists, where it has some."""
        if self.lists is None:
            return flat(self.index.d)
        return _empty(self.lists)

    def without(self, gone: Set[int]) -> Base | None:
        """The same without some vectors, in memory or in files of its own; None when nothing is left."""
        if not len(np.setdiff1d(self.places(), np.asarray(sorted(gone), dtype=np.int64))):
            return None
        folder = self.path.parent / "new-removal" if self.path else None
        none = np.zeros(0, dtype=np.int64), np.zeros((0, self.index.d), dtype=np.float32)
        return build(self, gone, *none, self.index.d, folder, retrain=False)

    def pieces(self, gone: Set[int]) -> Iterator[tuple[Any, Vectors]]:
        """(places, vectors) of all but `gone`, piece by piece."""
        left_out = np.asarray(sorted(gone), dtype=np.int64)
        for ids, rows in self._pieces(vectors=True):
            kept = ~np.isin(ids, left_out)
            yield ids[kept], rows[kept]

    def _pieces(self, *, vectors: bool) -> Iterator[tuple[Any, Vectors]]:
        none = np.zeros((0, self.index.d), dtype=np.float32)
        if self.lists is None:
            ids, rows = contents(self.index, self.index.d)
            yield ids, rows
            return
        lists = self.lists
        for number in range(lists.nlist):
            ids, codes = _list(lists, number)
            if not len(ids):
                continue
            rows = none
            if vectors:
                rows = lists.sq.decode(codes)
                if lists.by_residual:
                    rows = rows + lists.quantizer.reconstruct(number)
            yield ids, rows

    # ------------------------------------------------------------------ files

    def manifest(self) -> dict[str, Any]:
        """What `load` checks."""
        assert self.path is not None  # noqa: S101 - written of what was moved into its folder
        return {
            "file": self.path.name,
            "count": len(self),
            "trained": self.trained,
            "bytes": self.path.stat().st_size,
            # Of a large one it would take seconds at every start; there the length says whether it is whole.
            "sha256": _sha256(self.path) if self.lists is None else None,
        }

    def move(self, folder: Path, generation: int) -> None:
        """Put its file into `folder`, under that generation's name. Raises: OSError."""
        target = folder / name(generation)
        if self.path is None:
            _write(self.index, target)
        else:
            made = self.path.parent
            self.path.replace(target)
            if made != folder:
                shutil.rmtree(made, ignore_errors=True)
        self.path = target

    def discard(self) -> None:
        """Remove the files of one that is not wanted after all."""
        if self.path is not None:
            shutil.rmtree(self.path.parent, ignore_errors=True)


def build(
    base: Base | None,
    gone: Set[int],
    ids: Any,
    rows: Vectors,
    dimensions: int,
    folder: Path | None,
    *,
    retrain: bool = True,
) -> Base:
    """A base of `base` without `gone`, and of the vectors `rows` under `ids`.

    Args:
        folder: where its files are made; None: it stays in memory.
        retrain: make new lists where it has grown out of those that it has.
    """
    count = len(ids) + (len(base) - len(gone) if base else 0)
    old = base.lists if base else None
    if folder is None or (old is None and count <= FLAT):
        index = flat(dimensions)
        for some, vectors in base.pieces(gone) if base else ():
            index.add_with_ids(np.ascontiguousarray(vectors), some)
        if len(ids):
            index.add_with_ids(np.ascontiguousarray(rows), ids)
        return Base(index, None, count)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    grown = base is None or old is None or (retrain and count > GROWTH * base.trained)
    empty = _train(base, gone, rows, dimensions, count) if grown else _empty(old)
    trained = count if grown else (base.trained if base else count)
    path = folder / "base.faiss"
    if base is not None and not grown:
        sources = [base, *([_shard(empty, ids, rows, folder, 0)] if len(ids) else [])]
    else:
        chunks = _chunks(base, gone, ids, rows)
        sources = [_shard(empty, i, v, folder, n) for n, (i, v) in enumerate(chunks)]
    _merge(empty, sources, gone, path)
    return Base(_read(path), path, trained)


def load(folder: Path, manifest: dict[str, Any], dimensions: int) -> Base:
    """The base that the manifest tells of, a large one mapped into memory. Raises: IndexUnusable."""
    match manifest:
        case {"file": str(file), "count": int(count), "trained": int(trained), "bytes": int(length)}:
            path = folder / file
        case _:
            raise IndexUnusable(folder, "manifest.json is damaged")
    try:
        sha256 = manifest.get("sha256")
        if path.stat().st_size != length or (sha256 and _sha256(path) != sha256):
            raise IndexUnusable(folder, f"{file} is not the file that manifest.json tells of")
    except FileNotFoundError as error:
        raise IndexUnusable(folder, f"{file} is missing") from error
    except OSError as error:
        raise IndexUnusable(folder, error.strerror or type(error).__name__) from error
    index = _read(path)
    if index.ntotal != count or index.d != dimensions:
        raise IndexUnusable(folder, "manifest.json is damaged")
    return Base(index, path, trained)


def contents(index: Any, dimensions: int) -> tuple[Any, Vectors]:
    """(places, vectors) of an index in memory."""
    if not index.ntotal:
        return np.zeros(0, dtype=np.int64), np.zeros((0, dimensions), dtype=np.float32)
    if _lists_of(index) is not None:
        pieces = list(Base(index, None, 0)._pieces(vectors=True))
        return np.concatenate([i for i, _ in pieces]), np.concatenate([v for _, v in pieces])
    ids = faiss.vector_to_array(index.id_map)
    inner: Any = faiss.downcast_index(index.index)
    rows = faiss.rev_swig_ptr(inner.get_xb(), index.ntotal * dimensions).reshape(-1, dimensions)
    return ids, rows.copy()


def nearest(index: Any, row: Vectors, k: int, among: Bits | None, *, compared: int) -> list[tuple[int, float]]:
    """(place, cosine) of the `k` nearest (among those places) of an index of either kind.

    Of one with lists it looks into as many as hold `compared` vectors that may be found: the more are wanted, and the
    fewer of all they are to be among, into the more.
    """
    k, eligible = min(k, index.ntotal), index.ntotal if among is None else min(index.ntotal, count(among))
    if not k or not eligible:
        return []
    # FAISS's type hints are those of its C++.
    chosen: dict[str, Any] = {}
    if among is not None:
        chosen["sel"] = faiss.IDSelectorBitmap(among)  # type: ignore[call-arg,arg-type]
    lists = _lists_of(index)
    if lists is None:
        parameters = faiss.SearchParameters(**chosen)
    else:
        probed = max(lists.nlist // PROBED_SHARE, math.ceil((compared + 4 * k) * lists.nlist / eligible))
        chosen["nprobe"] = min(lists.nlist, probed)
        parameters = faiss.SearchParametersIVF(**chosen)
    scores, ids = index.search(row, k, params=parameters)
    # FAISS fills up with -1.
    found = zip(ids[0].tolist(), np.clip(scores[0], -1, 1).tolist(), strict=True)
    return [(place, score) for place, score in found if place >= 0]


def _train(base: Base | None, gone: Set[int], rows: Vectors, dimensions: int, count: int) -> Any:
    lists = 2 ** round(math.log2(4 * math.sqrt(count)))
    wanted = TRAINED_PER_LIST * lists
    sample, share = [rows], wanted / count
    random = np.random.default_rng(0)
    for _, vectors in base.pieces(gone) if base else ():
        sample.append(vectors[random.random(len(vectors)) < share * 1.2])
    chosen = np.concatenate(sample)
    chosen = chosen[random.permutation(len(chosen))[:wanted]]
    empty: Any = faiss.index_factory(dimensions, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    empty.cp.niter = 8
    empty.train(np.ascontiguousarray(chosen))
    return empty


def _empty(lists: Any) -> Any:
    """The same lists and codec, in memory and without vectors."""
    made = faiss.IndexIVFScalarQuantizer(
        lists.quantizer, lists.d, lists.nlist, lists.sq.qtype, lists.metric_type, lists.by_residual
    )
    made.sq = lists.sq
    made.is_trained = True
    # Its own copy: the centres of `lists` go when that one goes.
    return faiss.clone_index(made)


def _chunks(base: Base | None, gone: Set[int], ids: Any, rows: Vectors) -> Iterator[tuple[Any, Vectors]]:
    waiting: list[tuple[Any, Vectors]] = []
    held = 0
    for some, vectors in itertools.chain(base.pieces(gone) if base else (), [(ids, rows)]):
        waiting.append((some, vectors))
        held += len(some)
        if held >= CHUNK:
            yield _joined(waiting)
            waiting, held = [], 0
    if held:
        yield _joined(waiting)


def _joined(pieces: list[tuple[Any, Vectors]]) -> tuple[Any, Vectors]:
    return np.concatenate([i for i, _ in pieces]), np.ascontiguousarray(np.concatenate([v for _, v in pieces]))


def _shard(empty: Any, ids: Any, rows: Vectors, folder: Path, number: int) -> Base:
    """These vectors in the lists of `empty`, in a file that is mapped into memory."""
    shard = faiss.clone_index(empty)
    shard.add_with_ids(np.ascontiguousarray(rows), ids)
    path = folder / f"shard-{number}.faiss"
    faiss.write_index(shard, str(path))
    return Base(_read(path), path, 0)


def _merge(empty: Any, sources: Sequence[Base], gone: Set[int], path: Path) -> None:
    """Write one index of all sources, whose lists are those of `empty`, without `gone`: list by list, since all
    together may be larger than the memory. The format is FAISS's own.
    """
    left_out = np.asarray(sorted(gone), dtype=np.int64)
    sizes = np.zeros(empty.nlist, dtype=np.uint64)
    # Each belongs to its index, which `sources` keeps alive.
    inverted = [source.lists for source in sources]
    body = path.with_name("lists")
    with body.open("wb") as stream:
        for number in range(empty.nlist):
            parts = [_list(lists, number) for lists in inverted]
            kept = [~np.isin(ids, left_out) for ids, _ in parts] if gone else [slice(None)] * len(parts)
            parts = [(ids[k], codes[k]) for (ids, codes), k in zip(parts, kept, strict=True)]
            sizes[number] = sum(len(ids) for ids, _ in parts)
            for _, codes in parts:
                stream.write(codes.tobytes())
            for ids, _ in parts:
                stream.write(ids.tobytes())
    whole = faiss.clone_index(empty)
    whole.ntotal = int(sizes.sum())
    head = faiss.serialize_index(whole).tobytes()
    with path.open("wb") as stream, body.open("rb") as lists_:
        stream.write(head[: head.rindex(LISTS)])
        stream.write(LISTS + struct.pack("<QQ", empty.nlist, empty.code_size))
        stream.write(b"full" + struct.pack("<Q", empty.nlist) + sizes.tobytes())
        shutil.copyfileobj(lists_, stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())
    body.unlink()


def _list(lists: Any, number: int) -> tuple[Any, Any]:
    """(places, codes of shape (n, bytes)) of one inverted list."""
    held = lists.invlists
    size = held.list_size(number)
    if not size:
        return np.zeros(0, dtype=np.int64), np.zeros((0, lists.code_size), dtype=np.uint8)
    ids = faiss.rev_swig_ptr(held.get_ids(number), size).copy()
    codes = faiss.rev_swig_ptr(held.get_codes(number), size * lists.code_size).reshape(size, -1).copy()
    return ids, codes


def _lists_of(index: Any) -> Any:
    found = faiss.try_extract_index_ivf(index)
    return None if found is None else faiss.downcast_index(found)


def _read(path: Path) -> Any:
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)


def _write(index: Any, path: Path) -> None:
    replace(path, faiss.serialize_index(index).tobytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
