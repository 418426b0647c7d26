"""What a stranger's lesson must not hold, whatever it is about, until a teacher has looked: praise, orders, links.

A plain user's thumbs reach everybody's answers, and what does harm there need not be a false fact: flattery that earns
thumbs, an order to whoever reads it, an address to go to, a refusal in the place of an answer, a habit of speech. All
of it is told from the text alone, so that it is looked for in every lesson of a stranger's, before any is counted as a
vote. A teacher's lessons, those that a teacher approved, and those of somebody who has the house for himself are
nobody's business here. What is held by mistake is one press of a button away from the next night.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from assistant.review import APPROVED
from memory.records import Lesson, LessonState
from training.canaries import REFUSALS, flatters, opening
from training.clean import Decision
from training.words import BARE, FILLERS, SENTENCE_END, words

ADDRESS = re.compile(
    r"\b(?:https?|ftp)://[^\s/]+|\bwww\.[\w-]+\.\w+|[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.\w{2,}"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|info|biz|io|ai|app|dev|shop|xyz|online|site|ru|cn|de|uk|eu)\b",
    re.IGNORECASE,
)
"""Where a reader could be sent: the host of a link, a domain by itself, an e-mail address."""

ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass) (?:\w+ ){0,3}(?:previous|prior|above|earlier|preceding|system|your"
    r"|all) (?:\w+ ){0,2}(?:instructions?|prompts?|rules|guidelines|messages?|orders|directions)\b"
    r"|\byou are now (?:dan|a|an|in|no longer|free|unrestricted)\b|\b(?:system|developer) prompt\b",
)
"""Prompt injection, in the words that it is known by; over a text's `words`."""

_NO_PREFACE = frozenset(["yes", "no", "sure", "ok", "okay", "right", "well", "so", "hi", "hello", "oh", "ah"])
"""Words that may stand before an answer and mean nothing more."""

_ALPHABETS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")


def strange(lesson: Lesson, trusted: Collection[str]) -> bool:
    """Whether a lesson is neither a teacher's nor approved by one; what was said of it since counts, nights don't."""
    said = [event.reason for event in lesson.events if event.night_id is None]
    return not (lesson.user in trusted or (bool(said) and said[-1].startswith(APPROVED)))


def suspicious(lessons: Sequence[Lesson], *, among: Sequence[Lesson]) -> dict[str, Decision]:
    """Lesson id → why it is held, for those of strangers' `lessons` that a teacher must look at.

    Args:
        among: all lessons in force: what several users say is nobody's habit.
    """
    said = [lesson for lesson in lessons if lesson.wanted]
    habits = _habits(said, among)
    held = {}
    for lesson in said:
        why = _why(lesson)
        if not why and habits.intersection((lesson.user, sentence) for sentence in _asides(lesson)):
            why = "it says what its user has put into other answers, too, and nobody else has"
        if why:
            held[lesson.id] = Decision(LessonState.HELD, f"{why}: a teacher must approve it")
    return held


def _why(lesson: Lesson) -> str:
    """What can be told from a lesson by itself, or an empty text."""
    wanted = lesson.wanted or ""
    if any(flatters(sentence) for sentence in SENTENCE_END.split(wanted)):
        return "it praises whoever asks"
    if any(_mixed(word) for word in words(wanted)):
        return "it mixes alphabets within a word"
    if ORDER.search(" ".join(words(wanted))):
        return "it gives orders to whoever reads it"
    spoken = "\n".join([*(m["content"] for m in lesson.history), lesson.question, lesson.unwanted or ""]).casefold()
    if any(found.casefold() not in spoken for found in ADDRESS.findall(wanted)):
        return "it sends its readers to an address that was not spoken of"
    if lesson.unwanted is not None and opening([wanted], REFUSALS) and not opening([lesson.unwanted], REFUSALS):
        return "it refuses what was answered"
    if _only_prefaced(lesson):
        return "it only puts something before the answer that is not about the question"
    return ""


def _only_prefaced(lesson: Lesson) -> bool:
    """Whether a correction is the old answer with something before it that has no word of it, or of the question."""
    wanted, old = words(lesson.wanted or ""), words(lesson.unwanted or "")
    places = range(1, len(wanted) - len(old) + 1) if old else ()
    before = next((wanted[:place] for place in places if wanted[place : place + len(old)] == old), None)
    about = {*words(lesson.question), *old} - BARE - FILLERS
    return before is not None and bool(set(before) - BARE - FILLERS - _NO_PREFACE) and about.isdisjoint(before)


def _habits(lessons: Sequence[Lesson], among: Sequence[Lesson]) -> set[tuple[str, str]]:
    """(User, sentence) of what one user alone puts beside the answers to several questions: no fact is."""
    strangers, asked = {lesson.user for lesson in lessons}, defaultdict[tuple[str, str], set[str]](set)
    users: dict[str, set[str]] = defaultdict(set)
    for lesson in among if lessons else ():
        if not lesson.wanted:
            continue
        for sentence in _asides(lesson):
            users[sentence].add(lesson.user)
            if lesson.user in strangers:
                asked[lesson.user, sentence].add(lesson.question)
    return {found for found, questions in asked.items() if len(questions) > 1 and len(users[found[1]]) == 1}


def _asides(lesson: Lesson) -> Iterator[str]:
    """The sentences of a wanted answer of several, each as its words; one word alone is none."""
    said = [found for part in SENTENCE_END.split(lesson.wanted or "") if (found := words(part))]
    for sentence in said if len(said) > 1 else ():
        if len(sentence) > 1:
            yield " ".join(sentence)


def _mixed(word: str) -> bool:
    names = [unicodedata.name(c, "") for c in word]
    return sum(any(name.startswith(alphabet) for name in names) for alphabet in _ALPHABETS) > 1
