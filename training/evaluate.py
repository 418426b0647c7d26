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
from training.paper import Exam, Item
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
    """Ask every question of `paper` with `adapter` on, and measure perplexity on the fixed text.

    Answers may be `answer_tokens` long, or one and a half times the longest wanted answer, where that is more.
    """
    longest = max((len(engine.tokenizer(item.wanted)["input_ids"]) for item in paper if item.wanted), default=0)
    most = max(answer_tokens, int(longest * 1.5))
    answers: dict[str, str] = {}
    for place, answer in engine.complete([i.prompt for i in paper], max_tokens=most, adapter=adapter):
        answers[paper[place].id] = answer
        progress(0.9 * len(answers) / len(paper), f"question {len(answers)}/{len(paper)}")
    right = {item.id: item.right(answers[item.id]) for item in paper}
    measured = perplexity(engine, general.fixed_text(), adapter)
    progress(1.0, "perplexity measured")
    return Exam(adapter.version if adapter else "base", answers, right, round(measured, 4))


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
