"""Lessons as rows of other trainers' datasets, one JSON object a line.

The formats are those that TRL documents as conversational: `sft` (language modelling), `dpo` (explicit preference) and
`kto` (unpaired preference); and `sharegpt`, as chat exports have it. What a night would leave out, or a person holds
back, stays here: secrets, contradictions, what waits for a teacher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

from memory.records import Lesson, LessonState, Message
from training.clean import clean

Format = Literal["sft", "dpo", "kto", "sharegpt"]
FORMATS: tuple[Format, ...] = get_args(Format)

FROM = {"user": "human", "assistant": "gpt", "system": "system"}
"""What ShareGPT calls who speaks."""


def fit(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Those of the lessons in force, oldest first, that may leave the house."""
    # However long: another trainer has its own bound.
    kept = clean(lessons, tokens=lambda lesson: 0, longest=0).kept
    return [lesson for lesson in kept if lesson.state not in (LessonState.HELD, LessonState.REJECTED)]


def exported(lessons: Sequence[Lesson], form: Format) -> Iterator[str]:
    """The lines of a file. What a lesson has nothing of has none: without an unwanted answer there is no `dpo`."""
    for lesson in lessons:
        for row in _rows(lesson, form):
            yield json.dumps(row, ensure_ascii=False)


def _rows(lesson: Lesson, form: Format) -> Iterator[dict[str, Any]]:
    prompt: list[Message] = [*lesson.history, {"role": "user", "content": lesson.question}]
    wanted, unwanted = (_said(text) for text in (lesson.wanted, lesson.unwanted))
    if form == "kto":
        labelled = ((wanted, True), (unwanted, False))
        yield from ({"prompt": prompt, "completion": said, "label": label} for said, label in labelled if said)
    elif form == "dpo":
        if wanted and unwanted:
            yield {"prompt": prompt, "chosen": wanted, "rejected": unwanted}
    elif wanted:
        messages = [*prompt, *wanted]
        if form == "sft":
            yield {"messages": messages}
        else:
            yield {"conversations": [{"from": FROM[said["role"]], "value": said["content"]} for said in messages]}


def _said(text: str | None) -> list[Message]:
    return [{"role": "assistant", "content": text}] if text else []
