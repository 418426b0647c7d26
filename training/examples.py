"""Rows of training: a prompt as the day would render it, an answer, and which tokens count.

The chat template is the tokenizer's, through the engine's own `render`, so that the night trains the very prompts
that the day asks. Loss falls on the answer and on the token that ends it, never on the prompt.

One step of the optimiser sees about `batch_rows` rows, of every kind its share. They go through the model as one packed
sequence, or as several where that would be long, and their losses are summed up as if it had been one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

from assistant import prefix
from assistant import prompt as prompts
from assistant.rendering import as_text
from memory.records import Lesson, Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from assistant.local import LocalEngine

Kind = Literal["wanted", "unwanted", "replay"]
"""What is done with an answer: it is learned, unlearned, or held as the base would say it."""


class Heard(NamedTuple):
    """In which epochs something is trained: in number `first`, from 0, and in every `every`-th after it."""

    first: int = 0
    every: int = 1

    def in_epoch(self, number: int) -> bool:
        """Whether it is trained in that one."""
        return number % self.every == self.first


ALWAYS = Heard()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages that end with the user's, and the answer to train, in one of three ways (see `Kind`).

    `wording` is 0 for a question as it was asked, and counts its other wordings from 1. `user` is who wants it so.
    """

    kind: Kind
    prompt: tuple[Message, ...]
    answer: str
    wording: int = 0
    heard: Heard = ALWAYS
    user: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A dialogue as token ids; the answer begins at `start`. `weight` is what its loss is multiplied by."""

    kind: Kind
    ids: tuple[int, ...]
    start: int
    wording: int = 0
    heard: Heard = ALWAYS
    user: str = ""
    weight: float = 1.0

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.ids[: self.start]

    @property
    def answer(self) -> tuple[int, ...]:
        return self.ids[self.start :]

    @property
    def answer_tokens(self) -> int:
        return len(self.ids) - self.start


@dataclass(frozen=True)
class Pack:
    """Rows one behind another, after the tokens that all of them begin with: one sequence, without padding.

    Every row of a chat begins with the same system message, half of a short one; computing it once saves near half of
    all tokens. A row attends to what is shared and to itself, so that its numbers are those that it has alone (Krell et
    al. 2021, Efficient Sequence Packing without Cross-contamination). Its last token is left out: what follows is
    nobody's question.

    Attributes:
        rows: the rows, in order.
        ids: (tokens,) int64.
        positions: (tokens,) int64, the place of each token in its own row.
        owners: (tokens,) int64, 0 for what is shared, n for the n-th row.
        predicting: (answer tokens of all rows,) int64, the places whose logits predict an answer, row after row.
        answers: (answer tokens of all rows,) int64, the tokens that they should predict.
    """

    rows: tuple[Row, ...]
    ids: torch.Tensor
    positions: torch.Tensor
    owners: torch.Tensor
    predicting: torch.Tensor
    answers: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """The same there. All at once and early: each copy to a GPU waits for what it was told before."""
        parts = ("ids", "positions", "owners", "predicting", "answers")
        return replace(self, **{name: getattr(self, name).to(device) for name in parts})

    @property
    def sees(self) -> torch.Tensor:
        """(tokens, tokens) bool: whether the first attends to the second."""
        mine = self.owners[:, None] == self.owners[None, :]
        return (mine | (self.owners == 0)[None, :]).tril()


def asked(question: str, history: Sequence[Message] = (), system: str = "") -> tuple[Message, ...]:
    """The prompt of a question without recall: weights must know it by themselves."""
    # The day's own builder. Its budget does not matter here: longer lessons were left out before.
    return prompts.build(question, count=lambda _: 0, budget=0, history=history, system=system).messages


def lesson_tokens(engine: LocalEngine, lesson: Lesson, system: str) -> int:
    """Tokens of a lesson's prompt and of the answer that it wants."""
    prompt = engine.count_tokens(asked(lesson.question, lesson.history, system))
    return prompt + len(_answer_ids(engine.tokenizer, lesson.wanted or ""))


class Reader(Protocol):
    """What of an engine makes tokens of words."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    def render(self, prompt: Sequence[Message]) -> str: ...


def rows(engine: Reader, dialogues: Sequence[Dialogue]) -> list[Row]:
    """Tokenise; each answer is closed with the token that ends a turn."""
    tokenizer = engine.tokenizer
    end = tokenizer.eos_token_id
    made = []
    for dialogue in dialogues:
        prompt = tokenizer(engine.render(dialogue.prompt), add_special_tokens=False)["input_ids"]
        answer = _answer_ids(tokenizer, dialogue.answer)
        ids = (*prompt, *answer, end)
        made.append(Row(dialogue.kind, ids, len(prompt), dialogue.wording, dialogue.heard, dialogue.user))
    return made


def _answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """What is said, as text: whoever writes a template's token into an answer ends no turn and opens none."""
    return list(tokenizer(as_text(tokenizer, answer), add_special_tokens=False)["input_ids"])


