"""How likely a model finds each of several continuations of a text: what questions with choices are scored by.

A text is computed once for all of its continuations, and texts of similar length go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from training.progress import Progress

TOKENS = 1024
"""Most positions of a batch, of the texts and of the continuations alike: half a GB of logits for the largest heads."""


@dataclass(frozen=True)
class _Asked:
    place: int
    text: list[int]
    choices: list[list[int]]


def log_likelihoods(
    engine: LocalEngine,
    asked: Sequence[tuple[str, Sequence[str]]],
    adapter: AdapterFiles | None,
    *,
    progress: Progress,
) -> list[list[float]]:
    """In nats, log p(continuation | text) of each continuation of each text, with `adapter` on (None: the base).

    Tokenised as lm-evaluation-harness does: text and continuation at once, of which the continuation is what comes
    after the tokens of the text alone. No chat template.

    Args:
        asked: (text, its continuations), as many for each text.

    Raises: ModelUnavailable.
    """
    found: list[list[float]] = [[] for _ in asked]
    done = 0
    for batch in _batches([_encoded(engine.tokenizer, place, *one) for place, one in enumerate(asked)]):
        with engine.using(adapter) as model, torch.inference_mode():
            scores = _score(model, batch, engine.tokenizer.pad_token_id)
        for one, likely in zip(batch, scores, strict=True):
            found[one.place] = likely
        done += len(batch)
        progress(done / len(asked), f"question {done}/{len(asked)}")
    return found


def _encoded(tokenizer: Any, place: int, text: str, choices: Sequence[str]) -> _Asked:
    start = tokenizer(text)["input_ids"]
    return _Asked(place, start, [tokenizer(text + choice)["input_ids"][len(start) :] for choice in choices])


def _batches(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    batch: list[_Asked] = []
    for one in sorted(asked, key=lambda x: (len(x.text), sum(map(len, x.choices)), x.place)):
        joined = [*batch, one]
        said = max(len(choice) for x in joined for choice in x.choices) * len(one.choices)
        if batch and len(joined) * max(len(one.text), said) > TOKENS:
            yield batch
            joined = [one]
        batch = joined
    if batch:
        yield batch


def _score(model: Any, batch: Sequence[_Asked], pad: int) -> list[list[float]]:
    """(texts, choices) of log-likelihoods: the first token's from the text, the others' behind its keys and values."""
    device, each = model.device, len(batch[0].choices)
    ids, mask = (part.to(device) for part in _padded([one.text for one in batch], pad, left=True))
    seen = model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=True, logits_to_keep=1)
    choices = [choice for one in batch for choice in one.choices]
    first = torch.tensor([choice[0] for choice in choices], device=device)
    opening = seen.logits[:, -1].float().log_softmax(-1).repeat_interleave(each, 0)
    likely = opening.gather(1, first[:, None])[:, 0]
    if max(map(len, choices)) > 1:
        given, given_mask = (part.to(device) for part in _padded([choice[:-1] for choice in choices], pad, left=False))
        wanted, _ = _padded([choice[1:] for choice in choices], pad, left=False)
        cache = seen.past_key_values
        cache.batch_repeat_interleave(each)
        before = mask.repeat_interleave(each, 0)
        logits = model(
            input_ids=given,
            attention_mask=torch.cat([before, given_mask], dim=1),
            position_ids=before.sum(-1, keepdim=True) + _positions(given_mask),
            past_key_values=cache,
            use_cache=True,
        ).logits.float()
        told = logits.gather(2, wanted.to(device)[:, :, None])[:, :, 0] - logits.logsumexp(-1)
        likely = likely + (told * given_mask).sum(-1)
    return [[float(value) for value in row] for row in likely.view(len(batch), each).tolist()]


def _padded(rows: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, longest) of ids, and of 1 where there is a token and 0 where there is padding."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = 1
    return ids, mask


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(-1) - 1).clamp_min(0)
