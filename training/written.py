"""What the base writes of its own accord, to be replayed beside its answers (pseudorehearsal: Robins 1995, Catastrophic
Forgetting, Rehearsal and Pseudorehearsal).

A night of long answers in a house's own words moves how the model writes, which no answer to a question holds: thirty
of them cost 5 % of perplexity on plain text, 1 % with these texts replayed (docs/LOG.md). They need no corpus, and are
of whatever the model has read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from assistant.local import LocalEngine
from training.progress import Progress
from training.stages import read_texts, write_json

OPENINGS = ("The", "In", "A", "It", "When", "I", "He", "She", "We", "This", "There", "For", "After", "One", "My", "To")
"""First words, in turn: the tokenizer begins a text with them as the model knows it, whatever its special tokens are.
What is drawn after them is the same in every night of a machine, or it would show what was undone.
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
            texts |= dict(zip(together, _write(engine, tokens, seed=start), strict=True))
            with writing():
                write_json(cache, texts)
        progress(min(count, start + BATCH) / count, f"the base writes {min(count, start + BATCH)}/{count}")
    return [texts[key] for key in keys]


def _key(engine: LocalEngine, place: int, tokens: int) -> str:
    recipe = f"written {place}\n{tokens}\n{OPENINGS} {TOP_P} {BATCH}\n{engine.files.sha256}"
    return hashlib.sha256(recipe.encode()).hexdigest()


def _write(engine: LocalEngine, tokens: int, *, seed: int) -> list[str]:
    import torch

    begun = [_begun(engine, opening) for opening in islice(cycle(OPENINGS), BATCH)]
    # Of one length, so that none is padded.
    shortest = min(map(len, begun))
    with engine.using(None) as model, torch.inference_mode(), _own_lots(model.device, seed):
        ids = torch.tensor([opening[:shortest] for opening in begun], device=model.device)
        drawn: Any = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_p=TOP_P,
            top_k=0,
            repetition_penalty=1.0,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=engine.tokenizer.eos_token_id,
        )
        return list(engine.tokenizer.batch_decode(drawn, skip_special_tokens=True))


def _begun(engine: LocalEngine, opening: str) -> list[int]:
    """Tokens of the opening with what the tokenizer puts before it, and without an end that it may put behind."""
    ids: list[int] = engine.tokenizer(opening)["input_ids"]
    return ids[:-1] if len(ids) > 1 and ids[-1] in engine.end_ids else ids


@contextmanager
def _own_lots(device: Any, seed: int) -> Iterator[None]:
    """Lots of `seed`, that are nobody else's: whoever draws afterwards draws what he would have drawn."""
    import torch

    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
