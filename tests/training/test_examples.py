"""Rows of training: which tokens count, how rows share a batch, and that batching changes no number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from memory.records import Message
from memory.testing import lesson
from training.examples import Dialogue, Row, asked, batches, collate, lesson_tokens, rows

END, PAD = 1, 0


class StubEngine:
    """Renders as `user:… assistant:` and has one token a character; `rows` needs no more of an engine."""

    def __init__(self) -> None:
        self.tokenizer: Any = self._tokenizer()

    def _tokenizer(self) -> Any:
        class Tokenizer(SimpleNamespace):
            def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
                return {"input_ids": [ord(c) for c in text]}

        return Tokenizer(eos_token_id=END, pad_token_id=PAD)

    def render(self, prompt: Sequence[Message]) -> str:
        return "".join(f"{m['role']}:{m['content']} " for m in prompt) + "assistant:"

    def count_tokens(self, prompt: Sequence[Message]) -> int:
        return len(self.render(prompt))


ENGINE: Any = StubEngine()


def made(kind: Any, lengths: Sequence[int], *, start: int = 5) -> list[Row]:
    """Rows of such lengths, each with tokens of its own."""
    return [Row(kind, tuple(range(100 + i, 100 + i + n)), min(start, n - 1)) for i, n in enumerate(lengths)]


def test_the_answer_and_its_end_count() -> None:
    """A row is the prompt as the day renders it, the answer, and the token that ends a turn."""
    (row,) = rows(ENGINE, [Dialogue("wanted", asked("Hi?"), "Yo")])
    text = "user:Hi? assistant:"
    assert row.ids == (*[ord(c) for c in text], ord("Y"), ord("o"), END)
    assert (row.start, row.answer_tokens) == (len(text), 3)


def test_lessons_are_counted_as_they_are_asked() -> None:
    """The length of a lesson is its rendered prompt, the dialogue before included, and its wanted answer."""
    history: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    counted = lesson_tokens(ENGINE, lesson(question="Hi?", wanted="Yo", history=history), "")
    assert counted == len("user:a assistant:b user:Hi? assistant:") + len("Yo")
    assert lesson_tokens(ENGINE, lesson(question="Hi?", wanted=None), "") == len("user:Hi? assistant:")


def test_logits_lie_one_before_their_tokens() -> None:
    """The positions of a row's answer are those whose next token is the answer's, and no others."""
    group = [*made("wanted", [12, 9]), *made("replay", [20], start=11)]
    batch = collate(group, pad=PAD)
    width = batch.ids.shape[1]
    for i, row in enumerate(group):
        kept = range(width - batch.keep, width)
        places = list(kept)[batch.answer_positions(i)]
        assert [batch.ids[i, place + 1].item() for place in places] == list(row.ids[row.start :])


def test_padding_is_on_the_left() -> None:
    """Prefix and tail together are each row's tokens, with padding between them that the mask leaves out."""
    group = made("wanted", [12, 9, 15])
    batch = collate(group, pad=PAD)
    for i, row in enumerate(group):
        tail = batch.ids[i][batch.mask[i].bool()].tolist()
        assert (*batch.prefix.tolist(), *tail) == row.ids
        assert batch.mask[i].tolist() == sorted(batch.mask[i].tolist())
        assert set(batch.ids[i][~batch.mask[i].bool()].tolist()) <= {PAD}


def test_the_shared_prefix_is_taken_out_once() -> None:
    """What all rows begin with stands once, but never the last token of a prompt, whose logits are needed."""
    one = Row("wanted", (7, 7, 7, 1, 2, 3), 4)
    other = Row("wanted", (7, 7, 7, 4, 5, 6, 6), 4)
    assert collate([one, other], pad=PAD).prefix.tolist() == [7, 7, 7]
    alone = collate([one], pad=PAD)
    assert alone.prefix.tolist() == [7, 7, 7]
    assert alone.ids.tolist() == [[1, 2, 3]]
    same = Row("wanted", (7, 7, 7, 9), 2)
    assert collate([one, same], pad=PAD).prefix.tolist() == [7]


def mixed(rng: random.Random) -> list[Row]:
    """100 wanted and 60 replayed rows, between 10 and 200 tokens long."""
    wanted = made("wanted", [rng.randint(10, 120) for _ in range(100)])
    return wanted + made("replay", [rng.randint(30, 200) for _ in range(60)], start=20)


def test_little_padding() -> None:
    """Of lengths from 10 to 120 under a tenth of what is computed is padding, where chance gives more than a third."""
    filled = whole = 0
    for seed in range(5):
        rng = random.Random(seed)
        pool = made("wanted", [rng.randint(10, 120) for _ in range(100)])
        pool += made("replay", [rng.randint(10, 120) for _ in range(60)])
        for batch in batches(pool, size=8, pad=PAD, rng=rng):
            filled += int(batch.mask.sum())
            whole += batch.mask.numel()
    assert 1 - filled / whole < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_every_row_once_in_its_share(seed: int) -> None:
    """An epoch has every row once; each batch has its share of both kinds, up to one row."""
    pool = mixed(random.Random(seed))
    dealt = list(batches(pool, size=8, pad=PAD, rng=random.Random(seed)))
    assert sorted(row.ids for batch in dealt for row in batch.rows) == sorted(row.ids for row in pool)
    assert len(dealt) == 20
    for batch in dealt:
        kinds = [row.kind for row in batch.rows]
        assert abs(kinds.count("wanted") - 5) <= 1
        assert abs(kinds.count("replay") - 3) <= 1


def test_epochs_differ_and_seeds_repeat() -> None:
    """The order is random from epoch to epoch, and the same from the same seed."""
    pool = mixed(random.Random(0))

    def order(rng: random.Random) -> list[tuple[Row, ...]]:
        return [batch.rows for batch in batches(pool, size=8, pad=PAD, rng=rng)]

    rng = random.Random(3)
    first, second = order(rng), order(rng)
    assert first != second
    assert order(random.Random(3)) == first


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (3, 1), (1, 30), (9, 0)])
def test_few_rows(counts: tuple[int, int]) -> None:
    """One row, or one kind alone, makes batches without an empty one."""
    pool = made("wanted", [10] * counts[0]) + made("replay", [12] * counts[1])
    dealt = list(batches(pool, size=8, pad=PAD, rng=random.Random(0)))
    assert sum(len(batch.rows) for batch in dealt) == sum(counts)
    assert all(batch.rows for batch in dealt)


def test_no_rows_no_batches() -> None:
    """Nothing to train makes an empty epoch."""
    assert list(batches([], size=8, pad=PAD, rng=random.Random(0))) == []
