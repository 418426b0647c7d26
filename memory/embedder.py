"""Text to vectors: the protocol, and the real one, a sentence-transformers folder (`memory.encoder` reads it).

What is near in meaning is near in cosine. Nothing is downloaded here: who wants a model finds its folder first. This
module does not know what is embedded, or why.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memory import encoder
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

    @property
    def path(self) -> Path | None:
        """Where its weights lie, if anywhere: an index notes it, so that it can be searched when another is set."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions); each row has length 1."""
        ...


BATCH = 32
"""Texts that go through the model at once, of similar length."""


class SentenceEmbedder:
    """The model in the folder `path`, in sentence-transformers' format, on the CPU, never over the network.

    Read with transformers alone: importing sentence-transformers (with scikit-learn and SciPy) costs each start two
    seconds. The vectors are the same to 1e-6. It is loaded at first use; after that it is safe to use from several
    threads (one at a time computes).

    Raises:
        ModelUnavailable: at first use, when the folder holds no model that can be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = threading.Lock()
        self._loaded: encoder.Encoder | None = None

    @property
    def name(self) -> str:
        """`sentence-transformers:` and 16 hex digits of the sha256 over the weights and what is read with them."""
        with self._lock:
            return self._load().name

    @property
    def dimensions(self) -> int:
        with self._lock:
            return self._load().dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions); each row has length 1. Texts past the model's window are cut."""
        with self._lock:
            loaded = self._load()
            vectors = np.zeros((len(texts), loaded.dimensions), dtype=np.float32)
            # Of similar length together: padding costs as much as text.
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
            for start in range(0, len(order), BATCH):
                places = order[start : start + BATCH]
                vectors[places] = loaded.encode([texts[i] for i in places])
        return vectors

    def _load(self) -> encoder.Encoder:
        if self._loaded is None:
            self._loaded = encoder.load(self.path)
        return self._loaded


def named(name: str, folders: Sequence[Path]) -> SentenceEmbedder | None:
    """The embedder of that name, if its model lies in one of the folders or right in a folder of theirs."""
    for folder in folders:
        for path in (folder, *sorted(folder.glob("*/"))):
            try:
                if (path / "modules.json").is_file() and encoder.fingerprint(path) == name:
                    return SentenceEmbedder(path)
            except (ModelUnavailable, OSError):
                continue
    return None
