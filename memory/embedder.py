"""Text to vectors: the protocol, and the real one over sentence-transformers.

What is near in meaning is near in cosine. Nothing is downloaded here: who wants a model finds its folder first. This
module does not know what is embedded, or why.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memory.errors import ModelUnavailable

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """What turns texts into vectors of unit length, so that the inner product of two is their cosine."""

    @property
    def name(self) -> str:
        """Names the weights: vectors of two embedders can be compared only if their names are equal."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions); each row has length 1."""
        ...


class SentenceEmbedder:
    """The sentence-transformers model in the folder `path`, on the CPU, never over the network.

    It is loaded at first use, which takes seconds; after that it is safe to use from several threads (one at a time
    computes).

    Raises:
        ModelUnavailable: at first use, when the folder holds no model that can be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._loaded: tuple[Any, str, int] | None = None

    @property
    def name(self) -> str:
        """`sentence-transformers:` and 16 hex digits of the sha256 over the weights and what is read with them."""
        with self._lock:
            return self._load()[1]

    @property
    def dimensions(self) -> int:
        with self._lock:
            return self._load()[2]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions); each row has length 1. Texts past the model's window are cut."""
        with self._lock:
            model, _, dimensions = self._load()
            if not texts:
                return np.zeros((0, dimensions), dtype=np.float32)
            vectors = model.encode(
                list(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _load(self) -> tuple[Any, str, int]:
        if self._loaded is None:
            name = _fingerprint(self.path)
            # Here, not above: it brings torch, and whoever only needs the protocol must not wait for that.
            from safetensors import SafetensorError
            from sentence_transformers import SentenceTransformer

            try:
                model = SentenceTransformer(
                    str(self.path), device="cpu", local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                raise ModelUnavailable(f"the embedder in {self.path} can't be loaded: {_first_line(error)}") from error
            self._loaded = (model, name, len(model.encode("", show_progress_bar=False)))
        return self._loaded


def _fingerprint(path: Path) -> str:
    """Raises: ModelUnavailable."""
    try:
        files = sorted(f for f in path.rglob("*") if f.suffix in {".safetensors", ".bin", ".json", ".txt"})
        if not any(f.name == "modules.json" for f in files):
            raise ModelUnavailable(f"{path} holds no sentence-transformers model (modules.json is missing)")
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise ModelUnavailable(f"the embedder in {path} can't be read: {error.strerror}") from error
    return f"sentence-transformers:{digest.hexdigest()[:16]}"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
