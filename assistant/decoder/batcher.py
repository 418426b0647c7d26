"""Many answers at once: who is computed next. `Batcher.step` is the story: leave, join, schedule, run, absorb.

Answers join and leave between two passes. Whoever is being answered gets one token a pass; what room is left reads the
prompts of those who have just come: half of it whoever came first, the rest whoever has least to read, so that a long
prompt delays others by little, and is not put off for ever. Continuous batching:
Orca (OSDI 2022); prompts in pieces: Sarathi (arXiv 2308.16369).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assistant.decoder.blocks import TOKENS, Blocks, Held
from assistant.decoder.rows import Pick, Row, Runs
from assistant.engine import Sampling

log = logging.getLogger(__name__)

ENDED = None
"""Last in a request's stream where nothing went wrong."""


@dataclass(eq=False)
class Request:
    """An answer that somebody waits for.

    Args:
        prompt: its tokens, at least one.
        adapter: as `Runs.adapter` made it; None: the base.
        root: what its keys and values belong to: the adapter's hash, or None for the base.
        ends: the tokens that end an answer.
        stop: ends it when it is set.
    """

    prompt: Sequence[int]
    sampling: Sampling
    adapter: Any
    root: str | None
    ends: frozenset[int]
    stop: threading.Event
    tokens: queue.SimpleQueue[list[int] | Exception | None] = field(default_factory=queue.SimpleQueue)
    """Of the answer, as they come, the one that ends it too; then `ENDED`, or what went wrong.

    Those of one pass, or of some, together: each time that somebody is woken costs all who are answered.
    """

    def __post_init__(self) -> None:
        self.read = list(self.prompt)
        self.computed = 0
        self.held: Held | None = None
        self.number = 0
        self.dice = np.random.default_rng(self.sampling.seed)
        self.longest = len(self.prompt) + self.sampling.max_tokens
        """Tokens that it has at most. Where there is not memory for so many, the batcher makes them fewer."""

    @property
    def pending(self) -> int:
        """Tokens that are known and not computed yet: 1 while it is being answered."""
        return len(self.read) - self.computed

    def take(self, tokens: Sequence[int]) -> list[int]:
        """Those of `tokens` that are of the answer: up to one that ends it. They are known from now on."""
        end = next((place for place, token in enumerate(tokens) if token in self.ends), len(tokens) - 1)
        said = list(tokens[: end + 1])
        self.read.extend(said)
        return said

    def __iter__(self) -> Iterator[int]:
        """The tokens as they come. Raises: what went wrong."""
        while (tokens := self.tokens.get()) is not ENDED:
            if isinstance(tokens, Exception):
                raise tokens
            yield from tokens


