"""Streams by memory alone: everything is corrected, and asked a minute later in other words; no night comes.

Two figures for each stream: how often the correction that answers a wording is what the prompt is given first, and how
often the answer is then right. Wordings are the paraphrases of what was taught, and the probes that have its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assistant import feedback
from assistant.batch import ask_many
from assistant.turn import Ask, Assistant
from training.streams import StreamItem, read

Progress = Callable[[int, int], None]


def recalled(assistant: Assistant, file: Path, *, progress: Progress = lambda done, of: None) -> dict[str, Any]:
    """The figures of one stream, lived through by an assistant in a home of its own. Raises: BadInput."""
    items = read(file, longest=assistant.settings.message_chars)
    taught = [item for item in items if item.split == "teach"]
    wordings = [(item, wording) for item in taught for wording in item.paraphrases]
    wordings += [(item, item.question) for item in items if item.split == "probe"]
    controls = [(item, item.question) for item in items if item.split == "control"]
    before = _ask(assistant, [question for _, question in controls], memory=False)
    said = ask_many(assistant, [Ask(item.question, memory=False) for item in taught], store=True, progress=progress)
    for item, answered in zip(taught, said, strict=True):
        wrong = not item.right(answered.exchange.answer)
        correction = item.answer if wrong and not item.has_nothing_better(answered.exchange.answer) else None
        feedback.rate(assistant, answered.exchange.id, -1 if correction else 1, correction=correction)
    known = {answered.exchange.id: item.answer for item, answered in zip(taught, said, strict=True)}
    asked = ask_many(assistant, [Ask(question) for _, question in wordings], store=False, progress=progress)
    first = [known.get(next(iter(a.exchange.recollections), {}).get("exchange_id", "")) for a in asked]
    after = ask_many(assistant, [Ask(question) for _, question in controls], store=False, progress=progress)
    return {
        "stream": file.stem,
        "wordings": len(wordings),
        "recalled first": sum(answer == item.answer for answer, (item, _) in zip(first, wordings, strict=True)),
        "right": sum(item.right(a.exchange.answer) for a, (item, _) in zip(asked, wordings, strict=True)),
        "controls": len(controls),
        "controls given a recollection": sum(bool(a.exchange.recollections) for a in after),
        "controls right without": _right(controls, before),
        "controls right with": _right(controls, [a.exchange.answer for a in after]),
    }


def _ask(assistant: Assistant, questions: Sequence[str], *, memory: bool) -> list[str]:
    asks = [Ask(question, memory=memory) for question in questions]
    return [answered.exchange.answer for answered in ask_many(assistant, asks, store=False)]


def _right(asked: Sequence[tuple[StreamItem, str]], answers: Sequence[str]) -> int:
    return sum(item.right(answer) for (item, _), answer in zip(asked, answers, strict=True))
