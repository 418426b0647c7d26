"""An engine that computes no answer twice.

A bench asks the same questions after every night, in two columns, by many arms and seeds. Where the same weights are
given the same prompt, greedily, the answer is the same: before the first night, after a rejected one, in every arm
without nights, and wherever nothing is recalled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from threading import Event

from assistant.engine import AdapterFiles, Capabilities, Engine, Piece, Sampling
from memory.records import Message


class CachedEngine:
    """An `Engine` around another one, over `known`: hash of weights, prompt and length → answer.

    Only `complete` is remembered, which is greedy. Hand the same `known` to engines of the same base weights alone.
    """

    def __init__(self, engine: Engine, known: MutableMapping[str, str]) -> None:
        self._engine, self._known = engine, known

    @property
    def model_id(self) -> str:
        return self._engine.model_id

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    def admit(self, adapter: AdapterFiles) -> None:
        self._engine.admit(adapter)

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        return self._engine.generate(prompt, sampling, adapter=adapter, stop=stop)

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        return self._engine.count_tokens(prompt)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """See `Engine.complete`. What is known comes first."""
        waiting: dict[str, list[int]] = {}
        for place, prompt in enumerate(prompts):
            key = _key(prompt, max_tokens, adapter)
            if key in self._known:
                yield place, self._known[key]
            else:
                waiting.setdefault(key, []).append(place)
        keys = list(waiting)
        missing = [prompts[waiting[key][0]] for key in keys]
        for i, answer in self._engine.complete(missing, max_tokens=max_tokens, adapter=adapter):
            self._known[keys[i]] = answer
            for place in waiting[keys[i]]:
                yield place, answer


class KeptAnswers(dict[str, str]):
    """What is known so far, each answer appended to `file` as it comes: what was cut off asks none of them again."""

    def __init__(self, file: Path) -> None:
        super().__init__(_read(file))
        self._file = file

    def __setitem__(self, key: str, answer: str) -> None:
        # A line feed before each, so that a line that was cut off harms no other.
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps([key, answer])}")
        super().__setitem__(key, answer)


def _read(file: Path) -> Iterator[tuple[str, str]]:
    """The answers in it; a line that is damaged is as good as none."""
    if not file.exists():
        return
    for line in file.read_text("utf-8", errors="replace").split("\n"):
        try:
            key, answer = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(key, str) and isinstance(answer, str):
            yield key, answer


def _key(prompt: Sequence[Message], max_tokens: int, adapter: AdapterFiles | None) -> str:
    content = [adapter.sha256 if adapter else None, max_tokens, list(prompt)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
