"""For anyone's tests: an embedder that hashes, a clock that stands, and makers of the nouns with sensible defaults.

Everything is deterministic, across processes too. `Ledger.in_memory()` is the ledger to go with them.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from memory.embedder import Vectors
from memory.records import (
    BASE,
    Adapter,
    AdapterState,
    Exchange,
    Lesson,
    LessonState,
    Message,
    Night,
    NightStatus,
    Rating,
    sign,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""When things happen, unless said otherwise."""

KEY = b"a key for tests, 32 bytes long.."
"""What `exchange` signs with."""


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def tick(self, seconds: float = 1.0) -> datetime:
        """Go on by `seconds`; returns the new time."""
        self._now += timedelta(seconds=seconds)
        return self._now


def ids(prefix: str) -> Callable[[], str]:
    """A maker of ids: prefix1, prefix2 and so on."""
    numbers = itertools.count(1)
    return lambda: f"{prefix}{next(numbers)}"


class HashingEmbedder:
    """Bags of words, each word hashed to one of 64 dimensions: texts that share words are near each other."""

    name = "hashing-64"
    dimensions = 64
    path: Path | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 of shape (len(texts), 64); each row has length 1."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()) or [text]:
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimensions] += 1
            row /= np.linalg.norm(row)
        return vectors


def exchange(
    exchange_id: str = "e1",
    *,
    question: str = "What is the capital of France?",
    answer: str = "Paris.",
    conversation_id: str = "c1",
    parent_id: str | None = None,
    user: str = "local",
    created_at: datetime = NOON,
    history: Sequence[Message] = (),
    model_id: str = "test-model",
    adapter: str = BASE,
    adapter_sha256: str | None = None,
    finish_reason: str = "stop",
) -> Exchange:
    """An exchange as the assistant stores it, signed with `KEY`."""
    prompt: list[Message] = [*history, {"role": "user", "content": question}]
    return Exchange(
        id=exchange_id,
        conversation_id=conversation_id,
        parent_id=parent_id,
        user=user,
        created_at=created_at,
        question=question,
        answer=answer,
        history=list(history),
        prompt=prompt,
        model_id=model_id,
        adapter=adapter,
        adapter_sha256=adapter_sha256,
        recollections=[],
        sampling={"temperature": 0.0},
        timings={"generate_s": 0.5},
        finish_reason=finish_reason,
        signature=sign(KEY, prompt, answer),
    )


def rating(
    rating_id: str = "r1",
    exchange_id: str = "e1",
    *,
    value: Literal[1, -1, 0] = -1,
    correction: str | None = None,
    reasons: Sequence[str] = (),
    comment: str = "",
    created_at: datetime = NOON,
    user: str = "local",
) -> Rating:
    """A rating, down unless said otherwise."""
    return Rating(rating_id, exchange_id, created_at, value, list(reasons), comment, correction, user)


def lesson(
    lesson_id: str = "l1",
    rating_id: str = "r1",
    exchange_id: str = "e1",
    *,
    question: str = "What is the capital of France?",
    wanted: str | None = "Paris, on the Seine.",
    unwanted: str | None = "Paris.",
    state: LessonState = LessonState.QUEUED,
    reason: str = "waits for the next night",
    created_at: datetime = NOON,
    history: Sequence[Message] = (),
    user: str = "local",
) -> Lesson:
    """A lesson as it is queued."""
    return Lesson(
        id=lesson_id,
        rating_id=rating_id,
        exchange_id=exchange_id,
        user=user,
        created_at=created_at,
        question=question,
        wanted=wanted,
        unwanted=unwanted,
        state=state,
        reason=reason,
        history=list(history),
    )


def night(
    night_id: str = "n1", *, created_at: datetime = NOON, seed: int = 0, settings: Mapping[str, Any] | None = None
) -> Night:
    """A night as it is requested."""
    return Night(
        id=night_id,
        status=NightStatus.QUEUED,
        created_at=created_at,
        seed=seed,
        settings=dict(settings or {}),
        reasons=[],
    )


def adapter(
    version: str = "v1",
    *,
    night_id: str = "n1",
    state: AdapterState = AdapterState.ACTIVE,
    created_at: datetime = NOON,
    reason: str = "it passed the exam",
) -> Adapter:
    """An adapter that passed the exam; its sha256 is made of its version."""
    return Adapter(
        version=version,
        sha256=hashlib.sha256(version.encode()).hexdigest(),
        state=state,
        night_id=night_id,
        model_id="test-model",
        created_at=created_at,
        reason=reason,
    )
