"""How fast an engine talks: to one, to many, in a second turn, while versions change, and beside a night.

All of it as plain dicts of figures, for `training.bench.speed`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from assistant.engine import AdapterFiles, Engine, Sampling
from assistant.local import LocalEngine
from memory.records import Message
from training.bench import night_speed
from training.general import fixed_text, replayed

Figures = dict[str, Any]

ROUNDS = 3
"""Times that one conversation is measured; the median counts."""

STORY: list[Message] = [{"role": "user", "content": "Tell me a long story about a lighthouse keeper and the sea."}]

HISTORY_TOKENS = 2000
NICE = 10
"""As a server starts its nights."""

SWITCHES = 4


def warmed(engine: LocalEngine) -> Figures:
    """Seconds until the decoder answers, and why it doesn't, where it can't here."""
    began = perf_counter()
    reason = engine.warm()
    took = round(perf_counter() - began, 2)
    return {"warm_s": took} if reason is None else {"warm_s": took, "cold_because": reason}


def conversation(engine: Engine, adapter: AdapterFiles | None, tokens: int) -> Figures:
    """One user alone, greedily: seconds to the first word, and tokens a second after it."""
    _answer(engine, adapter, STORY, 4)
    taken = [_answer(engine, adapter, STORY, tokens) for _ in range(ROUNDS)]
    return {
        "tokens_per_s": round(median((said - 1) / (took - first) for first, took, said in taken), 1),
        "first_token_s": round(median(first for first, _, _ in taken), 3),
    }


def together(engine: Engine, adapter: AdapterFiles | None, users: int, tokens: int) -> Figures:
    """So many users at once, each with a question of their own and an answer as long as it may be: tokens a second in
    all. Where answers ended early, most of what is measured would be the reading of prompts, by ever fewer users.
    """
    questions = [item.question for item in replayed()]
    prompts: list[list[Message]] = [
        [{"role": "user", "content": f"Write a long story about this: {questions[i % len(questions)]}"}]
        for i in range(users)
    ]
    began = perf_counter()
    with ThreadPoolExecutor(users) as threads:
        taken = list(threads.map(lambda prompt: _answer(engine, adapter, prompt, tokens), prompts))
    took = perf_counter() - began
    return {
        "tokens_per_s": round(sum(said for _, _, said in taken) / took, 1),
        "first_token_s": round(median(first for first, _, _ in taken), 2),
    }


def switch(engine: Engine, adapters: Sequence[AdapterFiles]) -> Figures:
    """Seconds to a first word beyond the usual: of a version that was never loaded, and of one that was."""

    def first(adapter: AdapterFiles) -> float:
        return _answer(engine, adapter, STORY, 1)[0]

    old, new = adapters
    first(old)
    usual = min(first(old) for _ in range(ROUNDS))
    loading = first(new)
    back = median([first(old), first(new), first(old), first(new)])
    return {
        "first_token_s": round(usual, 3),
        "new_version_s": round(max(0.0, loading - usual), 3),
        "known_version_s": round(max(0.0, back - usual), 3),
    }


def _answer(
    engine: Engine, adapter: AdapterFiles | None, prompt: list[Message], tokens: int
) -> tuple[float, float, int]:
    """(seconds to the first piece, to the last, tokens said)."""
    began, first, said = perf_counter(), None, 0
    for piece in engine.generate(prompt, Sampling(tokens), adapter=adapter, stop=threading.Event()):
        if piece.text and first is None:
            first = perf_counter() - began
        said = piece.answer_tokens or said
    took = perf_counter() - began
    return first or took, took, said


def second_turn(engine: Engine, adapter: AdapterFiles | None, tokens: int = HISTORY_TOKENS) -> Figures:
    """Seconds to the first token after a history of so many tokens: read for the first time, and in the turn after."""
    words = " ".join(fixed_text()).split()
    # A beginning of its own: nobody has read it before.
    history: list[Message] = [{"role": "user", "content": f"Number {perf_counter()}."}]
    while engine.count_tokens(history) < tokens:
        start = 37 * len(history) % len(words)
        text = " ".join((words * 2)[start : start + 100])
        history += [{"role": "assistant", "content": text}, {"role": "user", "content": f"And {len(history)}?"}]
    cold, said = _first(engine, adapter, history)
    following: list[Message] = [
        *history,
        {"role": "assistant", "content": said},
        {"role": "user", "content": "Why do you say so?"},
    ]
    warm, _ = _first(engine, adapter, following)
    return {
        "history_tokens": engine.count_tokens(history),
        "first_token_s": round(cold, 3),
        "second_turn_s": round(warm, 3),
        "ratio": round(warm / cold, 3),
    }


def _first(engine: Engine, adapter: AdapterFiles | None, prompt: list[Message]) -> tuple[float, str]:
    began, first, said = perf_counter(), 0.0, ""
    for piece in engine.generate(prompt, Sampling(16), adapter=adapter, stop=threading.Event()):
        first = first or perf_counter() - began
        said += piece.text
    return first, said


def switch_under_load(engine: Engine, adapters: Sequence[AdapterFiles], *, users: int = 8, tokens: int = 32) -> Figures:
    """What `users` who ask without a pause notice of versions that change: answers that failed, answers that are of no
    version or of another than they began with, and how much longer than usual nobody was told a word. `told_apart`
    counts the users whom the versions give different answers: the others would notice nothing.
    """
    prompts: list[list[Message]] = [
        [{"role": "user", "content": f"Tell me a story about the number {i}."}] for i in range(users)
    ]

    def whole(i: int, version: AdapterFiles, heard: list[float]) -> str:
        said = ""
        for piece in engine.generate(prompts[i], Sampling(tokens), adapter=version, stop=threading.Event()):
            heard.append(perf_counter())
            said += piece.text
        return said

    old, new = adapters
    heard: list[float] = []
    expected = {old.version: [whole(i, old, heard) for i in range(users)]}
    active, over = [old], threading.Event()
    answers: list[tuple[int, str, str | None]] = []
    heard.clear()

    def user(i: int) -> None:
        while not over.is_set():
            version = active[0]
            try:
                answers.append((i, version.version, whole(i, version, heard)))
            except Exception:
                # Whatever it is: an answer that failed is what is counted here.
                answers.append((i, version.version, None))

    def wait(more: int) -> None:
        have = len(answers)
        while len(answers) < have + more:
            threading.Event().wait(0.005)

    with ThreadPoolExecutor(users) as threads:
        under_way = [threads.submit(user, i) for i in range(users)]
        wait(2 * users)
        switched = perf_counter()
        for place in range(SWITCHES):
            active[0] = (new, old)[place % 2]
            wait(2 * users)
        over.set()
        for one in under_way:
            one.result()
    expected[new.version] = [whole(i, new, []) for i in range(users)]
    times = sorted(heard)
    gaps = [(later, later - sooner) for sooner, later in pairwise(times)]
    usual = max(gap for at, gap in gaps if at <= switched)
    longest = max(gap for at, gap in gaps if at > switched)
    return {
        "users": users,
        "answers": len(answers),
        "failed": sum(text is None for _, _, text in answers),
        "told_apart": sum(sooner != later for sooner, later in zip(*expected.values(), strict=True)),
        "mixed": sum(text is not None and text != expected[version][i] for i, version, text in answers),
        "longest_silence_s": round(longest, 3),
        "usual_longest_silence_s": round(usual, 3),
        "pause_s": round(max(0.0, longest - usual), 3),
    }


@contextmanager
def training_of(work: night_speed.Work) -> Iterator[list[str]]:
    """The command of a process that trains `work`, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="nightschool-speed-") as folder:
        file = Path(folder) / "work.json"
        night_speed.write(work, file)
        yield [sys.executable, "-P", "-m", "training.bench.night_speed", "ours", str(file)]


