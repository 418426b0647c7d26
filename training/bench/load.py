"""Many users at once against a running server: they ask, stop, hang up, rate, and come back when they are told to.

Everything goes over HTTP, as programs do it, and what the server holds is read from its `/metrics`: when all users have
gone, no turn may be left, no more threads or open files than before, and no memory that goes on growing.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from memory.errors import NightschoolError

QUESTIONS = (
    "What is the capital of France?",
    "Tell me a short story about a lighthouse.",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "Name three rivers in Europe.",
    "What does a compiler do?",
    "Write two sentences about autumn.",
    "Explain how a bicycle stays upright.",
)

LOOK_EVERY = 5.0
"""Seconds between two looks at what the server holds."""

PATIENCE = 1800.0
"""Seconds that a user waits for a word. Long: the server itself gives up before (`answer_seconds`), and says so."""

DRAINED_WITHIN = 120.0
"""Seconds in which the answers under way end once everybody has gone."""

GROWS_MAX = 0.05
"""Share by which memory may be more in the last third of a run than in the second: caches are full by then, and what
is kept of each exchange is a few kilobytes.
"""

THREADS_MORE_MAX = 2
"""Threads more, at the end, than in the second third of a run: a clock or a saving that is just under way."""

FILES_MORE_MAX = 8
"""The same of open files."""


@dataclass(frozen=True)
class Holds:
    """What the server holds at one moment."""

    turns: int
    threads: int
    files: int
    memory_mb: float


@dataclass
class Seen:
    """What the users have seen."""

    turns: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_token_s: list[float] = field(default_factory=list)
    tokens: int = 0
    ratings: int = 0


@dataclass(frozen=True)
class Load:
    """The outcome of a run."""

    users: int
    seconds: float
    seen: Seen
    held: Sequence[tuple[float, Holds]]
    left: Holds

    @property
    def failures(self) -> list[str]:
        """What must not be, one line each; none is a good run."""
        found = [f"{count} times: {what}" for what, count in self.seen.errors.items()]
        if not self.seen.turns["finished"]:
            found.append("not one answer was finished")
        if self.left.turns:
            found.append(f"{self.left.turns} turns were left under way")
        usual = self._third(2)
        if self.left.threads > usual.threads + THREADS_MORE_MAX:
            found.append(f"threads: {usual.threads} in the second third, {self.left.threads} when all had gone")
        if self.left.files > usual.files + FILES_MORE_MAX:
            found.append(f"open files: {usual.files} in the second third, {self.left.files} when all had gone")
        last = self._third(3)
        if last.memory_mb > usual.memory_mb * (1 + GROWS_MAX):
            found.append(f"memory: {usual.memory_mb:.0f} MB in the second third, {last.memory_mb:.0f} MB in the last")
        return found

    def as_json(self) -> dict[str, Any]:
        first = sorted(self.seen.first_token_s) or [0.0]
        usual, last = self._third(2), self._third(3)
        return {
            "users": self.users,
            "seconds": round(self.seconds, 1),
            "turns": dict(self.seen.turns),
            "ratings": self.seen.ratings,
            "answer_tokens_per_s": round(self.seen.tokens / self.seconds, 1),
            "first_token_s": {"p50": round(median(first), 2), "p95": round(first[int(0.95 * (len(first) - 1))], 2)},
            "errors": dict(self.seen.errors),
            "left": {"turns": self.left.turns, "threads": self.left.threads, "files": self.left.files},
            "threads": {"second third": usual.threads, "end": self.left.threads},
            "files": {"second third": usual.files, "end": self.left.files},
            "memory_mb": {
                "begin": round(self.held[0][1].memory_mb, 1),
                "second third": round(usual.memory_mb, 1),
                "last third": round(last.memory_mb, 1),
                "end": round(self.left.memory_mb, 1),
            },
            "failures": self.failures,
        }

    def _third(self, number: int) -> Holds:
        """The medians of a third of the run."""
        begin, end = self.seconds * (number - 1) / 3, self.seconds * number / 3
        within = [holds for at, holds in self.held if begin <= at <= end] or [self.held[-1][1]]
        return Holds(
            turns=int(median(holds.turns for holds in within)),
            threads=int(median(holds.threads for holds in within)),
            files=int(median(holds.files for holds in within)),
            memory_mb=median(holds.memory_mb for holds in within),
        )


def load(
    url: str,
    *,
    users: int,
    seconds: float,
    seed: int,
    key: str = "",
    max_tokens: int = 48,
    progress: Callable[[float, str], None] = lambda share, words: None,
) -> Load:
    """Let `users` use the server at `url` for so many seconds. Raises: NightschoolError: nobody answers there."""
    try:
        return asyncio.run(_load(url, users, seconds, seed, key, max_tokens, progress))
    except httpx2.HTTPError as error:
        raise NightschoolError(f"{url} can't be asked ({type(error).__name__}: {error})") from error


async def _load(
    url: str,
    users: int,
    seconds: float,
    seed: int,
    key: str,
    max_tokens: int,
    progress: Callable[[float, str], None],
) -> Load:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=users)
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE, limits=limits) as http:
        ready = await http.get("/ready")
        if ready.status_code != 200:
            raise NightschoolError(f"{url} is not ready: {ready.text[:200]}")
        seen, began = Seen(), monotonic()
        held = [(0.0, await _holds(http))]
        people = [
            asyncio.create_task(_user(http, random.Random(f"{seed} {i}"), seen, began + seconds, max_tokens))
            for i in range(users)
        ]
        while not all(person.done() for person in people):
            await asyncio.wait(people, timeout=LOOK_EVERY)
            held.append((monotonic() - began, await _holds(http)))
            progress(min(1.0, held[-1][0] / seconds), f"{seen.turns.total()} turns")
        for person in people:
            person.result()
        took = monotonic() - began
        left, gone = await _holds(http), monotonic()
        while left.turns and monotonic() - gone < DRAINED_WITHIN:
            await asyncio.sleep(0.5)
            left = await _holds(http)
        return Load(users, took, seen, held, left)


async def _holds(http: httpx2.AsyncClient) -> Holds:
    reply = await http.get("/metrics")
    reply.raise_for_status()
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            found[sample.name] += sample.value
    return Holds(
        int(found["nightschool_turns_under_way"]),
        int(found["nightschool_threads"]),
        int(found["process_open_fds"]),
        found["process_resident_memory_bytes"] / 1e6,
    )


async def _user(http: httpx2.AsyncClient, dice: random.Random, seen: Seen, until: float, max_tokens: int) -> None:
    """One person: a dialogue that begins anew every few questions."""
    dialogue: list[dict[str, str]] = []
    while monotonic() < until:
        if len(dialogue) > 6 or dice.random() < 0.2:
            dialogue = []
        question = dice.choice(QUESTIONS)
        body = {"messages": [*dialogue, {"role": "user", "content": question}], "max_tokens": max_tokens}
        how = dice.choices(["whole", "stream", "stop", "hang up"], [2, 5, 2, 2])[0]
        try:
            answer, exchange_id = await _ask(http, body, how, dice, seen)
        except httpx2.HTTPError as error:
            seen.errors[type(error).__name__] += 1
            continue
        if answer is None:
            await asyncio.sleep(dice.uniform(0.2, 1.0))
            continue
        dialogue += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        if exchange_id and dice.random() < 0.5:
            await _rate(http, exchange_id, dice, seen)
        await asyncio.sleep(dice.uniform(0.0, 0.5))


async def _ask(
    http: httpx2.AsyncClient, body: dict[str, Any], how: str, dice: random.Random, seen: Seen
) -> tuple[str | None, str | None]:
    """(answer, exchange id); (None, None) of one that was not waited for, or was refused for now."""
    if how == "whole":
        reply = await http.post("/v1/chat/completions", json=body)
        if reply.status_code != 200:
            await _refused(reply, seen)
            return None, None
        content = reply.json()
        seen.turns["finished"] += 1
        seen.tokens += content["usage"]["completion_tokens"]
        return content["choices"][0]["message"]["content"], content["nightschool"]["exchange_id"]
    if how == "hang up":
        # Before the whole answer is there, as a tab that is closed.
        try:
            async with asyncio.timeout(dice.uniform(0.05, 3.0)):
                await http.post("/v1/chat/completions", json=body)
            seen.turns["finished"] += 1
        except TimeoutError:
            seen.turns["hung up"] += 1
        return None, None
    stop_after = dice.randrange(1, 20) if how == "stop" else None
    return await _stream(http, body, stop_after, seen)


async def _stream(
    http: httpx2.AsyncClient, body: dict[str, Any], stop_after: int | None, seen: Seen
) -> tuple[str | None, str | None]:
    began, words = monotonic(), list[str]()
    exchange_id = None
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            await reply.aread()
            await _refused(reply, seen)
            return None, None
        async for line in reply.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                seen.errors[str(chunk["error"]["message"])[:80]] += 1
                return None, None
            exchange_id = chunk.get("nightschool", {}).get("exchange_id", exchange_id)
            seen.tokens += (chunk.get("usage") or {}).get("completion_tokens", 0)
            text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if text:
                if not words:
                    seen.first_token_s.append(monotonic() - began)
                words.append(text)
            if stop_after is not None and len(words) >= stop_after:
                seen.turns["stopped"] += 1
                return "".join(words), exchange_id
    seen.turns["finished"] += 1
    return "".join(words), exchange_id


async def _refused(reply: httpx2.Response, seen: Seen) -> None:
    """One chat too many is no failure: it is told when to come back, and does."""
    if reply.status_code == 429:
        seen.turns["told to come back"] += 1
        await asyncio.sleep(float(reply.headers["retry-after"]))
    else:
        seen.errors[f"status {reply.status_code}: {reply.text[:80]}"] += 1


async def _rate(http: httpx2.AsyncClient, exchange_id: str, dice: random.Random, seen: Seen) -> None:
    value = dice.choice([1, 1, -1])
    body = {"exchange_id": exchange_id, "value": value}
    reply = await http.post("/v1/feedback", json=body)
    # A stopped answer is stored a moment after its reader has gone.
    if reply.status_code == 200:
        seen.ratings += 1
    elif reply.status_code != 404:
        seen.errors[f"rating, status {reply.status_code}: {reply.text[:80]}"] += 1
