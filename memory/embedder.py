"""Text to vectors: the protocol, and the real one, a sentence-transformers folder read with transformers.

What is near in meaning is near in cosine. Nothing is downloaded here: who wants a model finds its folder first. This
module does not know what is embedded, or why.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
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


BATCH = 32
"""Texts that go through the model at once, of similar length."""


class SentenceEmbedder:
    """The model in the folder `path`, in sentence-transformers' format, on the CPU, never over the network.

    Read with transformers alone: it is one encoder and a mean, and importing sentence-transformers (with scikit-learn
    and SciPy) costs each start two seconds. The vectors are the same to 1e-6. It is loaded at first use; after that it
    is safe to use from several threads (one at a time computes).

    Raises:
        ModelUnavailable: at first use, when the folder holds no model that can be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._loaded: _Encoder | None = None

    @property
    def name(self) -> str:
        """`sentence-transformers:` and 16 hex digits of the sha256 over the weights and what is read with them."""
        with self._lock:
            return self._load().name

    @property
    def dimensions(self) -> int:
        with self._lock:
            return int(self._load().model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), dimensions); each row has length 1. Texts past the model's window are cut."""
        with self._lock:
            encoder = self._load()
            vectors = np.zeros((len(texts), int(encoder.model.config.hidden_size)), dtype=np.float32)
            # Of similar length together: padding costs as much as text.
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
            for start in range(0, len(order), BATCH):
                places = order[start : start + BATCH]
                vectors[places] = encoder.encode([texts[i] for i in places])
        return vectors

    def _load(self) -> _Encoder:
        if self._loaded is None:
            name = _fingerprint(self.path)
            # Here, not above: it brings torch, and whoever only needs the protocol must not wait for that.
            from safetensors import SafetensorError
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()

            try:
                window = json.loads((self.path / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"]
                pooling = json.loads((self.path / "1_Pooling" / "config.json").read_text("utf-8"))
                if not pooling.get("pooling_mode_mean_tokens"):
                    raise ValueError("its pooling is not the mean of its tokens, the only one that is known here")
                tokenizer = AutoTokenizer.from_pretrained(str(self.path), local_files_only=True)
                model = AutoModel.from_pretrained(str(self.path), local_files_only=True).eval()
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                raise ModelUnavailable(f"the embedder in {self.path} can't be loaded: {_first_line(error)}") from error
            self._loaded = _Encoder(name, tokenizer, model, int(window))
        return self._loaded


def named(name: str, folders: Sequence[Path]) -> SentenceEmbedder | None:
    """The embedder of that name, if its model lies in one of the folders or right in a folder of theirs."""
    for folder in folders:
        for path in (folder, *sorted(folder.glob("*/"))):
            try:
                if (path / "modules.json").is_file() and _fingerprint(path) == name:
                    return SentenceEmbedder(path)
            except (ModelUnavailable, OSError):
                continue
    return None


@dataclass(frozen=True)
class _Encoder:
    """A loaded model. `window` is the most tokens of a text that it reads."""

    name: str
    tokenizer: Any
    model: Any
    window: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The mean of the last hidden states over each text's tokens, scaled to length 1."""
        import torch

        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.window, return_tensors="pt")
        with torch.inference_mode():
            hidden = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return np.asarray(torch.nn.functional.normalize(mean, dim=-1).numpy(), dtype=np.float32)


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
