"""Sitting the exam: the same questions before and after, asked through the day's engine, greedily and without recall.

Every answer is kept, so that anything can be recomputed later. Nothing is decided here: `gate` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from training import general
from training.margins import margins
from training.paper import Exam, Item, answer_limits
from training.progress import Progress

WORST = 100.0
"""Nats a token that stand for anything worse, and for what is no number: a broken adapter fails by a figure, and JSON
can hold it."""


def sit(
    engine: LocalEngine,
    paper: Sequence[Item],
    adapter: AdapterFiles | None,
    *,
    answer_tokens: int,
    progress: Progress,
) -> Exam:
    """Ask every question of `paper` with `adapter` on, and measure perplexity on the fixed text; of the base also how
    sure it is of its controls.

    How long an answer may be, `answer_limits` says.
    """
    limits = answer_limits(
        paper, tokens=lambda text: len(engine.tokenizer(text)["input_ids"]), answer_tokens=answer_tokens
    )
    answers: dict[str, str] = {}
    for limit in sorted(set(limits)):
        items = [item for item, most in zip(paper, limits, strict=True) if most == limit]
        for place, answer in engine.complete([i.prompt for i in items], max_tokens=limit, adapter=adapter):
            answers[items[place].id] = answer
            progress(0.9 * len(answers) / len(paper), f"question {len(answers)}/{len(paper)}")
    right = {item.id: item.right(answers[item.id]) for item in paper}
    measured = perplexity(engine, general.fixed_text(), adapter)
    progress(1.0, "perplexity measured")
    # Which controls the base is sure of is asked once, and measures every version.
    sure = margins(engine, [i for i in paper if i.kind == "control"], answers) if adapter is None else {}
    return Exam(adapter.version if adapter else "base", answers, right, round(measured, 4), sure)


def perplexity(engine: LocalEngine, texts: Sequence[str], adapter: AdapterFiles | None) -> float:
    """Exp of the mean negative log-likelihood (nats) of each text's tokens but the first, at most exp(`WORST`)."""
    total, count = 0.0, 0
    with engine.using(adapter) as model, torch.inference_mode():
        for text in texts:
            ids = engine.tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
    mean = total / count
    return math.exp(mean if mean <= WORST else WORST)
