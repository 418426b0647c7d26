"""What the base writes of its own accord, to be replayed beside its answers (pseudorehearsal: Robins 1995, Catastrophic
Forgetting, Rehearsal and Pseudorehearsal).

A night of long answers in a house's own words moves how the model writes, which no answer to a question holds: thirty
of them cost 5 % of perplexity on plain text, 1 % with these texts replayed (docs/LOG.md). They need no corpus, and are
of whatever the model has read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle, islice
from pathlib import Path

from assistant.local import LocalEngine
from training.progress import Progress
from training.stages import read_texts, write_json

OPENINGS = ("The", "In", "A", "It", "When", "I", "He", "She", "We", "This", "There", "For", "After", "One", "My", "To")
"""First words, in turn: the tokenizer begins a text with them as the model knows it, whatever its special tokens are.
What is drawn after them is the same in every night, or it would show what was undone.
"""

TOP_P = 0.95
"""Of the likeliest words those that have this share are drawn from: the rest is noise more than writing."""

BATCH = 32
"""Texts that are written together, always so many: then which they are does not depend on how many are wanted."""


def written(
    engine: LocalEngine,
    count: int,
    *,
    tokens: int,
    cache: Path,
    writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Progress = lambda share, told: None,
) -> list[str]:
    """`count` texts of `tokens` tokens and their first word; those that the file `cache` has are not written again."""
    keys = [_key(engine, place, tokens) for place in range(count)]
    texts = read_texts(cache)
    for start in range(0, count, BATCH):
        together = [_key(engine, start + place, tokens) for place in range(BATCH)]
        if any(key not in texts for key in together):
            openings = islice(cycle(OPENINGS), BATCH)
            texts |= dict(zip(together, engine.write([*openings], tokens=tokens, top_p=TOP_P, seed=start), strict=True))
            with writing():
                write_json(cache, texts)
        progress(min(count, start + BATCH) / count, f"the base writes {min(count, start + BATCH)}/{count}")
    return [texts[key] for key in keys]


def _key(engine: LocalEngine, place: int, tokens: int) -> str:
    return hashlib.sha256(f"written {place}\n{tokens}\n{engine.files.sha256}".encode()).hexdigest()
