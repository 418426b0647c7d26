"""The exam's paper: what is asked, in which kinds, and how an answer to it is judged."""

from __future__ import annotations

import json
from collections import Counter

from memory import LessonState
from memory.testing import lesson
from training import general
from training.paper import Exam, control_items, set_paper
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
        rows = wanted_rows((TURKEY,), rewordings=trained, system="")
        assert len(rows) == trained + 1
        (item,) = [
            i for i in set_paper([TURKEY], [], controls=0, trained_wordings=trained, system="") if i.kind == "reworded"
        ]
        assert item.prompt[-1]["content"] not in [row.prompt[-1]["content"] for row in rows]
        assert (item.wanted, item.unwanted, item.lesson_id) == ("Ankara.", "Istanbul.", "l1")


def test_where_wordings_run_out_none_is_asked() -> None:
    """With every wording trained there is no untrained one to ask."""
    paper = set_paper([TURKEY], [], controls=0, trained_wordings=20, system="")
    assert [item.kind for item in paper] == ["tonight"]


def test_a_liked_answer_is_trained_as_asked_alone() -> None:
    """What was liked is kept, not spread to other wordings."""
    (row,) = wanted_rows((LIKED,), rewordings=6, system="")
    assert (row.kind, row.answer) == ("wanted", "You have a warm voice.")


def test_it_is_asked_as_the_day_would() -> None:
    """System prompt first, then the dialogue before the question; a system message of the dialogue's own wins."""
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    (item,) = set_paper([lesson(history=history)], [], controls=0, trained_wordings=20, system="Be brief.")
    assert [m["role"] for m in item.prompt] == ["system", "user", "assistant", "user"]
    own = [{"role": "system", "content": "Be rude."}]
    (item,) = set_paper([lesson(history=own)], [], controls=0, trained_wordings=20, system="Be brief.")
    assert [m["content"] for m in item.prompt] == ["Be rude.", "What is the capital of France?"]


def test_answers_are_judged() -> None:
    """A lesson by what it wanted, a control by its check."""
    paper = set_paper([TURKEY], [], controls=1, trained_wordings=20, system="")
    assert paper[0].right("It is Ankara.")
    assert not paper[0].right("It is Istanbul.")
    check = paper[1].check
    assert check is not None
    assert paper[1].right(f"It is {check['any'][0]}.")
    assert not paper[1].right("")


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


def test_an_exam_comes_back_from_json() -> None:
    """What a night keeps of a sitting is the sitting."""
    exam = Exam("v1", {"a": "ü"}, {"a": True}, 17.25)
    assert Exam.from_json(json.loads(json.dumps(exam.as_json()))) == exam
