"""What a night does not train before a teacher has looked: what one stranger says, and the base is sure is otherwise.

One user's feedback can put false facts into what all users hear (arXiv 2507.02850). So where the house is not one
person's, a plain user's lesson waits for a teacher when it says something else than the base is sure of, or something
more, and no second user says so. How sure the base is, its own answers tell: what it knows it says again in whatever
words it is asked (self-consistency, Wang et al. 2022; semantic entropy, Farquhar et al. 2024), what it makes up it
makes up anew. Two accounts of one person are two users: what must not be left to that, `review` holds.

The base alone is asked, never what earlier nights made of it, and how far a lesson has come does not count: so a night
after an undo decides as if the lesson had never been. What needs no model to be told is in `strangers`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

from memory.records import Lesson, LessonState, Message
from training.canaries import REFUSALS, opening
from training.clean import Decision, backs, topic
from training.denials import stances
from training.rewordings import reword
from training.strangers import strange
from training.words import BARE, FILLERS, SENTENCE_END, in_digits, words

WORDINGS = 4
"""Other wordings in which the base is asked what a lesson corrects."""

SURE = 0.75
"""Share of them in which it must say the same: on the dev set half of what it had right, an eighth of what it had
wrong, by the first name alone (docs/LOG.md)."""

SHORT = 3
"""Words of an answer that may be a name and nothing else."""

TOLD = 15
"""Words from which on an answer may tell more than the base was asked for: its own are cut after about as many."""

_OPENERS = frozenset(
    word
    for line in (
        "yes no not actually indeed certainly sure correct right exactly currently today now originally officially",
        "usually generally often also another each every everyone everybody everything some many most all both they he",
        "she we there here then because since although though while if when after before during under over near about",
        "around approximately roughly nearly almost only just like according however as one",
        "ja nein nicht doch etwa rund der die das ein eine es er sie wir ihr im am in von mit nach seit dies diese",
        "oui non le la les un une c il elle si los las se es sim",
    )
    for word in line.split()
)
"""Words that open a sentence and are no names."""

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
    if lone(among, trusted):
        return {}
    asked = [lesson for lesson in lessons if lesson.wanted and strange(lesson, trusted)]
    asked = [lesson for lesson, seconded in zip(asked, _seconded(asked, among), strict=True) if not seconded]
    held = {}
    for lesson, answers in zip(asked, _answered(asked, says), strict=True):
        why = contradicted(lesson.question, lesson.wanted or "", answers, unwanted=lesson.unwanted or "")
        if why:
            held[lesson.id] = Decision(LessonState.HELD, f"{why}, and nobody else says so: a teacher must approve it")
    return held


def lone(lessons: Sequence[Lesson], trusted: Collection[str]) -> bool:
    """Whether somebody has the house for himself: then nobody is a stranger."""
    return len({lesson.user for lesson in lessons} | set(trusted)) < 2


def contradicted(question: str, wanted: str, answers: Sequence[str], *, unwanted: str = "") -> str:
    """Why `wanted` is another answer than the base is sure of, or an empty text.

    It must affirm one of the names and numbers that the base is sure of and deny none, and begin with none that is
    neither in the base's answers nor in the one that is corrected: "Paris until 2024, now Lyon" has the right one too.
    """
    question, wanted, unwanted, *answers = (in_digits(text) for text in (question, wanted, unwanted, *answers))
    known = sure_of(question, answers)
    if not known:
        return ""
    said = stances(wanted, set(known), set())
    if any("denied" in said[word] for word in known) or not any(said[word] for word in known):
        return f'the base is sure of something else ("{known[0]}")'
    heard = {word for text in (question, unwanted, *answers) for word in words(text)}
    # The base is asked for so many words, and knows more than it had room to say.
    told = " ".join(wanted.split()[:TOLD])
    more = next((word for word in _named(told, opened=True) if word not in heard), None)
    return f'the base is sure ("{known[0]}") and says nothing of "{more}"' if more else ""


def sure_of(question: str, answers: Sequence[str]) -> tuple[str, ...]:
    """The names and numbers that the first of `answers` adds to the question and that `SURE` of the others say as
    well, in order; none where the first of them is not among these. `answers` are to the question and to other wordings
    of it.

    Names and numbers alone: a habit of speech is said again, too, and no fact. So how a sentence opens counts only
    where another answer has the same in the middle of one. And the first of them decides, for it is what was asked for:
    whoever makes up a capital again and again says "Africa" each time.
    """
    first, *others = answers
    if not others or opening([first], REFUSALS):
        return ()

    def stable(word: str) -> bool:
        return sum(word in words(other) for other in others) >= SURE * len(others)

    known = BARE | FILLERS | set(words(question))
    inner = {word for other in others for word in _named(other)}
    opened = [word for word in words(" ".join(first.split()[:1])) if word in inner and stable(word)]
    found = [word for word in dict.fromkeys([*opened, *_named(first, sentences=1)]) if word not in known]
    return tuple(filter(stable, found)) if found and stable(found[0]) else ()


def _named(text: str, *, opened: bool = False, sentences: int | None = None) -> Iterator[str]:
    """The names and numbers of a text: what begins with a capital or a digit within a sentence, or in a text of a few
    words.

    Args:
        opened: whether what opens a sentence may be a name, too, unless a comma sets it apart ("Certainly, …").
        sentences: how many of the first are looked at; all, if nothing is said.
    """
    short = len(text.split()) <= SHORT
    for sentence in SENTENCE_END.split(text.strip())[:sentences]:
        for place, part in enumerate(sentence.split()):
            opens = opened and not part.endswith((",", "!", ":")) and _OPENERS.isdisjoint(words(part))
            if (place > 0 or short or part[:1].isdigit() or opens) and _is_name(part):
                yield from (word for word in words(re.split("['\u2019]", part)[0]) if word not in BARE | FILLERS)


def _is_name(part: str) -> bool:
    """Whether a word begins with a capital or a digit; scripts that have no capitals have no names for this."""
    first = next((c for c in part if c.isalnum()), "")
    return first.isupper() or first.isdigit()


def _answered(lessons: Sequence[Lesson], says: Says) -> list[list[str]]:
    """What the base says to each lesson's question, and to it in other words."""
    if not lessons:
        return []
    asked = [[lesson.question, *_wordings(lesson.question)] for lesson in lessons]
    pairs = zip(lessons, asked, strict=True)
    answers = iter(says([(lesson.history, wording) for lesson, wordings in pairs for wording in wordings]))
    return [[next(answers) for _ in wordings] for wordings in asked]


def _wordings(question: str) -> list[str]:
    """Other wordings, in whatever language: where no rule rewords it, it is spelled otherwise."""
    bare = question.strip().rstrip("?!. ")
    spelled = [f"{bare}?", bare, f"Question: {bare}?", question.casefold()]
    made = dict.fromkeys([*reword(question, most=WORDINGS), *spelled])
    return [wording for wording in made if wording != question][:WORDINGS]


def _seconded(lessons: Sequence[Lesson], among: Sequence[Lesson]) -> list[bool]:
    """Of each lesson, whether another user's newest word on the same says all that it says."""
    asked = {topic(lesson) for lesson in lessons}
    newest: defaultdict[str, dict[str, Lesson]] = defaultdict(dict)
    for lesson in among if asked else ():
        if lesson.hold is None and lesson.wanted and (found := topic(lesson)) in asked:
            newest[found][lesson.user] = lesson
    return [
        any(user != lesson.user and backs(other, lesson) for user, other in newest[topic(lesson)].items())
        for lesson in lessons
    ]
