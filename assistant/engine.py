"""The seam between a turn and whatever computes the words: the `Engine` protocol and what crosses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal, Protocol

from memory.records import Message

GREEDY_BELOW = 1e-3
"""Temperature under which there is nothing left to draw: a token one nat behind has e^-1000 of a chance, and the logits
divided by it run out of float32.
"""

FinishReason = Literal["stop", "length", "stopped", "content_filter"]
"""The model ended by itself; the longest answer was reached; somebody pressed stop; another server cut it off."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0, or as good as 0, is greedy; `top_p`, `seed` don't matter then."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends; see `assistant.until`, which keeps to them whatever the engine does."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken each time."""
        return self.temperature < GREEDY_BELOW


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """A LoRA on disk in PEFT's format. `sha256` is that of its weights file, checked before it is loaded."""

    version: str
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of the answer. The last piece alone has a `finish`, and the token counts of the whole; others have the
    tokens of the answer so far, where the engine knows.
    """

    text: str
    finish: FinishReason | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, as far as it knows.

    Attributes:
        adapters: whether versions can answer, and not the base alone.
        seeds: whether the same seed draws the same answer.
        counts_exactly: whether `count_tokens` is the model's own tokenizer; otherwise it is an estimate from above.
        context: most tokens of prompt and answer together; None: nobody has said.
        at_once: answers that are computed together; more wait for their turn.
    """

    adapters: bool
    seeds: bool
    counts_exactly: bool
    context: int | None
    at_once: int


class Engine(Protocol):
    """A language model that serves. Safe to call from several threads."""

    @property
    def model_id(self) -> str:
        """What identifies the base weights."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do. Cheap to ask: no weights are loaded for it, and no server is waited for."""
        ...

    def admit(self, adapter: AdapterFiles) -> None:
        """Look whether it could answer with `adapter`, before anybody is answered with it.

        Raises: ModelUnavailable: its files are missing, damaged or not for this model, or the server refuses it.
        """
        ...

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: Event
    ) -> Iterator[Piece]:
        """Stream the answer to `prompt` with `adapter` (None: the base), until it ends or `stop` is set.

        Closing the iterator stops as well. One adapter serves a whole answer. Where it raises in the middle, what was
        said before stands.

        Raises:
            ModelUnavailable: the adapter's files are missing or not the ones that were published; or who computes the
                words is down, too slow, or is not what the settings say.
        """
        ...

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """Greedy answers to many prompts, computed in batches: (place in `prompts`, answer) as they come, in any order.

        Raises: ModelUnavailable, as `generate`.
        """
        ...

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        """Tokens of the rendered prompt, with the turn opened for the assistant."""
        ...
