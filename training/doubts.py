"""What a night does not train before a teacher has looked: what a stranger's thumbs might do to everybody's answers.

One user's feedback can put false facts into what all users hear (arXiv 2507.02850), and thumbs as the only reward breed
flattery. So where several people have lessons, a plain user's lesson waits for a teacher when it opens with praise, or
when it says something else than the base is sure of and no second user says so. How sure the base is, its own answers
tell: what it knows it says again in whatever words it is asked (self-consistency, Wang et al. 2022; semantic entropy,
Farquhar et al. 2024), what it makes up it makes up anew. A teacher's lessons, and those that a teacher approved, are in
no doubt; nor are those of somebody who has the house for himself.

The base alone is asked, never what earlier nights made of it: so a night after an undo decides as if the lesson had
never been.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Protocol

from assistant.review import APPROVED
from memory.records import Lesson, LessonState
from training.canaries import flatters
from training.clean import Decision, agree, topic
from training.rewordings import reword
from training.words import BARE, FILLERS, words

WORDINGS = 4
"""Other wordings in which the base is asked what a lesson corrects."""

SURE = 0.75
"""Share of them in which it must say the same: on the dev set half of what it had right, an eighth of what it had wrong
(docs/LOG.md)."""

_NAME = re.compile(r"\W*[^\W\da-z_]|\W*\d")
"""How a word begins that is a name, by its capital, or a number."""

_SENTENCE = re.compile(r"(?<=[.!?])\s")


class Says(Protocol):
    """What the base says to each question, in order."""

    def __call__(self, questions: Sequence[str]) -> list[str]: ...


def doubted(
    lessons: Sequence[Lesson], *, among: Sequence[Lesson], trusted: Collection[str], says: Says
) -> dict[str, Decision]:
    """Lesson id → why it is held, for those of `lessons` that no night has verified.

    Args:
        among: all lessons in force: whoever else says the same speaks for a lesson.
        trusted: users who may approve lessons.
    """
    if len({lesson.user for lesson in among} | set(trusted)) < 2:
        return {}
    strange = [lesson for lesson in lessons if _strange(lesson, trusted)]
    strange = [lesson for lesson, seconded in zip(strange, _seconded(strange, among), strict=True) if not seconded]
    held = {lesson.id: _held("it opens with praise") for lesson in strange if flatters(lesson.wanted or "")}
    asked = [x for x in strange if x.id not in held and x.unwanted is not None and not x.history]
    for lesson, known in zip(asked, _known([lesson.question for lesson in asked], says), strict=True):
        if known and known not in words(lesson.wanted or ""):
            held[lesson.id] = _held(f'the base is sure of something else ("{known}"), and nobody else says so')
    return held


def sure_of(question: str, answers: Sequence[str]) -> str | None:
    """The name or number that the first of `answers` adds to the question and that `SURE` of the others say as well;
    None where it adds none or they don't. `answers` are to the question and to other wordings of it.

    Names and numbers alone: a habit of speech is said again, too, and no fact.
    """
    first, *others = answers
    known = BARE | FILLERS | set(words(question))
    sentence = _SENTENCE.split(first.strip())[0]
    names = (word for part in sentence.split() if _NAME.match(part) for word in words(part))
    said = next((word for word in names if word not in known), None)
    if said is None or not others:
        return None
    return said if sum(said in words(other) for other in others) >= SURE * len(others) else None


def _known(questions: Sequence[str], says: Says) -> list[str | None]:
    asked = [[question, *reword(question, most=WORDINGS)] for question in questions]
    answers = iter(says([wording for wordings in asked for wording in wordings]))
    return [sure_of(wordings[0], [next(answers) for _ in wordings]) for wordings in asked]


def _strange(lesson: Lesson, trusted: Collection[str]) -> bool:
    """Whether a lesson is neither a teacher's nor approved by one; what was said of it since counts, nights don't."""
    said = [event.reason for event in lesson.events if event.night_id is None]
    approved = bool(said) and said[-1].startswith(APPROVED)
    return not (lesson.user in trusted or approved or lesson.state is LessonState.VERIFIED)


def _seconded(lessons: Sequence[Lesson], among: Sequence[Lesson]) -> list[bool]:
    """Of each lesson, whether another user wants the same answer to the same."""
    if not lessons:
        return []
    asked = {topic(lesson) for lesson in lessons}
    others: defaultdict[str, list[Lesson]] = defaultdict(list)
    for lesson in among:
        if lesson.wanted and (found := topic(lesson)) in asked:
            others[found].append(lesson)
    return [any(x.user != lesson.user and agree(x, lesson) for x in others[topic(lesson)]) for lesson in lessons]


def _held(why: str) -> Decision:
    return Decision(LessonState.HELD, f"{why}: a teacher must approve it")
