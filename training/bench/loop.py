"""The loop, measured: a simulated user asks, rates, lets the night run, and asks again the next day.

Everything goes through the seams that people use: a turn, a rating, a night. Asked without recall, so that what is
right is right by the weights alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from time import monotonic
from typing import Any
from urllib.request import Request, urlopen

from assistant import feedback
from assistant.turn import Answered, Ask, Assistant, turn
from memory.errors import NightschoolError
from memory.records import Exchange, Night
from training.settings import Settings
from training.streams import StreamItem

Say = Callable[[str], None]


@dataclass(frozen=True)
class Answers:
    """Who was right when: item id → answer, as asked and for each paraphrase."""

    asked: dict[str, str]
    paraphrases: dict[str, tuple[str, ...]]

    def right(self, items: Sequence[StreamItem]) -> tuple[int, int]:
        """(right as asked, right paraphrases) over `items`."""
        asked = sum(item.right(self.asked[item.id]) for item in items)
        return asked, sum(item.right(answer) for item in items for answer in self.paraphrases[item.id])


@dataclass(frozen=True)
class LoopFigures:
    """What one loop measured. Counts of right answers are (before, after)."""

    lessons: int
    as_asked: tuple[int, int]
    paraphrases: tuple[int, int]
    of_paraphrases: int
    controls_right_before: int
    controls_kept: int
    night_status: str
    night_seconds: float
    peak_mb: float
    perplexity_ratio: float
    first_token_s: float
    tokens_per_s: float
    answers: dict[str, Any] = field(repr=False)


def loop(assistant: Assistant, night: Callable[[], Night], items: Sequence[StreamItem], *, say: Say) -> LoopFigures:
    """One day, one night, and the day after, for the taught items and the controls of a stream.

    Args:
        night: runs a night in a process of its own, as it is in real life, and returns it ended.

    Raises: NightschoolError when the night failed.
    """
    taught = [item for item in items if item.split == "teach"]
    controls = [item for item in items if item.split == "control"]
    say("asking everything before the night")
    first = {item.id: _ask(assistant, item.question) for item in items}
    before = _answers(assistant, items, {item_id: e.answer for item_id, e in first.items()})
    for item in taught:
        exchange = first[item.id]
        good = item.right(exchange.answer)
        feedback.rate(assistant, exchange.id, 1 if good else -1, correction=None if good else item.answer)
    say("the night")
    ended = night()
    if ended.report is None or "training" not in (
        report := json.loads((Path(ended.report) / "report.json").read_text("utf-8"))
    ):
        raise NightschoolError(f"the night ended as {ended.status}: {'; '.join(ended.reasons)}")
    say(f"{ended.status}: {'; '.join(ended.reasons)}")
    say("asking everything after the night")
    after = _answers(assistant, items, {item.id: _ask(assistant, item.question).answer for item in items})

    right_before = [item for item in controls if item.right(before.asked[item.id])]
    spoken = [e.timings for e in first.values() if e.timings["answer_tokens"] > 1]
    (asked_before, para_before), (asked_after, para_after) = before.right(taught), after.right(taught)
    return LoopFigures(
        lessons=len(taught),
        as_asked=(asked_before, asked_after),
        paraphrases=(para_before, para_after),
        of_paraphrases=sum(len(item.paraphrases) for item in taught),
        controls_right_before=len(right_before),
        controls_kept=after.right(right_before)[0],
        night_status=str(ended.status),
        night_seconds=report["seconds"],
        peak_mb=report["training"]["peak_mb"],
        perplexity_ratio=report["perplexity"]["ratio"],
        first_token_s=round(mean(t["first_token_s"] for t in spoken), 2),
        tokens_per_s=round(mean((t["answer_tokens"] - 1) / (t["total_s"] - t["first_token_s"]) for t in spoken), 1),
        answers={"before": asdict(before), "after": asdict(after)},
    )


def seconds_to_first_answer(settings: Settings) -> float:
    """From the command `nightschool serve` to the end of a first short answer, in a home that has been used before.

    Raises: NightschoolError when the server does not come up.
    """
    began = monotonic()
    command = [sys.executable, "-P", "-m", "app", "--home", str(settings.home), "serve", "--port", "0"]
    environment = os.environ | {"NIGHTSCHOOL_MODELS_DIR": str(settings.models)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        line = server.stdout.readline() if server.stdout else ""
        if "http://" not in line:
            raise NightschoolError("the server did not come up")
        question = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}
        request = Request(  # noqa: S310 - our own server on loopback
            f"{line.split()[-1]}/v1/chat/completions",
            data=json.dumps(question).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=300) as reply:  # noqa: S310
            reply.read()
        return round(monotonic() - began, 1)
    finally:
        server.terminate()
        server.wait()


def _ask(assistant: Assistant, question: str) -> Exchange:
    *_, last = turn(assistant, Ask(question, memory=False))
    if not isinstance(last, Answered):
        raise NightschoolError(f"no answer to {question!r}")
    return last.exchange


def _answers(assistant: Assistant, items: Sequence[StreamItem], asked: dict[str, str]) -> Answers:
    paraphrases = {i.id: tuple(_ask(assistant, wording).answer for wording in i.paraphrases) for i in items}
    return Answers(asked, paraphrases)
