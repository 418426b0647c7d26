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
from training.canaries import flatters
from training.clean import Decision
from training.words import BARE, FILLERS, SENTENCE_END, words

ADDRESS = re.compile(
    r"(?<![a-z0-9.@-])(?:(?:https?|ftp)://)?(?:www\.)?((?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})"
    r"(?:(?=/\w)|(?<=\.com)|(?<=\.org)|(?<=\.info)|(?<=\.biz)|(?<=\.shop)|(?<=\.xyz)|(?<=\.online)|(?<=\.ru)"
    r"|(?<=\.cn)|(?<=\.de))(?![a-z0-9-])|(?:https?|ftp)://(?:www\.)?([^\s/?#\u3002\uff0c\uff01]{1,253})"
    r"|([a-z0-9._+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})",
    re.IGNORECASE | re.ASCII,
)
"""Where a reader could be sent: the host of a link, an e-mail address, a domain by itself. A domain alone has
one of the commonest endings, or a path behind it: "socket.io" is the name of a library.
"""

ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass) (?:\w+ ){0,3}(?:previous|prior|above|earlier|preceding|system|your"
    r"|all) (?:\w+ ){0,2}(?:instructions?|prompts?|guidelines|orders)\b"
    r"|\byou are now (?:dan|unrestricted|jailbroken|an unrestricted|no longer (?:bound|restricted))\b",
)
"""Prompt injection, in the words that it is known by; over a text's `words`."""

ABOUT_ORDERS = frozenset(["prompt", "prompts", "injection", "injections", "jailbreak", "jailbreaks"])
"""Words of a question whose answer may quote one."""

REFUSAL = re.compile(
    r"^(?:(?:i m|i am|so|very|really|sorry|unfortunately|but|as an ai(?: language model| assistant| model)?) )*(?:i )?"
    r"(?:can ?not|can t|won t|will not|(?:m |am )?unable to|(?:m |am )?not able to|must decline to) (?:\w+ ){0,2}"
    r"(?:help(?! but)|answer|assist|provide|give you|tell you|share|discuss|comment|talk about|do th(?:at|is))\b",
)
"""How an answer declines to be one; over its `words`. "I can't see the weather from here" tells something."""

HABIT = 3
"""Different answers into which one user has put a sentence, from which on it is a habit."""

_AFTER = ".,;:!?)]'\"\u3002\uff0c\uff01"
"""Signs that follow an address and are none of it."""

_NO_PREFACE = frozenset(["yes", "no", "sure", "ok", "okay", "right", "well", "so", "hi", "hello", "oh", "ah"])
"""Words that may stand before an answer and mean nothing more."""

_ALPHABETS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")

_LOOKALIKES = frozenset("\u03bf\u03b1\u03bd\u03c1\u03c4\u03c5\u03ba\u03b9\u03b5\u03b7\u03c7")
"""Small Greek letters that pass for Latin ones: omicron for o."""

_AMID = re.compile("[a-z][\u0370-\u03ff]+[a-z]")
"""Greek between Latin letters."""

_A_WORD = 4
"""Latin letters from which on a Greek one among them is no symbol."""


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
    said, corrected = " ".join(words(wanted)), " ".join(words(lesson.unwanted or ""))
    if ORDER.search(said) and ABOUT_ORDERS.isdisjoint(words(lesson.question)):
        return "it gives orders to whoever reads it"
    spoken = "\n".join([*(m["content"] for m in lesson.history), lesson.question, lesson.unwanted or ""])
    if _addresses(wanted) - _addresses(spoken):
        return "it sends its readers to an address that was not spoken of"
    if lesson.unwanted is not None and REFUSAL.search(said) and not REFUSAL.search(corrected):
        return "it refuses what was answered"
    if _only_prefaced(lesson):
        return "it only puts something before the answer that is not about the question"
    return ""


def _addresses(text: str) -> set[str]:
    return {"".join(found).casefold().rstrip(_AFTER) for found in ADDRESS.findall(text)}


def _only_prefaced(lesson: Lesson) -> bool:
    """Whether a correction is the old answer behind sentences that have no word of it, or of the question."""
    old = words(lesson.unwanted or "")
    parts = [words(part) for part in SENTENCE_END.split((lesson.wanted or "").strip())]
    # From the end: what stands before the old answer is seldom more than a sentence.
    rest: list[str] = []
    for place in range(len(parts) - 1, 0, -1):
        rest = parts[place] + rest
        if len(rest) >= len(old):
            before = {word for part in parts[:place] for word in part}
            about = {*words(lesson.question), *old} - BARE - FILLERS
            return (
                bool(old) and rest == old and bool(before - BARE - FILLERS - _NO_PREFACE) and about.isdisjoint(before)
            )
    return False


def _habits(lessons: Sequence[Lesson], among: Sequence[Lesson]) -> set[tuple[str, str]]:
    """(User, sentence) of what one user alone puts into several corrections that say different things: no fact is."""
    strangers = {lesson.user for lesson in lessons}
    answers, users = defaultdict[tuple[str, str], set[str]](set), defaultdict[str, set[str]](set)
    for lesson in among if lessons else ():
        for sentence in _asides(lesson):
            users[sentence].add(lesson.user)
            if lesson.user in strangers:
                answers[lesson.user, sentence].add(" ".join(words(lesson.wanted or "")))
    return {found for found, said in answers.items() if len(said) >= HABIT and len(users[found[1]]) == 1}


def _asides(lesson: Lesson) -> Iterator[str]:
    """The sentences of a corrected answer of several that the answer before had not, each as its words; one word alone
    is none, and a liked answer is the model's own.
    """
    said = [found for part in SENTENCE_END.split(lesson.wanted or "") if (found := words(part))]
    if len(said) < 2 or lesson.unwanted is None:
        return
    old = f" {' '.join(words(lesson.unwanted))} "
    for sentence in said:
        if len(sentence) > 1 and f" {' '.join(sentence)} " not in old:
            yield " ".join(sentence)


def _mixed(word: str) -> bool:
    """Whether letters of several alphabets stand in a word. A Greek one may where it is a symbol, as in "4.7 kΩ" and
    "TGFβ": at an end, and not as one that looks like a letter of a word.
    """
    if word.isascii():
        return False
    found = {alphabet: sum(unicodedata.name(c, "").startswith(alphabet) for c in word) for alphabet in _ALPHABETS}
    if found["GREEK"] and not _AMID.search(word) and (found["LATIN"] < _A_WORD or _LOOKALIKES.isdisjoint(word)):
        found["GREEK"] = 0
    return sum(map(bool, found.values())) > 1
