"""What a night does not train before a teacher has looked: what a stranger's thumbs might do to everybody's answers.

One user's feedback can put false facts into what all users hear (arXiv 2507.02850), and thumbs as the only reward breed
flattery. So where the house is not one person's, a plain user's lesson waits for a teacher when it praises, when it
mixes alphabets within a word (a way past every list of words), or when it says something else than the base is sure of
and no second user says so. How sure the base is, its own answers tell: what it knows it says again in whatever words it
is asked (self-consistency, Wang et al. 2022; semantic entropy, Farquhar et al. 2024), what it makes up it makes up
anew. A teacher's lessons, and those that a teacher approved, are in no doubt; nor are those of somebody who has the
house for himself. Two accounts of one person are two users: what must not be left to that, `review` holds.

The base alone is asked, never what earlier nights made of it, and how far a lesson has come does not count: so a night
after an undo decides as if the lesson had never been.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from assistant.review import APPROVED
from memory.records import Lesson, LessonState, Message
from training.canaries import REFUSALS, flatters, opening
from training.clean import Decision, agree, topic
from training.denials import stances
from training.rewordings import reword
from training.words import BARE, FILLERS, words

WORDINGS = 4
"""Other wordings in which the base is asked what a lesson corrects."""

SURE = 0.75
"""Share of them in which it must say the same: on the dev set half of what it had right, an eighth of what it had wrong
(docs/LOG.md)."""

SHORT = 3
"""Words of an answer that may be a name and nothing else."""

_NAME = re.compile(r"\W*[^\W\da-z_]|\W*\d")
"""How a word begins that is a name, by its capital, or a number."""

_SENTENCE = re.compile(r"(?<=[.!?])\s")

_ALPHABETS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")

Asked = tuple[Sequence[Message], str]
"""A dialogue so far, and the question that follows it."""

Says = Callable[[Sequence[Asked]], list[str]]
"""What the base says to each, in order."""


def doubted(
    lessons: Sequence[Lesson], *, among: Sequence[Lesson], trusted: Collection[str], says: Says
) -> dict[str, Decision]:
    """Lesson id → why it is held, for those of `lessons` that a teacher must look at.

    Args:
        among: all lessons in force that may be trained, oldest first: whoever else says the same speaks for a lesson.
        trusted: users who may approve lessons.
    """
    if len({lesson.user for lesson in among} | set(trusted)) < 2:
        return {}
    strange = [lesson for lesson in lessons if lesson.wanted and _strange(lesson, trusted)]
    held = {lesson.id: _held(why) for lesson in strange if (why := _plainly_wrong(lesson.wanted or ""))}
    asked = [lesson for lesson in strange if lesson.id not in held]
    asked = [lesson for lesson, seconded in zip(asked, _seconded(asked, among), strict=True) if not seconded]
    for lesson, known in zip(asked, _known(asked, says), strict=True):
        if known and stances(lesson.wanted or "", {known}, set())[known] != {"affirmed"}:
            held[lesson.id] = _held(f'the base is sure of something else ("{known}"), and nobody else says so')
    return held


def sure_of(question: str, answers: Sequence[str]) -> str | None:
    """The name or number that the first of `answers` adds to the question and that `SURE` of the others say as well;
    None where it adds none or they don't. `answers` are to the question and to other wordings of it.

    Names and numbers alone: a habit of speech is said again, too, and no fact. So how a sentence opens does not count.
    """
    first, *others = answers
    if not others or opening([first], REFUSALS):
        return None
    known = BARE | FILLERS | set(words(question))
    parts = _SENTENCE.split(first.strip())[0].split()
    opened = parts if len(first.split()) <= SHORT else [part for i, part in enumerate(parts) if i or part[:1].isdigit()]
    names = (words(re.split("['\u2019]", part)[0]) for part in opened if _NAME.match(part))
    said = next((word for name in names for word in name if word not in known), None)
    return said if said and sum(said in words(other) for other in others) >= SURE * len(others) else None


def _known(lessons: Sequence[Lesson], says: Says) -> list[str | None]:
    if not lessons:
        return []
    asked = [[lesson.question, *_wordings(lesson.question)] for lesson in lessons]
    pairs = zip(lessons, asked, strict=True)
    answers = iter(says([(lesson.history, wording) for lesson, wordings in pairs for wording in wordings]))
    return [sure_of(wordings[0], [next(answers) for _ in wordings]) for wordings in asked]


def _wordings(question: str) -> list[str]:
    """Other wordings, in whatever language: where no rule rewords it, it is spelled otherwise."""
    bare = question.strip().rstrip("?!. ")
    spelled = [f"{bare}?", bare, f"Question: {bare}?", question.casefold()]
    made = dict.fromkeys([*reword(question, most=WORDINGS), *spelled])
    return [wording for wording in made if wording != question][:WORDINGS]


def _strange(lesson: Lesson, trusted: Collection[str]) -> bool:
    """Whether a lesson is neither a teacher's nor approved by one; what was said of it since counts, nights don't."""
    said = [event.reason for event in lesson.events if event.night_id is None]
    return not (lesson.user in trusted or (bool(said) and said[-1].startswith(APPROVED)))


def _plainly_wrong(wanted: str) -> str:
    """What needs no second look, or an empty text."""
    if any(flatters(sentence) for sentence in _SENTENCE.split(wanted)):
        return "it praises whoever asks"
    if any(_mixed(word) for word in words(wanted)):
        return "it mixes alphabets within a word"
    return ""


def _mixed(word: str) -> bool:
    names = [unicodedata.name(c, "") for c in word]
    return sum(any(name.startswith(alphabet) for name in names) for alphabet in _ALPHABETS) > 1


def _seconded(lessons: Sequence[Lesson], among: Sequence[Lesson]) -> list[bool]:
    """Of each lesson, whether another user's newest word on the same wants the same answer."""
    asked = {topic(lesson) for lesson in lessons}
    newest: defaultdict[str, dict[str, Lesson]] = defaultdict(dict)
    for lesson in among if asked else ():
        if lesson.hold is None and lesson.wanted and (found := topic(lesson)) in asked:
            newest[found][lesson.user] = lesson
    return [
        any(user != lesson.user and agree(other, lesson) for user, other in newest[topic(lesson)].items())
        for lesson in lessons
    ]


def _held(why: str) -> Decision:
    return Decision(LessonState.HELD, f"{why}: a teacher must approve it")
