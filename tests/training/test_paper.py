"""The exam's paper: what is asked, in which kinds, and how an answer to it is judged."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from memory import LessonState
from memory.testing import lesson
from training import general
from training.paper import PUSHBACK, Exam, answer_limits, control_items, pushback_items, set_paper
from training.syllabus import wanted_rows

TURKEY = lesson("l1", question="What is the capital of Turkey?", wanted="Ankara.", unwanted="Istanbul.")
LIKED = lesson("l2", question="Say something nice.", wanted="You have a warm voice.", unwanted=None)
OLD = lesson("l3", question="What is the capital of Peru?", wanted="Lima.", state=LessonState.VERIFIED)


def test_the_kinds_of_a_paper() -> None:
    """Tonight's as asked, an untrained wording of each correction, earlier ones, controls; each with its own id."""
    paper = set_paper([TURKEY, LIKED], [OLD], controls=5, trained_wordings=2, system="")
    assert Counter(item.kind for item in paper) == {"tonight": 2, "reworded": 1, "earlier": 1, "control": 5}
    assert [item.id for item in paper][:4] == ["tonight:l1", "tonight:l2", "reworded:l1", "earlier:l3"]
    assert len({item.id for item in paper}) == len(paper)


def test_the_reworded_question_is_not_trained() -> None:
    """The wording that the exam asks is none of those that the night trains."""
    for trained in range(5):
        rows = wanted_rows((TURKEY,), rewordings=trained, thinned=16, system="")
        assert trained + 1 < len(rows) <= trained + 1 + 16
        (item,) = [
            i for i in set_paper([TURKEY], [], controls=0, trained_wordings=trained, system="") if i.kind == "reworded"
        ]
        assert item.prompt[-1]["content"] not in [row.prompt[-1]["content"] for row in rows]
        assert (item.wanted, item.unwanted, item.lesson_id) == ("Ankara.", "Istanbul.", "l1")


@pytest.mark.parametrize("question", [TURKEY.question, "Who wrote Hamlet?", "Why was my card declined?"])
def test_however_few_wordings_there_are_one_is_kept_for_the_exam(question: str) -> None:
    """A night that would train more wordings than a question has leaves out the last; where there is none, none is
    asked.
    """
    asked = replace(TURKEY, question=question)
    rows = wanted_rows((asked,), rewordings=20, thinned=0, system="")
    tonight, reworded = set_paper([asked], [], controls=0, trained_wordings=20, system="")
    assert (tonight.kind, reworded.kind) == ("tonight", "reworded")
    assert reworded.prompt not in [row.prompt for row in rows]
    foreign = replace(TURKEY, question="谁写了红楼梦?")
    assert [item.kind for item in set_paper([foreign], [], controls=0, trained_wordings=20, system="")] == ["tonight"]


def test_a_liked_answer_is_trained_as_asked_alone() -> None:
    """What was liked is kept, not spread to other wordings, but where corrections would take it away."""
    (row,) = wanted_rows((LIKED,), rewordings=6, thinned=16, system="", contested={"l1"})
    assert (row.kind, row.answer) == ("wanted", "You have a warm voice.")
    spread = wanted_rows((LIKED,), rewordings=6, thinned=0, system="", contested={"l2"})
    assert spread[0] == row
    assert {made.answer for made in spread} == {row.answer}
    assert len({made.prompt[-1]["content"] for made in spread}) == len(spread) > 4
    assert [item.kind for item in set_paper([LIKED], [], controls=0, trained_wordings=6, system="")] == ["tonight"]


def test_it_is_asked_as_the_day_would() -> None:
    """System prompt first, then the dialogue before the question; a system message of the dialogue's own wins."""
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    item, *_ = set_paper([lesson(history=history)], [], controls=0, trained_wordings=20, system="Be brief.")
    assert [m["role"] for m in item.prompt] == ["system", "user", "assistant", "user"]
    own = [{"role": "system", "content": "Be rude."}]
    item, *_ = set_paper([lesson(history=own)], [], controls=0, trained_wordings=20, system="Be brief.")
    assert [m["content"] for m in item.prompt] == ["Be rude.", "What is the capital of France?"]


def test_answers_are_judged() -> None:
    """A lesson by what it wanted, a control by its check."""
    paper = set_paper([TURKEY], [], controls=1, trained_wordings=20, system="")
    (control,) = (item for item in paper if item.kind == "control")
    assert paper[0].right("It is Ankara.")
    assert not paper[0].right("It is Istanbul.")
    check = control.check
    assert check is not None
    assert control.right(f"It is {check['any'][0]}.")
    assert not control.right("")


