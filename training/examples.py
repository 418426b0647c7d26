"""Rows of training: a prompt as the day would render it, an answer, and which tokens count.

The chat template is the tokenizer's, through the engine's own `render`, so that the night trains the very prompts
that the day asks. Loss falls on the answer and on the token that ends it, never on the prompt.

One step of the optimiser sees about `batch_rows` rows of every kind. Where their lengths are far apart they go through
the model in several batches of like length, and their losses are summed up as if it had been one.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from assistant import prefix
from assistant import prompt as prompts
from memory.records import Lesson, Message

if TYPE_CHECKING:
    import torch

    from assistant.local import LocalEngine

Kind = Literal["wanted", "unwanted", "replay"]
"""What is done with an answer: it is learned, unlearned, or held as the base would say it."""

PADDING_MAX = 0.10
"""Most of an epoch's positions that may be padding."""

PASS = 32
"""What a further batch costs beside its tokens, in tokens: its prefix and its rows each read all of the weights."""

PRICES = (math.inf, 1.0, 0.5, 0.25, 0.125, 0.0)
"""What a further batch is said to cost, in shares of what it does cost. The first that keeps `PADDING_MAX` is taken."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages that end with the user's, and the answer to train, in one of three ways (see `Kind`).

    `wording` is 0 for a question as it was asked, and counts its other wordings from 1.
    """

    kind: Kind
    prompt: tuple[Message, ...]
    answer: str
    wording: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A dialogue as token ids; the answer begins at `start`."""

    kind: Kind
    ids: tuple[int, ...]
    start: int
    wording: int = 0

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
class Batch:
    """Rows that share a prefix, padded on the left behind it, so that all answers end together.

    Every row of a chat begins with the same system message; computing it once a batch saves near half of all tokens.
    Only the last positions need logits.

    Attributes:
        rows: the rows, in order.
        prefix: (shared,) int64, the tokens that all rows begin with.
        ids: (rows, longest) int64, what follows the prefix.
        mask: (rows, longest) int64, 0 at padding.
        predicting: (rows, kept) bool, over the last positions: those whose logits predict the row's answer.
    """

    rows: tuple[Row, ...]
    prefix: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    predicting: torch.Tensor


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
        made.append(Row(dialogue.kind, (*prompt, *answer, end), len(prompt), dialogue.wording))
    return made


def of_epoch(rows: Sequence[Row], epoch: int, *, most: int) -> list[Row]:
    """What epoch number `epoch` trains of `rows`: all that is not a rewording, and as many rewordings as `most` leaves.

    Rewordings take turns, epoch by epoch and lesson by lesson, so that a night with many lessons costs no more an epoch
    and every lesson gets its share.
    """
    # By wording, then by lesson: a window over it holds each lesson about as often as any other.
    reworded = sorted((row.wording, place) for place, row in enumerate(rows) if row.wording > 0)
    spare = most - sum(row.wording == 0 and row.kind != "replay" for row in rows)
    if len(reworded) <= spare:
        return list(rows)
    window = max(0, spare)
    heard = {reworded[(epoch * window + i) % len(reworded)][1] for i in range(window)}
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


def steps(rows: Sequence[Row], *, size: int, pad: int, rng: random.Random) -> Iterator[tuple[Batch, ...]]:
    """One epoch: for each step of the optimiser its rows, in one batch or in several of like length.

    A step has about `size` rows with its share of each kind, in random order. It is cut only where `PADDING_MAX` of the
    epoch would be padding without: each further batch computes the prefix again.
    """
    groups = _deal(rows, size, rng)
    for pieces in _cut(groups):
        yield tuple(collate(piece, pad=pad) for piece in pieces)


def batched(rows: Sequence[Row], *, pad: int) -> tuple[Batch, ...]:
    """The same for the rows of one step, in their order where they are not cut."""
    return tuple(collate(piece, pad=pad) for pieces in _cut([list(rows)] if rows else []) for piece in pieces)


def _deal(rows: Sequence[Row], size: int, rng: random.Random) -> list[list[Row]]:
    """Rows in groups of about `size`, each of similar length and with its share of each kind, in random order.

    Mixing lengths at random would spend a third of the tokens on padding; sorting alone would put all short lessons
    into one step. So each kind is shuffled, sorted by length, and dealt out in slices. What is wanted and what is not
    in answer to one prompt stay together: pairs are compared within a step.
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
        units.sort(key=lambda unit: max(len(row.ids) for row in unit))
        for i, unit in enumerate(units):
            dealt[i * count // len(units)].extend(unit)
    rng.shuffle(dealt)
    return [group for group in dealt if group]


def _cut(groups: Sequence[list[Row]]) -> list[list[list[Row]]]:
    """Each group in pieces: one if the padding of all is within `PADDING_MAX`, else as many as pay or are needed."""
    cut = [[group] for group in groups]
    for price in PRICES:
        cut = [[group] if price == math.inf else _pieces(group, price) for group in groups]
        shapes = [_shape(piece) for pieces in cut for piece in pieces]
        if sum(padding for _, padding in shapes) < PADDING_MAX * sum(computed for computed, _ in shapes):
            break
    return cut


def _pieces(group: Sequence[Row], price: float) -> list[list[Row]]:
    """The cheapest way to cut a group, sorted by length, where a piece costs its padding and `price` of a pass."""
    ordered = sorted(group, key=lambda row: len(row.ids))
    lengths = [len(row.ids) for row in ordered]
    extra = price * (PASS + _shared(group))
    # best[n]: (cost, where the last piece begins) of the first n rows.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for n in range(1, len(ordered) + 1):
        best.append(min((best[i][0] + extra + (n - i) * lengths[n - 1], i) for i in range(n)))
    pieces, end = [], len(ordered)
    while end:
        pieces.append(ordered[best[end][1] : end])
        end = best[end][1]
    return pieces[::-1]


def _shape(group: Sequence[Row]) -> tuple[int, int]:
    """(positions computed, of those padding) of a batch, the shared prefix counted once."""
    shared, longest = _shared(group), max(len(row.ids) for row in group)
    return shared + len(group) * (longest - shared), sum(longest - len(row.ids) for row in group)


def _shared(group: Sequence[Row]) -> int:
    """How many tokens all rows begin with; each prompt's last is left out, whose logits predict the answer's first."""
    return prefix.shared([row.ids for row in group], most=min(row.start for row in group) - 1)


def collate(group: Sequence[Row], *, pad: int) -> Batch:
    """Stack rows behind their common prefix, padded on the left with `pad`."""
    import torch

    shared = _shared(group)
    longest = max(len(row.ids) for row in group) - shared
    ids = torch.full((len(group), longest), pad)
    mask = torch.zeros((len(group), longest), dtype=torch.long)
    for i, row in enumerate(group):
        tail = row.ids[shared:]
        ids[i, longest - len(tail) :] = torch.tensor(tail)
        mask[i, longest - len(tail) :] = 1
    answers = [row.answer_tokens for row in group]
    predicting = torch.zeros((len(group), max(answers) + 1), dtype=torch.bool)
    for i, tokens in enumerate(answers):
        predicting[i, -1 - tokens : -1] = True
    return Batch(tuple(group), torch.tensor(group[0].ids[:shared], dtype=torch.long), ids, mask, predicting)