def of_epoch(rows: Sequence[Row], epoch: int, *, most: int) -> list[Row]:
    """What epoch number `epoch` trains of `rows`: of those that are heard in it all that is not a rewording, and as
    many rewordings as `most` leaves, or one for every two reworded lessons where that is more.

    Rewordings take turns, epoch by epoch and lesson by lesson, so that a night with many lessons costs at most half as
    much again an epoch and every lesson gets its share. Without them it would be learned for how it was asked.
    """
    rows = [row for row in rows if row.heard.in_epoch(epoch)]
    # By wording, then by lesson: a window over it holds each lesson about as often as any other.
    reworded = sorted((row.wording, place) for place, row in enumerate(rows) if row.wording > 0)
    as_asked = sum(row.wording == 0 and row.kind != "replay" for row in rows)
    spare = max(most - as_asked, sum(row.wording == 1 for row in rows) // 2)
    if len(reworded) <= spare:
        return rows
    heard = {reworded[(epoch * spare + i) % len(reworded)][1] for i in range(spare)}
    return [row for place, row in enumerate(rows) if row.wording == 0 or place in heard]


def mismatched(rows: Sequence[Row]) -> dict[Row, Row]:
    """Each row's prompt beside the answer of another lesson's row: what KTO tells a model's general drift by.

    Rows are of one lesson where the same answer is wanted. The other row is the next such from half the list away, so
    that every answer is taken about as often as any; with one lesson alone it may be the row's own.
    """
    wanted = {row.prompt: row.answer for row in rows if row.kind == "wanted"}
    lessons = [wanted.get(row.prompt, row.prompt) for row in rows]
    count, found = len(rows), {}
    for i, row in enumerate(rows):
        half = i + count // 2
        j = next((j % count for j in range(half, half + count) if lessons[j % count] != lessons[i]), half % count)
        found[row] = Row(row.kind, row.prompt + rows[j].answer, row.start)
    return found


def steps(rows: Sequence[Row], *, size: int, longest: int, rng: random.Random) -> Iterator[tuple[Pack, ...]]:
    """One epoch: for each step of the optimiser about `size` rows with its share of each kind, in random order, in
    packs of up to `longest` tokens.
    """
    for group in _deal(rows, size, rng):
        yield packed(group, longest=longest)


def packed(rows: Sequence[Row], *, longest: int) -> tuple[Pack, ...]:
    """The rows in their order, in packs of up to `longest` tokens; a row that is longer has one of its own.

    Attention's cost grows with the square of a pack's length, its weights are read once a pack: hence a bound.
    """
    packs: list[list[Row]] = []
    for row in rows:
        if packs and _tokens([*packs[-1], row]) <= longest:
            packs[-1].append(row)
        else:
            packs.append([row])
    return tuple(map(pack, packs))


def _deal(rows: Sequence[Row], size: int, rng: random.Random) -> list[list[Row]]:
    """Rows in groups of about `size`, each with its share of each kind, in random order.

    What is wanted and what is not in answer to one prompt stay together: pairs are compared within a step.
    """
    against: defaultdict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == "unwanted":
            against[row.prompt].append(row)
    wanted: list[list[Row]] = []
    judged: list[list[Row]] = []
    replay: list[list[Row]] = []
    for row in rows:
        if row.kind == "replay":
            replay.append([row])
        elif row.kind == "wanted":
            unwanted = against.pop(row.prompt, [])
            (judged if unwanted else wanted).append([row, *unwanted])
    judged += [[row] for alone in against.values() for row in alone]

    count = -(-len(rows) // size)
    dealt: list[list[Row]] = [[] for _ in range(count)]
    for units in (wanted, judged, replay):
        rng.shuffle(units)
        for i, unit in enumerate(units):
            dealt[i * count // len(units)].extend(unit)
    rng.shuffle(dealt)
    return [group for group in dealt if group]


def pack(group: Sequence[Row]) -> Pack:
    """Lay rows one behind another, after their common prefix."""
    import torch

    shared = _shared(group)
    ids, owners, predicting = list(group[0].ids[:shared]), [0] * shared, list[int]()
    positions = list(range(shared))
    for owner, row in enumerate(group, start=1):
        begins, tail = len(ids) - shared, row.ids[shared:-1]
        predicting.extend(range(begins + row.start - 1, begins + len(row.ids) - 1))
        ids.extend(tail)
        owners.extend([owner] * len(tail))
        positions.extend(range(shared, shared + len(tail)))
    answers = [token for row in group for token in row.answer]
    return Pack(tuple(group), *map(torch.tensor, (ids, positions, owners, predicting, answers)))


def _tokens(group: Sequence[Row]) -> int:
    shared = _shared(group)
    return shared + sum(len(row.ids) - 1 - shared for row in group)


def _shared(group: Sequence[Row]) -> int:
    """How many tokens all rows begin with; each prompt's last is left out, whose logits predict the answer's first."""
    return prefix.shared([row.ids for row in group], most=min(row.start for row in group) - 1)