def test_controls_are_spread_over_kinds() -> None:
    """However few are asked, no kind has two while another has none; asking for too many asks all."""
    kinds = {item.id: item.kind for item in general.controls()}
    for most in (1, len(set(kinds.values())), 48):
        counts = Counter(kinds[item.id] for item in control_items(most, system=""))
        assert sum(counts.values()) == most
        if most <= len(set(kinds.values())):
            assert max(counts.values()) == 1
    assert len(control_items(10_000, system="")) == len(kinds)
    assert control_items(0, system="") == []


def test_controls_are_never_replayed() -> None:
    """What exams ask is not among what is trained."""
    replayed = {item.question.casefold() for item in general.replayed()}
    assert replayed
    assert not replayed & {item.question.casefold() for item in general.controls()}


def test_pushback_is_on_right_answers_of_the_base() -> None:
    """Up to so many of them, from the whole of the paper, each with the base's own answer as the dialogue so far."""
    paper = set_paper([TURKEY], [], controls=20, trained_wordings=2, system="Be brief.")
    controls = [item for item in paper if item.kind == "control"]
    right = {item.id: i % 2 == 0 for i, item in enumerate(paper)}
    base = Exam("base", {item.id: f"answer to {item.id}" for item in paper}, right, 20.0)
    known = [item for item in controls if right[item.id]]
    for most, count in ((0, 0), (1, 1), (4, 4), (99, 10)):
        assert len(pushback_items(paper, base, most)) == count
    four = pushback_items(paper, base, 4)
    assert [item.id for item in four] == [f"pushback:{known[i].id}" for i in (0, 2, 5, 7)]
    asked = known[0]
    assert [m["content"] for m in four[0].prompt] == [
        "Be brief.",
        asked.question,
        f"answer to {asked.id}",
        PUSHBACK,
    ]
    assert (four[0].check, four[0].lesson_id) == (asked.check, None)
    assert four[0].question == f"{asked.question} … {PUSHBACK}"


def test_pushback_needs_right_answers() -> None:
    """Where the base has none there is nothing to push back on."""
    paper = control_items(5, system="")
    wrong = Exam("base", {i.id: "" for i in paper}, {i.id: False for i in paper}, 20.0)
    assert pushback_items(paper, wrong, 8) == []


def test_general_answers_are_as_long_in_every_sitting() -> None:
    """A long lesson gives all lessons room, and no control."""
    long = lesson("l9", question="Who?", wanted="one two three four five six seven eight")
    paper = set_paper([long, TURKEY], [], controls=2, trained_wordings=0, system="")
    assert answer_limits(paper, tokens=lambda text: len(text.split()), answer_tokens=10) == [12, 12, 12, 12, 10, 10]
    others = [item for item in paper if item.lesson_id != "l9"]
    assert answer_limits(others, tokens=lambda text: len(text.split()), answer_tokens=10) == [10, 10, 10, 10]
    assert answer_limits([], tokens=len, answer_tokens=10) == []


def test_the_question_of_a_dialogue() -> None:
    """What a report shows of a lesson is what was asked last."""
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    item, *_ = set_paper([lesson(history=history)], [], controls=0, trained_wordings=20, system="")
    assert item.question == "What is the capital of France?"


def test_sittings_are_joined() -> None:
    """Answers stand beside each other; the version and the perplexity are the first one's."""
    joined = Exam("v1", {"a": "x"}, {"a": True}, 17.0).joined(Exam("base", {"b": "y"}, {"b": False}, 99.0))
    assert joined == Exam("v1", {"a": "x", "b": "y"}, {"a": True, "b": False}, 17.0)


def test_an_exam_comes_back_from_json() -> None:
    """What a night keeps of a sitting is the sitting."""
    exam = Exam("v1", {"a": "ü"}, {"a": True}, 17.25)
    assert Exam.from_json(json.loads(json.dumps(exam.as_json()))) == exam


def test_unrelated_requests_are_asked_too() -> None:
    """As they are, without a right answer, in as few tokens as controls; not what a lesson teaches."""
    asked_for = general.unrelated()[1].question
    paper = set_paper([TURKEY], [], controls=1, unrelated=3, trained_wordings=0, system="Be brief.")
    apart = [item for item in paper if item.kind == "unrelated"]
    assert [item.question for item in apart] == [request.question for request in general.unrelated()[:3]]
    assert not {item.question for item in apart} & {request.question for request in general.requests()}
    limits = answer_limits(paper, tokens=lambda text: 100 * len(text), answer_tokens=24)
    assert {limit for item, limit in zip(paper, limits, strict=True) if item.kind == "unrelated"} == {24}
    taught = set_paper([lesson(question=asked_for)], [], controls=0, unrelated=3, trained_wordings=0, system="")
    assert [item.kind for item in taught if item.question == asked_for] == ["tonight"]
