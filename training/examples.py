"""Rows of training: a prompt as the day would render it, an answer, and which tokens count.

The chat template is the tokenizer's, through the engine's own `render`, so that the night trains the very prompts
that the day asks. Loss falls on the answer and on the token that ends it, never on the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from assistant import prompt as prompts
from memory.records import Lesson, Message

if TYPE_CHECKING:
    import torch

    from assistant.local import LocalEngine


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages that end with the user's, and the answer to train. `wanted` rows are learned, `replay` rows are held."""

    kind: Literal["wanted", "replay"]
    prompt: tuple[Message, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Row:
    """A dialogue as token ids; the answer begins at `start`."""

    kind: Literal["wanted", "replay"]
    ids: tuple[int, ...]
    start: int

    @property
    def answer_tokens(self) -> int:
        return len(self.ids) - self.start


@dataclass(frozen=True)
class Batch:
    """Rows that share a prefix, padded on the left behind it, so that all answers end together.

    Every row of a chat begins with the same system message; computing it once a batch saves near half of all tokens.
    Only the last positions need logits.

    Attributes:
        rows: the rows, in order.
        prefix: (shared,) int64, the tokens that all rows begin with.
        ids: (rows, longest) int64, what follows the prefix.
        mask: (rows, longest) int64, 0 at padding.
        keep: how many last positions predict some row's answer.
    """

    rows: tuple[Row, ...]
    prefix: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    keep: int

    def answer_positions(self, row: int) -> slice:
        """Where in the last `keep` positions the logits lie that predict the answer of `row`."""
        last = self.keep - 1
        return slice(last - self.rows[row].answer_tokens, last)


def asked(question: str, history: Sequence[Message] = (), system: str = "") -> tuple[Message, ...]:
    """The prompt of a question without recall: weights must know it by themselves."""
    # The day's own builder. Its budget does not matter here: longer lessons were left out before.
    return prompts.build(question, count=lambda _: 0, budget=0, history=history, system=system).messages


def lesson_tokens(engine: LocalEngine, lesson: Lesson, system: str) -> int:
    """Tokens of a lesson's prompt and of the answer that it wants."""
    prompt = engine.count_tokens(asked(lesson.question, lesson.history, system))
    return prompt + len(engine.tokenizer(lesson.wanted or "", add_special_tokens=False)["input_ids"])


def rows(engine: LocalEngine, dialogues: Sequence[Dialogue]) -> list[Row]:
    """Tokenise; each answer is closed with the token that ends a turn."""
    tokenizer = engine.tokenizer
    end = tokenizer.eos_token_id
    made = []
    for dialogue in dialogues:
        prompt = tokenizer(engine.render(dialogue.prompt), add_special_tokens=False)["input_ids"]
        answer = tokenizer(dialogue.answer, add_special_tokens=False)["input_ids"]
        made.append(Row(dialogue.kind, (*prompt, *answer, end), len(prompt)))
    return made


def batches(rows: Sequence[Row], *, size: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """One epoch: rows in batches of similar length, each with its share of both kinds, in random order.

    Mixing lengths at random would spend a third of the tokens on padding; sorting alone would put all short lessons
    into one step. So each kind is shuffled, sorted by length, and dealt out in slices.
    """
    count = -(-len(rows) // size)
    dealt: list[list[Row]] = [[] for _ in range(count)]
    for kind in ("wanted", "replay"):
        mine = [row for row in rows if row.kind == kind]
        rng.shuffle(mine)
        mine.sort(key=lambda row: len(row.ids))
        for i, row in enumerate(mine):
            dealt[i * count // len(mine)].append(row)
    rng.shuffle(dealt)
    for group in dealt:
        if group:
            yield collate(group, pad=pad)


def collate(group: Sequence[Row], *, pad: int) -> Batch:
    """Stack rows behind their common prefix, padded on the left with `pad`."""
    import torch

    # At least the last token of every prompt stays behind the prefix: its logits predict the answer's first.
    most = min(row.start for row in group) - 1
    first, last = min(row.ids for row in group), max(row.ids for row in group)
    shared = next((i for i in range(most) if first[i] != last[i]), most)
    longest = max(len(row.ids) for row in group) - shared
    ids = torch.full((len(group), longest), pad)
    mask = torch.zeros((len(group), longest), dtype=torch.long)
    for i, row in enumerate(group):
        tail = row.ids[shared:]
        ids[i, longest - len(tail) :] = torch.tensor(tail)
        mask[i, longest - len(tail) :] = 1
    keep = max(row.answer_tokens for row in group) + 1
    return Batch(tuple(group), torch.tensor(first[:shared], dtype=torch.long), ids, mask, keep)
