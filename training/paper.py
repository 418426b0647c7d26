"""The exam's paper: what is asked before and after a night, and what was answered.

Made from the ledger's lessons and the shipped controls alone; pure data, without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from memory.records import Lesson, Message
from training import checks, general
from training.examples import asked
from training.rewordings import reword

Kind = Literal["tonight", "reworded", "earlier", "control"]
"""Tonight's lessons as asked; a wording of theirs that was not trained; earlier verified lessons; controls."""


@dataclass(frozen=True)
class Item:
    """One question of a paper. A lesson's answer is judged by `checks.learned`, a control's by its check."""

    id: str
    kind: Kind
    prompt: tuple[Message, ...]
    lesson_id: str | None = None
    wanted: str = ""
    unwanted: str | None = None
    check: Mapping[str, Any] | None = None

    def right(self, answer: str) -> bool:
        if self.check is not None:
            return checks.passes(self.check, answer)
        question = self.prompt[-1]["content"]
        return checks.learned(answer, question=question, wanted=self.wanted, unwanted=self.unwanted)


@dataclass(frozen=True)
class Exam:
    """A paper as one version answered it. `perplexity` is that of the fixed text."""

    adapter: str
    answers: dict[str, str]
    right: dict[str, bool]
    perplexity: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Exam:
        return cls(**value)


def lesson_item(lesson: Lesson, kind: Kind, *, system: str, question: str | None = None) -> Item:
    """The exam's question for a lesson, as it was asked or as `question` words it."""
    return Item(
        id=f"{kind}:{lesson.id}",
        kind=kind,
        prompt=asked(question or lesson.question, lesson.history, system),
        lesson_id=lesson.id,
        wanted=lesson.wanted or "",
        unwanted=lesson.unwanted,
    )


def control_items(most: int, *, system: str) -> list[Item]:
    """Up to `most` shipped controls, spread over their kinds."""
    found = general.controls()
    spread = sorted(range(len(found)), key=lambda i: (sum(found[j].kind == found[i].kind for j in range(i)), i))
    chosen = (found[i] for i in sorted(spread[:most]))
    return [Item(c.id, "control", asked(c.question, (), system), check=c.check) for c in chosen]


def set_paper(
    tonight: Sequence[Lesson], earlier: Sequence[Lesson], *, controls: int, trained_wordings: int, system: str
) -> list[Item]:
    """The paper of a night: its lessons, an untrained wording of each correction, earlier lessons, controls."""
    items = [lesson_item(lesson, "tonight", system=system) for lesson in tonight]
    for lesson in tonight:
        if lesson.unwanted is not None:
            wordings = reword(lesson.question, most=trained_wordings + 1)
            if len(wordings) > trained_wordings:
                items.append(lesson_item(lesson, "reworded", system=system, question=wordings[-1]))
    items += [lesson_item(lesson, "earlier", system=system) for lesson in earlier]
    return items + control_items(controls, system=system)