class Batcher:
    """Answers requests in a thread of its own.

    Args:
        most: answers under way at once; more wait.
    """

    def __init__(self, runner: Runs, *, most: int) -> None:
        self._runner, self._most = runner, most
        self._blocks = Blocks(runner.reserve(0))
        self._changed = threading.Condition()
        self._come: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._closed = self._forgets = False
        self._joined = 0
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def fits(self, tokens: int) -> bool:
        """Whether a conversation of so many can be computed here at all."""
        return tokens <= self._runner.model.positions and -(-tokens // TOKENS) <= self._runner.blocks

    def submit(self, request: Request) -> None:
        """Answer it as soon as there is room."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._come.append(request)
            self._changed.notify()

    def forget(self) -> None:
        """Give back the memory of what was read: at once where nothing is under way, else as soon as that is."""
        with self._changed:
            self._forgets = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._forgets or self._running or self._closed)

    @property
    def under_way(self) -> tuple[int, int]:
        """Answers that are computed, and that wait."""
        with self._changed:
            return len(self._running), len(self._waiting) + len(self._come)

    def close(self) -> None:
        """End the thread; what is under way ends where it is."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._come or self._waiting or self._running or self._closed or self._forgets):
                    self._changed.wait()
                forgets = self._forgets and not self._running
                self._waiting.extend(self._come)
                self._come.clear()
                if self._closed:
                    break
            try:
                if forgets:
                    self._forget()
                self.step()
            except Exception as error:
                # Whatever it is: those whom it hits are told, and the next ones are answered.
                for request in self._running:
                    self._end(request, error)
                self._running.clear()
                # What it left in the blocks, or whether there are any still, nobody knows. Where there are none it was
                # forgetting that failed: tried again and again, it would keep the others from being told.
                with self._changed:
                    self._forgets |= self._blocks.count > 0
        for request in [*self._running, *self._waiting]:
            self._end(request)

    def _forget(self) -> None:
        self._blocks = Blocks(0)
        try:
            self._runner.forget()
        finally:
            with self._changed:
                self._forgets = False
                self._changed.notify_all()

    def step(self) -> None:
        """One pass over all that is under way."""
        self._leave()
        self._join()
        if rows := self._schedule():
            picks = [Pick(request.sampling, request.dice) for request, row in rows if row.wanted]
            tokens = self._runner.next_tokens([row for _, row in rows], picks, self._passes(rows))
            self._absorb([request for request, _ in rows], [row for _, row in rows], tokens)

    def _passes(self, rows: Sequence[tuple[Request, Row]]) -> int:
        """How many passes are begun before their tokens are looked at: several where nobody would gain by fewer.

        Whoever comes, stops or ends meanwhile waits for that many, and what was computed behind an end is thrown away.
        """
        with self._changed:
            joins = bool(self._come or self._waiting) and len(self._running) < self._most
            others = joins or len(self._running) > len({id(request) for request, _ in rows})
        if others or not all(row.wanted and request.sampling.greedy for request, row in rows):
            return 1
        return min(self._runner.ahead, *(request.longest - len(request.read) for request, _ in rows))

    def _leave(self) -> None:
        for group in (self._running, self._waiting):
            for request in [request for request in group if request.stop.is_set()]:
                group.remove(request)
                self._end(request)

    def _join(self) -> None:
        """In the order in which they came: nobody overtakes one who waits for more room."""
        while self._waiting and len(self._running) < self._most:
            request = self._waiting[0]
            try:
                request.held = self._hold(request)
            except Exception as error:
                # Out of memory, of whatever class: whoever needs less is answered.
                self._waiting.popleft()
                self._end(request, error)
                continue
            if request.held is None:
                return
            request.computed = request.held.named * TOKENS
            self._joined += 1
            request.number = self._joined
            self._waiting.popleft()
            with self._changed:
                self._running.append(request)

    def _hold(self, request: Request) -> Held | None:
        """Its blocks, or None: there will be as soon as others are through. Raises: RuntimeError: out of memory."""
        held = self._blocks.hold(request.read, request.root, request.longest)
        if held is None and not self._running:
            # All are free and too few: what was read is forgotten, or memory was scarce when they were made.
            self._blocks = Blocks(0)
            self._blocks = Blocks(self._reserve(request))
            if (room := self._blocks.count * TOKENS) < request.longest:
                log.warning("out of memory: room for %d of the %d tokens of prompt and answer", room, request.longest)
                request.longest = room
            held = self._blocks.hold(request.read, request.root, request.longest)
        return held

    def _reserve(self, request: Request) -> int:
        """Blocks for all that it may say, or, each time that so many can't be had, for half as many tokens, which are a
        block's at least: most answers end long before they are as long as they may be. Raises: RuntimeError: out of
        memory.
        """
        prompt, answer = len(request.prompt), request.sampling.max_tokens
        while answer > TOKENS:
            with suppress(RuntimeError):
                return self._runner.reserve(-(-(prompt + answer) // TOKENS))
            # Outside of the handler, which holds what the failed try had made.
            answer = max(answer // 2, TOKENS)
        return self._runner.reserve(-(-(prompt + answer) // TOKENS))

    def _schedule(self) -> list[tuple[Request, Row]]:
        """One row for each answer, the rest for prompts; sorted so that adapters stand together."""
        room = self._runner.rows
        shares = dict.fromkeys(self._not_twice()[:room], 1)
        room -= len(shares)
        reading = sorted((request for request in shares if request.pending > 1), key=lambda request: request.pending)
        first = min(reading, key=lambda request: request.number, default=None)
        turns = [(first, room // 2)] if first else []
        for request, most in [*turns, *((request, room) for request in reading)]:
            more = min(most, room, request.pending - shares[request])
            shares[request] += more
            room -= more
        # Whoever did not find room, or much of it, is first next time.
        self._running = [*(request for request in self._running if request not in shares), *shares]
        rows = []
        for request in sorted(shares, key=lambda request: request.root or ""):
            assert request.held is not None  # noqa: S101 - all that run hold blocks
            for position in range(request.computed, request.computed + shares[request]):
                wanted = position == len(request.read) - 1
                row = Row(request.read[position], position, request.held.blocks, request.adapter, wanted)
                rows.append((request, row))
        return rows

    def _not_twice(self) -> list[Request]:
        """All that are under way but those whose next block somebody else is reading: they take it over once it is
        read, however many come at once with the same system message.
        """
        readers: dict[object, Request] = {}
        for request in self._running:
            assert request.held is not None  # noqa: S101 - all that run hold blocks
            if request.computed == request.held.named * TOKENS:
                self._take_over(request, request.held)
            key = self._blocks.next_key(request.held, request.read) or request
            other = readers.setdefault(key, request)
            if other.computed < request.computed:
                readers[key] = request
        return list(readers.values())

    def _take_over(self, request: Request, held: Held) -> None:
        """What others have read of its prompt: whole blocks are shared, the beginning of one is copied."""
        self._blocks.catch_up(held, request.read)
        block, tokens = self._blocks.alike(held, request.read)
        if tokens:
            self._runner.copy(block, held.blocks[held.named])
        request.computed = held.named * TOKENS + tokens

    def _absorb(self, requests: Sequence[Request], rows: Sequence[Row], tokens: Sequence[Sequence[int]]) -> None:
        chosen = iter(tokens)
        for request, row in zip(requests, rows, strict=True):
            request.computed = row.position + 1
            if not row.wanted:
                continue
            said = request.take(next(chosen))
            request.computed += len(said) - 1
            request.tokens.put(said)
            if said[-1] in request.ends or len(request.read) == request.longest:
                self._running.remove(request)
                self._end(request)
        for request in dict.fromkeys(requests):
            if request.held:
                self._blocks.name(request.held, request.read[: request.computed])

    def _end(self, request: Request, error: Exception | None = None) -> None:
        if request.held:
            self._blocks.name(request.held, request.read[: request.computed])
            self._blocks.release(request.held)
            request.held = None
        request.tokens.put(error or ENDED)
