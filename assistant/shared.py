"""An engine that gives its memory up while a night needs the card, and says so until it has it back.

Answers under way are finished first; who asks meanwhile waits if it is nearly over, else is told for how long it will
be, or is answered by another engine. It does not know what an engine's weights are, only that making one anew is cheap
and loading it takes seconds.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from assistant import takeover
from assistant.engine import AdapterFiles, Capabilities, Engine, Piece, Sampling
from memory.errors import NightschoolError, Studying
from memory.ledger import Ledger
from memory.records import Message

log = logging.getLogger(__name__)

WAITED_OUT = 30.0
"""Seconds that a night is expected to go on for, from which on who asks is told rather than kept waiting."""


class Loadable(Engine, Protocol):
    """An engine whose weights are loaded once."""

    @property
    def ready(self) -> bool:
        """Whether they are."""
        ...

    def load(self) -> None:
        """Load them. Raises: ModelUnavailable."""
        ...

    def close(self) -> None:
        """End its threads, if it has any: they would keep what it holds."""
        ...


class SharedEngine:
    """An `Engine` over engines that `make` makes, of which there is one at a time and none while a night has the card.

    Args:
        instead: answers meanwhile; None: nobody does.
        every: seconds between two looks at the ledger.
    """

    def __init__(
        self,
        make: Callable[[], Loadable],
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        instead: Engine | None = None,
        every: float = 1.0,
    ) -> None:
        self._make, self._ledger, self._clock = make, ledger, clock
        self._instead, self._every = instead, every
        self._changed = threading.Condition()
        self._engine: Loadable | None = make()
        self._under_way = 0
        self._night: takeover.Takeover | None = None
        self._model_id, self._capabilities = self._engine.model_id, self._engine.capabilities
        self._ended = threading.Event()

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def capabilities(self) -> Capabilities:
        engine = self._engine
        if engine is not None:
            # They may have grown since it was made: it warms up.
            self._capabilities = engine.capabilities
        return self._capabilities

    @property
    def ready(self) -> bool:
        engine = self._engine
        return self._night is None and engine is not None and engine.ready

    @property
    def trouble(self) -> str | None:
        """Why it can't answer now, in one line."""
        night = self._night
        return str(Studying(night.seconds)) if night else None

    def load(self) -> None:
        """Load the weights, and look from now on whether a night wants the card. Raises: ModelUnavailable."""
        self.look()
        engine = self._engine
        if engine is not None:
            engine.load()
        threading.Thread(target=self._watch, name="card", daemon=True).start()

    def close(self) -> None:
        """Look no longer."""
        self._ended.set()

    def look(self) -> None:
        """One look: let go of the card if a night wants it, take it back if none does."""
        night = takeover.standing(self._ledger, at=self._clock())
        with self._changed:
            self._night = night
            self._changed.notify_all()
            if night is not None and self._engine is not None and not self._under_way:
                self._engine.close()
                self._engine = None
                _collect()
        if night is not None and self._engine is None and not takeover.is_free(self._ledger, night.night_id):
            takeover.let_go(self._ledger, night.night_id)
        if night is None and self._engine is None:
            made = self._make()
            made.load()
            with self._changed:
                self._engine = made
                self._changed.notify_all()

    def admit(self, adapter: AdapterFiles) -> None:
        (self._engine or self._make()).admit(adapter)

    def generate(
        self, prompt: Sequence[Message], sampling: Sampling, *, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Iterator[Piece]:
        """See `Engine.generate`. Raises: Studying, beside the others."""
        with self._using(stop) as engine:
            yield from engine.generate(prompt, sampling, adapter=adapter, stop=stop)

    def complete(
        self, prompts: Sequence[Sequence[Message]], *, max_tokens: int, adapter: AdapterFiles | None
    ) -> Iterator[tuple[int, str]]:
        """See `Engine.complete`. Raises: Studying."""
        with self._using() as engine:
            yield from engine.complete(prompts, max_tokens=max_tokens, adapter=adapter)

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        with self._using() as engine:
            return engine.count_tokens(prompt)

    @contextmanager
    def _using(self, stop: threading.Event | None = None) -> Iterator[Engine]:
        """Who answers now, held as long as the context lasts. Raises: Studying."""
        with self._changed:
            waited = 0.0
            while self._night is not None or self._engine is None:
                left = self._night.seconds if self._night else 1.0
                if self._instead is not None:
                    break
                if left > WAITED_OUT or waited > 2 * WAITED_OUT or (stop is not None and stop.is_set()):
                    raise Studying(left)
                self._changed.wait(0.2)
                waited += 0.2
            mine = self._engine if self._night is None else None
            serves = mine or self._instead
            assert serves is not None  # noqa: S101 - with neither, the loop above has raised
            self._under_way += mine is not None
        try:
            yield serves
        finally:
            if mine is not None:
                with self._changed:
                    self._under_way -= 1

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.look()
            except (NightschoolError, OSError) as error:
                log.warning("the card can't be handed over for now: %s", error)


def _collect() -> None:
    """Have what nobody refers to any more be gone from this machine's memory, and from the card's."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
