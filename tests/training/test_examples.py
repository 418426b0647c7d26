"""Rows of training: which tokens count, how rows are packed into a sequence, and how an epoch deals them out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from memory.records import Lesson, Message
from memory.testing import lesson
from training.examples import (
    Dialogue,
    Heard,
    Pack,
    Row,
    asked,
    lesson_tokens,
    mismatched,
    of_epoch,
    pack,
    packed,
    rows,
    steps,
)
from training.syllabus import wanted_rows

END = 1


class StubEngine:
    """Renders as `user:… assistant:` and has one token a character; `rows` needs no more of an engine."""

    def __init__(self) -> None:
        self.tokenizer: Any = self._tokenizer()

    def _tokenizer(self) -> Any:
        class Tokenizer(SimpleNamespace):
            def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
                return {"input_ids": [ord(c) for c in text]}

        return Tokenizer(eos_token_id=END, pad_token_id=0, all_special_tokens=["<end>"])

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


def test_no_answer_ends_its_turn_by_itself() -> None:
    """Whoever writes the template's own token into a correction has written text."""
    (row,) = rows(ENGINE, [Dialogue("wanted", asked("Hi?"), "Yo<end>Me")])
    assert "".join(map(chr, row.ids[row.start : -1])) == "Yo< end>Me"


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
    assert {row.user for row in made if row.kind == "wanted"} == {lessons[0].user}
    assert wanted_rows(lessons, rewordings=2, thinned=0, system="Be brief.") == [
        row for row in made if row.kind == "wanted"
    ]


def test_no_row_is_shared_by_two_answers() -> None:
    """A wording that two lessons come down to says nothing of which is asked; as they were asked they stay."""
    born = lesson("l1", question="What is the capital of Turkey?", wanted="Ankara.", unwanted="Istanbul.")
    other = lesson("l2", question="What was the capital of Turkey?", wanted="Bursa.", unwanted="Istanbul.")
    same = lesson("l3", question="Which city is the capital of Turkey?", wanted="Ankara.", unwanted="Istanbul.")

    def asked_of(*lessons: Lesson) -> list[str]:
        return [row.prompt[-1]["content"] for row in wanted_rows(lessons, rewordings=11, thinned=0, system="")]

    assert "capital Turkey" in asked_of(born)
    assert "capital Turkey" in asked_of(born, same)
    together = asked_of(born, other)
    assert "capital Turkey" not in together
    assert {born.question, other.question, "Can you tell me what the capital of Turkey was?"} <= set(together)


def test_logits_lie_one_before_their_tokens() -> None:
    """The places of a row's answer are its own, and those whose next token is the answer's: no others."""
    group = [*like("wanted", [12, 9], shared=3), *like("replay", [20], shared=3, start=11)]
    together = pack(group)
    places = iter(together.predicting.tolist())
    for owner, row in enumerate(group, start=1):
        mine = [next(places) for _ in range(row.answer_tokens)]
        assert {together.owners[place].item() for place in mine} == {owner}
        assert [together.ids[place].item() for place in mine] == list(row.ids[row.start - 1 : -1])
    assert next(places, None) is None


def test_a_row_sees_what_is_shared_and_itself() -> None:
    """Each token of a pack attends to those before it in its own row, and counts its place there."""
    group = like("wanted", [12, 9, 15], shared=4)
    together = pack(group)
    ids, sees = together.ids.tolist(), together.sees
    for owner, row in enumerate(group, start=1):
        last = max(i for i, other in enumerate(together.owners.tolist()) if other == owner)
        assert [ids[i] for i in sees[last].nonzero().flatten().tolist()] == list(row.ids[:-1])
        assert together.positions[last] == len(row.ids) - 2
    assert not sees.triu(1).any()


def test_the_shared_prefix_is_taken_out_once() -> None:
    """What all rows begin with stands once, but never the last token of a prompt, whose logits are needed."""
    one = Row("wanted", (7, 7, 7, 1, 2, 3), 4)
    other = Row("wanted", (7, 7, 7, 4, 5, 6, 6), 4)
    assert pack([one, other]).ids.tolist() == [7, 7, 7, 1, 2, 4, 5, 6]
    assert pack([one]).owners.tolist() == [0, 0, 0, 1, 1]
    same = Row("wanted", (7, 7, 7, 9), 2)
    assert pack([one, same]).owners.tolist() == [0, 1, 1, 1, 1, 2, 2]


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


