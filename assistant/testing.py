"""Fakes for anyone's tests: an engine that says what it is told to, and an assistant around it that needs no model."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from assistant.engine import AdapterFiles, FinishReason, Piece, Sampling
from assistant.settings import Settings
from assistant.turn import Assistant
from memory.ledger import Ledger
from memory.recall import Memory
from memory.records import Message
from memory.testing import Clock, HashingEmbedder, ids

KEY = b"a key for tests"


def _set() -> Event:
    event = Event()
    event.set()
    return event


@dataclass
class ScriptedEngine:
    """An `Engine` that answers from `script` (a function of the prompt), word by word, and records its calls.

    Args:
        script: prompt → answer; by default it repeats the question.
        pause: seconds between two words.
        go_on: while it is cleared, no word follows the first.
    """

    script: Callable[[Sequence[Message]], str] = lambda prompt: f"You asked: {prompt[-1]['content']}"
    pause: float = 0.0
    go_on: Event = field(default_factory=_set)
    model_id: str = "test-model"
    calls: list[tuple[tuple[Message, ...], Sampling, str | None]] = field(default_factory=list)

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        self.calls.append((tuple(prompt), sampling, adapter.version if adapter else None))
        words = re.findall(r"\S+\s*|\s+", self.script(prompt))
        said = 0
        for word in words[: sampling.max_tokens]:
            if stop.is_set():
                break
            said += 1
            yield Piece(word)
            while not (stop.is_set() or self.go_on.wait(0.01)):
                pass
            if self.pause:
                time.sleep(self.pause)
        finish: FinishReason = "stopped" if stop.is_set() else "stop" if said == len(words) else "length"
        yield Piece("", finish, self.count_tokens(prompt), said)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """The same answers, the shortest prompt first as a real engine has it."""
        for place in sorted(range(len(prompts)), key=lambda i: self.count_tokens(prompts[i])):
            pieces = self.generate(prompts[place], Sampling(max_tokens), adapter=adapter, stop=Event())
            yield place, "".join(piece.text for piece in pieces).strip()

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        """One a word, and four a message."""
        return sum(4 + len(message["content"].split()) for message in prompt)


def assistant(
    home: Path, *, engine: ScriptedEngine | None = None, ledger: Ledger | None = None, clock: Clock | None = None
) -> Assistant:
    """An assistant in `home` over a scripted engine and a hashing embedder; the ledger is a real file there."""
    ledger = ledger or Ledger.open(home / "ledger.db")
    return Assistant(
        settings=Settings(home=home),
        ledger=ledger,
        memory=Memory(ledger, HashingEmbedder(), home / "index", min_score=0.5),
        engine=engine or ScriptedEngine(),
        key=KEY,
        clock=clock or Clock(),
        new_id=ids("id"),
    )
