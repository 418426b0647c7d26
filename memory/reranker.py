"""A cross-encoder, for those who have one: question and memory read together, which tells more than their vectors.

Off unless a setting names one. A folder is read as it is; a name of the hub is fetched, since it was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from memory.errors import ModelUnavailable

TOKENS = 512
"""Of question and memory together; what is longer is cut."""


class Reranker(Protocol):
    """What scores how well texts answer a question: the higher, the better."""

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """One score for each text. Raises: ModelUnavailable."""
        ...


class CrossEncoder:
    """The model `name`, one that classifies pairs into one score, on the CPU; loaded at first use.

    Raises:
        ModelUnavailable: at first use, when there is no such model or it scores nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See `Reranker.scores`."""
        import torch

        with self._lock:
            tokenizer, model = self._load()
            pairs = [question] * len(texts), list(texts)
            tokens = tokenizer(*pairs, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**tokens).logits
        return [float(score) for score in logits[:, -1]]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            here = Path(self.name).expanduser().is_dir()
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.name, local_files_only=here)
                model = AutoModelForSequenceClassification.from_pretrained(self.name, local_files_only=here).eval()
            except (OSError, ValueError, RuntimeError) as error:
                why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise ModelUnavailable(f"the reranker {self.name} can't be loaded: {why}") from error
            self._loaded = tokenizer, model
        return self._loaded
