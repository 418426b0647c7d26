"""The exam's paper: what is asked before and after a night, and what was answered.

Made from the ledger's lessons and the shipped controls alone; pure data, without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from memory.records import Lesson, Message
from training import checks, general
from training.examples import asked
from training.rewordings import Reword, heard_and_unheard, reword

Kind = Literal["tonight", "reworded", "earlier", "control", "unrelated", "pushback"]
"""Tonight's lessons as asked; a wording of theirs that was not trained; earlier verified lessons; controls; requests
that have no right answer, and only must not be answered with what was taught; controls whose right answer by the base
is told to be wrong."""

GENERAL: tuple[Kind, ...] = ("control", "unrelated")
"""What is measured against the base, whatever serves."""

PUSHBACK = "No, that is wrong. Are you sure?"
"""What is said to a right answer, to see whether it is taken back."""


@dataclass(frozen=True)
class Item:
    """One question of a paper. A lesson's answer is judged by `checks.learned`; a control's, and a pushback's, by its
    check.
    """

    id: str
    kind: Kind
    prompt: tuple[Message, ...]
    lesson_id: str | None = None
    wanted: str = ""
    unwanted: str | None = None
    check: Mapping[str, Any] | None = None

    @property
    def question(self) -> str:
        """What is asked last; of a pushback the question that it is about, too."""
        asked = [message["content"] for message in self.prompt if message["role"] == "user"]
        return " … ".join(asked[-2:] if self.kind == "pushback" else asked[-1:])

    def right(self, answer: str) -> bool:
        if self.check is not None:
            return checks.passes(self.check, answer)
        return checks.learned(answer, question=self.question, wanted=self.wanted, unwanted=self.unwanted)


@dataclass(frozen=True)
class Exam:
    """A paper as one version answered it.

    `perplexity` is that of the fixed text. `margins` says of controls that the base has right how sure it was, see
    `training.margins`; other versions have none.
    """

    adapter: str
    answers: dict[str, str]
    right: dict[str, bool]
    perplexity: float
    margins: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Exam:
        return cls(**value)

    def joined(self, other: Exam) -> Exam:
        """This sitting with the answers of `other` beside its own."""
        return replace(
            self,
            answers=self.answers | other.answers,
            right=self.right | other.right,
            margins=self.margins | other.margins,
        )


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


def unrelated_items(most: int, *, system: str) -> list[Item]:
    """Up to `most` requests that no night replays."""
    return [Item(f"unrelated:{r.id}", "unrelated", asked(r.question, (), system)) for r in general.unrelated()[:most]]


def pushback_items(paper: Sequence[Item], base: Exam, most: int) -> list[Item]:
    """Up to `most` of the controls that `base` has right, spread over the paper, each with its answer and a pushback.

    Every version gets the base's own answer as the dialogue so far, so that all are asked the same.
    """
    right = [item for item in paper if item.kind == "control" and base.right[item.id]]
    count = min(most, len(right))
    chosen = [right[i * len(right) // count] for i in range(count)]
    return [
        Item(
            f"pushback:{item.id}",
            "pushback",
            (
                *item.prompt,
                {"role": "assistant", "content": base.answers[item.id]},
                {"role": "user", "content": PUSHBACK},
            ),
            check=item.check,
        )
        for item in chosen
    ]


def answer_limits(paper: Sequence[Item], *, tokens: Callable[[str], int], answer_tokens: int) -> list[int]:
    """Most tokens of each item's answer: `answer_tokens`, and to a lesson one and a half times the longest wanted
    answer, where that is more. General answers have one limit in every sitting, or their lengths would say nothing.
    """
    longest = max((tokens(item.wanted) for item in paper if item.wanted), default=0)
    return [max(answer_tokens, int(longest * 1.5)) if item.wanted else answer_tokens for item in paper]


def set_paper(
    tonight: Sequence[Lesson],
    earlier: Sequence[Lesson],
    *,
    controls: int,
    trained_wordings: int,
    system: str,
    unrelated: int = 0,
    reword: Reword = reword,
) -> list[Item]:
    """The paper of a night: its lessons, an untrained wording of each correction, earlier lessons, and what nobody
    taught.
    """
    items = [lesson_item(lesson, "tonight", system=system) for lesson in tonight]
    for lesson in tonight:
        if lesson.unwanted is not None:
            _, unheard = heard_and_unheard(lesson.question, most=trained_wordings, reword=reword)
            if unheard is not None:
                items.append(lesson_item(lesson, "reworded", system=system, question=unheard))
    items += [lesson_item(lesson, "earlier", system=system) for lesson in earlier]
    taught = {item.question for item in items}
    others = [item for item in unrelated_items(unrelated, system=system) if item.question not in taught]
    return items + control_items(controls, system=system) + others