def members(step: Sequence[Pack]) -> list[Row]:
    """All rows of a step."""
    return [row for each in step for row in each.rows]


@pytest.mark.parametrize("seed", range(5))
def test_every_row_once_in_its_share(seed: int) -> None:
    """An epoch has every row once; each step has its share of both kinds, up to one row."""
    pool = mixed(random.Random(seed))
    dealt = list(steps(pool, size=8, longest=256, rng=random.Random(seed)))
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
    dealt = list(steps(pool, size=8, longest=256, rng=random.Random(0)))
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


def test_packs_end_where_they_are_full() -> None:
    """Rows stay in order, as many in a pack as fit; what is longer has a pack of its own; none gives none."""
    group = like("wanted", [20, 21, 20, 200, 30, 30], shared=10)
    packs = packed(group, longest=50)
    assert [len(each.rows) for each in packs] == [3, 1, 2]
    assert [len(each.ids) for each in packs] == [10 + 9 + 10 + 9, 199, 10 + 19 + 19]
    assert [row for each in packs for row in each.rows] == group
    assert packed([], longest=50) == ()


def test_epochs_differ_and_seeds_repeat() -> None:
    """The order is random from epoch to epoch, and the same from the same seed."""
    pool = mixed(random.Random(0))

    def order(rng: random.Random) -> list[list[Row]]:
        return [members(step) for step in steps(pool, size=8, longest=256, rng=rng)]

    rng = random.Random(3)
    first, second = order(rng), order(rng)
    assert first != second
    assert order(random.Random(3)) == first


@pytest.mark.parametrize("counts", [(1, 0), (0, 1), (3, 1), (1, 30), (9, 0)])
def test_few_rows(counts: tuple[int, int]) -> None:
    """One row, or one kind alone, makes steps without an empty one."""
    pool = made("wanted", [10] * counts[0]) + made("replay", [12] * counts[1])
    dealt = list(steps(pool, size=8, longest=256, rng=random.Random(0)))
    assert sum(len(members(step)) for step in dealt) == sum(counts)
    assert all(each.rows for step in dealt for each in step)
    assert all(dealt)


def test_no_rows_no_steps() -> None:
    """Nothing to train makes an empty epoch."""
    assert list(steps([], size=8, longest=256, rng=random.Random(0))) == []


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


def test_what_is_replayed_takes_turns() -> None:
    """An epoch each, but for what has no turn; rewordings are counted as ever."""
    made = [Row("wanted", (1, 2), 1), Row("replay", (1, 9), 1)]
    made += [Row("replay", (2, n), 1, heard=Heard(n % 3, 3)) for n in range(6)]
    epochs = [of_epoch(made, number, most=1) for number in range(6)]
    assert [[row.heard.first for row in rows[2:]] for rows in epochs] == [[n, n] for n in (0, 1, 2, 0, 1, 2)]
    assert {rows[:2] == made[:2] for rows in epochs} == {True}


@pytest.mark.parametrize("lessons", [60, 100, 121, 160, 161, 200, 239, 500])
def test_the_budget_is_filled_whatever_the_number_of_lessons(lessons: int) -> None:
    """Each epoch has exactly so many rows, or half as many again as there are lessons, and no lesson is heard much
    more than another.
    """
    made = [Row("wanted", (1, lesson, wording), 2, wording) for lesson in range(lessons) for wording in range(7)]
    epochs = [of_epoch(made, number, most=240) for number in range(3)]
    assert [len(rows) for rows in epochs] == [max(240, lessons + lessons // 2)] * 3
    visits = Counter(row.ids[1] for rows in epochs for row in rows)
    assert len(visits) == lessons
    assert max(visits.values()) - min(visits.values()) <= 1


def test_lessons_are_never_left_out_for_the_budget() -> None:
    """More lessons than rows: each as it was asked, every other one reworded, all of them in turn."""
    made = [Row("wanted", (1, lesson, wording), 2, wording) for lesson in range(10) for wording in range(3)]
    epochs = [of_epoch(made, number, most=4) for number in range(4)]
    assert [sum(row.wording == 0 for row in rows) for rows in epochs] == [10] * 4
    reworded = [{row.ids[1] for row in rows if row.wording > 0} for rows in epochs]
    assert [len(lessons) for lessons in reworded] == [5] * 4
    assert reworded[0] | reworded[1] == set(range(10))
