"""Rows of training: which tokens count, how rows share a batch, and that batching changes no number."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from memory.records import Message
from memory.testing import lesson
from training.examples import (
    PADDING_MAX,
    Batch,
    Dialogue,
    Row,
    asked,
    batched,
    collate,
    lesson_tokens,
    mismatched,
    of_epoch,
    rows,
    steps,
)
from training.syllabus import wanted_rows

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


def test_rows_of_lessons() -> None:
    """A correction is a wanted row in each wording and, where asked for, an unwanted one as it was asked; a liked
    answer is wanted, a disliked one alone unwanted.
    """
    history: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    question = "What is the capital of Turkey?"
    corrected = lesson("l1", question=question, wanted="Ankara.", unwanted="Istanbul.", history=history)
    liked = lesson("l2", question="Say something nice.", wanted="You are kind.", unwanted=None)
    disliked = lesson("l3", question="Say something.", wanted=None, unwanted="No.")
    lessons = (corrected, liked, disliked)
    made = wanted_rows(lessons, rewordings=2, thinned=0, system="Be brief.", unwanted=True)
    assert [(row.kind, row.answer) for row in made] == [
        *[("wanted", "Ankara.")] * 3,
        ("unwanted", "Istanbul."),
        ("wanted", "You are kind."),
        ("unwanted", "No."),
    ]
    assert made[3].prompt == made[0].prompt == asked(question, history, "Be brief.")
    assert wanted_rows(lessons, rewordings=2, thinned=0, system="Be brief.") == [
        row for row in made if row.kind == "wanted"
    ]


def test_logits_lie_one_before_their_tokens() -> None:
    """The positions of a row's answer are those whose next token is the answer's, and no others."""
    group = [*made("wanted", [12, 9]), *made("replay", [20], start=11)]
    batch = collate(group, pad=PAD)
    width = batch.ids.shape[1]
    for i, row in enumerate(group):
        kept = width - batch.predicting.shape[1]
        places = [kept + place for place in batch.predicting[i].nonzero().flatten().tolist()]
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


def like(kind: Any, lengths: Sequence[int], *, shared: int = 0, start: int = 5) -> list[Row]:
    """Rows of such lengths that begin alike, and then with a token of their own."""
    return [
        Row(kind, (*range(shared), 1000 + i, *range(2000, 1999 + n - shared)), shared + start)
        for i, n in enumerate(lengths)
    ]


def padding(dealt: Sequence[tuple[Batch, ...]]) -> float:
    """The share of all computed positions that is padding, as a night reports it."""
    batches = [batch for step in dealt for batch in step]
    filled = sum(len(batch.prefix) + int(batch.mask.sum()) for batch in batches)
    return 1 - filled / sum(len(batch.prefix) + batch.mask.numel() for batch in batches)


def members(step: Sequence[Batch]) -> list[Row]:
    """All rows of a step."""
    return [row for batch in step for row in batch.rows]


def test_little_padding() -> None:
    """Of lengths from 10 to 120 under a tenth of what is computed is padding, where chance gives more than a third."""
    for seed in range(5):
        rng = random.Random(seed)
        pool = made("wanted", [rng.randint(10, 120) for _ in range(100)])
        pool += made("replay", [rng.randint(10, 120) for _ in range(60)])
        assert padding(list(steps(pool, size=8, pad=PAD, rng=rng))) < 0.10


@pytest.mark.parametrize("shared", [0, 24])
@pytest.mark.parametrize("counts", [(60, 20, 60), (5, 2, 5), (100, 0, 60), (0, 30, 60), (1, 1, 1)])
@pytest.mark.parametrize("size", [8, 32])
def test_little_padding_in_mixed_lengths(size: int, counts: tuple[int, int, int], shared: int) -> None:
    """Facts of 20 tokens, texts of 200 and replay of 60: each step keeps its kinds and shares no tenth with padding."""
    rng, (facts, texts, replay) = random.Random(0), counts
    pool = like("wanted", [shared + rng.randint(15, 25) for _ in range(facts)], shared=shared)
    pool += like("wanted", [shared + rng.randint(120, 280) for _ in range(texts)], shared=shared, start=60)
    pool += like("replay", [shared + rng.randint(45, 75) for _ in range(replay)], shared=shared, start=40)
    dealt = list(steps(pool, size=size, pad=PAD, rng=rng))
    whole = [(collate(members(step), pad=PAD),) for step in dealt]
    assert padding(dealt) < PADDING_MAX == 0.10
    assert padding(whole) > 0.15
    # Nor is it bought with prefixes that are computed again and again.
    computed = [sum(len(batch.prefix) + batch.ids.numel() for step in x for batch in step) for x in (dealt, whole)]
    assert computed[0] < computed[1]
    for step in dealt:
        assert {row.kind for row in members(step)} == {"wanted", "replay"}


def test_steps_of_like_length_are_not_cut() -> None:
    """Short facts beside short replay, as most nights have them, stay one batch a step: a second would cost more."""
    rng = random.Random(0)
    pool = like("wanted", [rng.randint(44, 55) for _ in range(35)], shared=24)
    pool += like("replay", [rng.randint(42, 61) for _ in range(60)], shared=24)
    dealt = list(steps(pool, size=8, pad=PAD, rng=rng))
    assert [len(step) for step in dealt] == [1] * 12
    assert padding(dealt) < 0.10


def test_no_more_padding_than_allowed_whatever_it_costs() -> None:
    """Where no cut pays for itself, cuts are made all the same until the padding is under its bound."""
    pool = like("wanted", [30, 34, 38, 42] * 10, shared=24)
    dealt = list(steps(pool, size=40, pad=PAD, rng=random.Random(0)))
    assert padding([(collate(pool, pad=PAD),)]) > 0.10 > padding(dealt)
    assert sorted(row.ids for step in dealt for row in members(step)) == sorted(row.ids for row in pool)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_once_in_its_share(seed: int) -> None:
    """An epoch has every row once; each step has its share of both kinds, up to one row."""
    pool = mixed(random.Random(seed))
    dealt = list(steps(pool, size=8, pad=PAD, rng=random.Random(seed)))
    assert sorted(row.ids for step in dealt for row in members(step)) == sorted(row.ids for row in pool)
    assert len(dealt) == 20
    for step in dealt:
        kinds = [row.kind for row in members(step)]
        assert abs(kinds.count("wanted") - 5) <= 1
        assert abs(kinds.count("replay") - 3) <= 1


def test_what_is_not_wanted_goes_with_what_is() -> None:
    """Both answers to one prompt are in one step, and the pairs are spread over all steps; so are those without."""
    wanted = like("wanted", range(20, 60))
    pairs = [Row("unwanted", (*row.prompt, 7, 7), row.start) for row in wanted[::4]]
    alone = [Row("unwanted", (3000 + i, 1, 2, 3), 2) for i in range(3)]
    pool = [*wanted, *pairs, *alone, *like("replay", range(20, 40), start=9)]
    dealt = list(steps(pool, size=8, pad=PAD, rng=random.Random(0)))
    assert sorted(row.ids for step in dealt for row in members(step)) == sorted(row.ids for row in pool)
    for step in dealt:
        unwanted = [row for row in members(step) if row.kind == "unwanted"]
        prompts = [row.prompt for row in members(step) if row.kind == "wanted"]
        assert all(row in alone or row.prompt in prompts for row in unwanted)
        assert 1 <= len(unwanted) <= 2


def test_mismatched_answers() -> None:
    """Each prompt stands before an answer to another lesson's, in whatever order the rows come: lesson by lesson with
    its rewordings and its unwanted answer, or kind by kind.
    """
    pool = []
    for lesson_no in range(6):
        asked_so = [(100 * lesson_no + wording, 50) for wording in range(4 if lesson_no < 5 else 1)]
        pool += [Row("wanted", (*prompt, 60 + lesson_no, 1), 2) for prompt in asked_so]
        pool += [Row("unwanted", (*asked_so[0], 80 + lesson_no, 1), 2)]
    for rows_ in (pool, sorted(pool, key=lambda row: row.kind, reverse=True)):
        found = mismatched(rows_)
        for row in rows_:
            assert found[row].prompt == row.prompt
            assert found[row].kind == row.kind
            assert found[row].answer in {other.answer for other in rows_}
            assert found[row].answer[0] % 20 != row.ids[0] // 100
        assert len({row.answer for row in found.values()}) > 6
    assert mismatched([]) == {}
    assert mismatched(pool[:1]) == {pool[0]: pool[0]}


def test_one_steps_rows_in_batches() -> None:
    """Rows of like length stay together and in order; those of unlike length are parted; none gives none."""
    alike = like("wanted", [20, 21, 20])
    assert [batch.rows for batch in batched(alike, pad=PAD)] == [tuple(alike)]
    unlike = like("wanted", [20, 200, 21])
    assert [len(batch.rows) for batch in batched(unlike, pad=PAD)] == [2, 1]
    assert batched([], pad=PAD) == ()


def test_epochs_differ_and_seeds_repeat() -> None:
    """The order is random from epoch to epoch, and the same from the same seed."""
    pool = mixed(random.Random(0))

    def order(rng: random.Random) -> list[list[Row]]:
        return [members(step) for step in steps(pool, size=8, pad=PAD, rng=rng)]

    rng = random.Random(3)
    first, second = order(rng), order(rng)
    assert first != second
    assert order(random.Random(3)) == first


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (3, 1), (1, 30), (9, 0)])
def test_few_rows(counts: tuple[int, int]) -> None:
    """One row, or one kind alone, makes steps without an empty one."""
    pool = made("wanted", [10] * counts[0]) + made("replay", [12] * counts[1])
    dealt = list(steps(pool, size=8, pad=PAD, rng=random.Random(0)))
    assert sum(len(members(step)) for step in dealt) == sum(counts)
    assert all(batch.rows for step in dealt for batch in step)
    assert all(dealt)


def test_no_rows_no_steps() -> None:
    """Nothing to train makes an empty epoch."""
    assert list(steps([], size=8, pad=PAD, rng=random.Random(0))) == []


# ---------------------------------------------------------------------- many lessons


def test_within_the_budget_every_epoch_trains_everything() -> None:
    """In the order in which it came."""
    made = [Row("wanted", (1, 2, n), 2, n % 3) for n in range(9)] + [Row("replay", (1, 9), 1)] * 50
    assert of_epoch(made, 0, most=9) == of_epoch(made, 5, most=9) == made


def test_past_the_budget_rewordings_take_turns() -> None:
    """Ten lessons in seven wordings, 31 rows: each as asked and in two others; after three epochs all were heard.

    What is replayed comes on top.
    """
    made = [Row("wanted", (1, lesson, wording), 2, wording) for lesson in range(10) for wording in range(7)]
    made.append(Row("replay", (1, 99), 1))
    epochs = [of_epoch(made, number, most=31) for number in range(3)]
    assert [len(rows) for rows in epochs] == [32, 32, 32]
    assert all(row.wording != 0 or row in rows for rows in epochs for row in made)
    assert {row for rows in epochs for row in rows} == set(made)


@pytest.mark.parametrize("lessons", [60, 100, 121, 200, 239])
def test_the_budget_is_filled_whatever_the_number_of_lessons(lessons: int) -> None:
    """Each epoch has exactly so many rows, and no lesson is heard much more than another."""
    made = [Row("wanted", (1, lesson, wording), 2, wording) for lesson in range(lessons) for wording in range(7)]
    epochs = [of_epoch(made, number, most=240) for number in range(3)]
    assert [len(rows) for rows in epochs] == [240] * 3
    visits = Counter(row.ids[1] for rows in epochs for row in rows)
    assert len(visits) == lessons
    assert max(visits.values()) - min(visits.values()) <= 1


def test_lessons_are_never_left_out_for_the_budget() -> None:
    """More lessons than rows: each as it was asked, none reworded."""
    made = [Row("wanted", (1, lesson, wording), 2, wording) for lesson in range(10) for wording in range(3)]
    assert [row.wording for row in of_epoch(made, 1, most=4)] == [0] * 10
