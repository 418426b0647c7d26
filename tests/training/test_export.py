"""Lessons as other trainers' rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from memory.records import Lesson, LessonState
from memory.testing import lesson
from training.export import FORMATS, Format, exported, fit

ASKED = {"role": "user", "content": "Capital of Turkey?"}


def said(text: str) -> dict[str, str]:
    """An answer."""
    return {"role": "assistant", "content": text}


def rows(form: Format, *lessons: Lesson) -> list[dict[str, Any]]:
    """What the lines say."""
    return [json.loads(line) for line in exported(lessons, form)]


CORRECTED = lesson("l1", question="Capital of Turkey?", wanted="Ankara, süß.", unwanted="Istanbul.")
LIKED = replace(CORRECTED, wanted="Ankara.", unwanted=None)
DISLIKED = replace(CORRECTED, wanted=None)


def test_a_correction_in_each_format() -> None:
    """What is wanted, and for preferences what is not."""
    assert rows("sft", CORRECTED) == [{"messages": [ASKED, said("Ankara, süß.")]}]
    pair = {"prompt": [ASKED], "chosen": [said("Ankara, süß.")], "rejected": [said("Istanbul.")]}
    assert rows("dpo", CORRECTED) == [pair]
    assert rows("kto", CORRECTED) == [
        {"prompt": [ASKED], "completion": [said("Ankara, süß.")], "label": True},
        {"prompt": [ASKED], "completion": [said("Istanbul.")], "label": False},
    ]
    spoken = [{"from": "human", "value": "Capital of Turkey?"}, {"from": "gpt", "value": "Ankara, süß."}]
    assert rows("sharegpt", CORRECTED) == [{"conversations": spoken}]


@pytest.mark.parametrize("form", FORMATS)
def test_what_came_before_stands_before(form: Format) -> None:
    """The dialogue until the question, in every format."""
    after = replace(CORRECTED, history=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}])
    (row, *_) = rows(form, after)
    (begins, *_) = next(iter(row.values()))
    assert "Hello" in begins.values()


@pytest.mark.parametrize(
    ("form", "liked", "disliked"), [("sft", 1, 0), ("dpo", 0, 0), ("kto", 1, 1), ("sharegpt", 1, 0)]
)
def test_half_a_lesson_has_what_it_has(form: Format, liked: int, disliked: int) -> None:
    """A thumb up has no unwanted answer, a thumb down alone no wanted one."""
    assert (len(rows(form, LIKED)), len(rows(form, DISLIKED))) == (liked, disliked)


def test_what_may_not_be_taught_is_not_handed_out() -> None:
    """Secrets, what is contradicted, what waits for a teacher or failed a night; a verified one is."""
    lessons = [
        replace(CORRECTED, id="secret", question="What is my key?", wanted="It is ghp_0123456789abcdefghij."),
        replace(CORRECTED, id="older", wanted="Izmir."),
        replace(CORRECTED, id="newer", state=LessonState.VERIFIED),
        replace(CORRECTED, id="doubted", question="Capital of Peru?", wanted="Cusco.", state=LessonState.HELD),
        replace(CORRECTED, id="failed", question="Capital of Chad?", wanted="Oslo.", state=LessonState.REJECTED),
        replace(CORRECTED, id="hold", question="Capital of Mali?", wanted="Bamako.", hold="a person holds it"),
    ]
    assert [lesson.id for lesson in fit(lessons)] == ["newer"]


@pytest.mark.parametrize("form", ["sft", "dpo", "kto"])
def test_trl_takes_them(form: Format) -> None:
    """Its own functions tell what sort of rows they are."""
    data_utils = pytest.importorskip("trl.data_utils")
    assert all(data_utils.is_conversational(row) for row in rows(form, CORRECTED))
