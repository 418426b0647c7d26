"""Nearest vectors, over FAISS: exact inner product, an id of the caller's for each vector.

On disk an index is two files: `vectors.faiss`, and `manifest.json` that says which embedder made it, how far in the
ledger it reaches, and the sha256 of the other. Each is replaced in one step; where a crash falls between the two, the
sum does not fit and `load` says so. This module does not know what the vectors mean: `recall` rebuilds what it can't
load.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from memory.embedder import Embedder, Vectors
from memory.errors import IndexUnusable

INDEX = "vectors.faiss"
MANIFEST = "manifest.json"


class VectorIndex:
    """Vectors of unit length and shape (dimensions,), float32, each under an id. Not safe to use from several threads.

    `last_seq` is the caller's mark of how far the index reaches; it is saved with it.
    """

    def __init__(self, embedder_name: str, dimensions: int) -> None:
        self.embedder_name, self.dimensions = embedder_name, dimensions
        self.last_seq = 0
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add vectors of shape (len(ids), dimensions). An id must not be there already.

        Raises:
            ValueError: the shapes do not fit.
        """
        if vectors.shape != (len(ids), self.dimensions):
            raise ValueError(f"expected vectors of shape {(len(ids), self.dimensions)}, got {vectors.shape}")
        self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), np.asarray(ids, dtype=np.int64))

    def search(self, vector: Vectors, k: int) -> list[tuple[int, float]]:
        """The `k` nearest as (id, cosine in [-1, 1]), nearest first; fewer where the index holds fewer."""
        k = min(k, len(self))
        if k <= 0:
            return []
        scores, ids = self._index.search(np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1), k)
        return list(zip(ids[0].tolist(), np.clip(scores[0], -1, 1).tolist(), strict=True))

    def remove(self, ids: Sequence[int]) -> int:
        """Remove the vectors under `ids`, those that are there. Returns how many."""
        return int(self._index.remove_ids(np.asarray(ids, dtype=np.int64)))

    def save(self, folder: Path) -> None:
        """Write the index to `folder`, made where missing. A kill at any point leaves the old one, the new one, or a
        pair that `load` refuses.

        Raises:
            OSError: it can't be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        content = faiss.serialize_index(self._index).tobytes()
        manifest = {
            "embedder": self.embedder_name,
            "dimensions": self.dimensions,
            "count": len(self),
            "last_seq": self.last_seq,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        _replace(folder / INDEX, content)
        _replace(folder / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> VectorIndex:
        """The index saved in `folder`.

        Raises:
            IndexUnusable: it is missing, damaged, or `embedder` did not make it; the reason says which.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            content = (folder / INDEX).read_bytes()
        except FileNotFoundError as error:
            raise IndexUnusable(folder, f"{Path(error.filename).name} is missing") from error
        except OSError as error:
            raise IndexUnusable(folder, error.strerror or type(error).__name__) from error
        except ValueError as error:
            raise IndexUnusable(folder, f"{MANIFEST} is damaged") from error
        match manifest:
            case {
                "embedder": str(name),
                "dimensions": int(dimensions),
                "count": int(count),
                "last_seq": int(last_seq),
                "sha256": str(sha256),
            }:
                pass
            case _:
                raise IndexUnusable(folder, f"{MANIFEST} is damaged")
        if name != embedder.name:
            raise IndexUnusable(folder, f"it was made by {name}, not by {embedder.name}")
        if dimensions != embedder.dimensions:
            raise IndexUnusable(folder, f"it has {dimensions} dimensions, not {embedder.dimensions}")
        # Before FAISS parses it: a damaged file could take it anywhere.
        if hashlib.sha256(content).hexdigest() != sha256:
            raise IndexUnusable(folder, f"{INDEX} is not the file that {MANIFEST} tells of")
        index = cls(name, dimensions)
        index._index = faiss.deserialize_index(np.frombuffer(content, dtype=np.uint8))
        index.last_seq = last_seq
        if len(index) != count or index._index.d != dimensions:
            raise IndexUnusable(folder, f"{MANIFEST} is damaged")
        return index


def _replace(path: Path, content: bytes) -> None:
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