def beside_a_night(engine: Engine, adapter: AdapterFiles | None, command: Sequence[str], tokens: int) -> Figures:
    """Tokens a second of one conversation, alone and while `command` trains, niced as a server's nights are.

    The command tells its progress in lines that begin with 0; before the first one it only loads.
    """
    alone = median(_tokens_per_s(engine, adapter, tokens) for _ in range(ROUNDS))
    night = subprocess.Popen(  # noqa: S603 - ours
        ["nice", "-n", str(NICE), *command],  # noqa: S607 - wherever it lies
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with night:
        try:
            assert night.stderr is not None  # noqa: S101 - a pipe was asked for
            began = any(line.startswith("0") for line in night.stderr)
            # Read on, or the night would wait for a reader.
            reader = threading.Thread(target=night.stderr.read, daemon=True)
            reader.start()
            beside = median(_tokens_per_s(engine, adapter, tokens) for _ in range(ROUNDS))
            ran_on = began and night.poll() is None
        finally:
            night.kill()
        reader.join()
    return {
        "tokens_per_s": round(alone, 1),
        "beside_a_night": round(beside, 1),
        "share": round(beside / alone, 2),
        "night_ran_all_the_while": ran_on,
    }


def _tokens_per_s(engine: Engine, adapter: AdapterFiles | None, tokens: int) -> float:
    """Of one answer, after its first word."""
    first, took, said = _answer(engine, adapter, STORY, tokens)
    return (said - 1) / (took - first)
