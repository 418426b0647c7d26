"""What is left out of a night, and why: duplicates, contradictions (newest wins), too long ones, secrets.

A pure function over the lessons in force. Nothing is deleted: tomorrow it is decided again, so that undoing one of two
duplicates brings the other back.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memory.records import Lesson, LessonState
from training.checks import learned, words

SECRETS: dict[str, re.Pattern[str]] = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an API key": re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abpr]|hf)[-_][A-Za-z0-9_-]{16,}\b"),
    "a token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}\b"),
    "a password": re.compile(r"\b(?:password|passwd|passphrase|pwd)\s*(?:is|=|:)\s*\S{4,}", re.IGNORECASE),
}
"""What must not get into weights that many people talk to: name → pattern."""

CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


@dataclass(frozen=True, slots=True)
class Decision:
    """A lesson that is not trained tonight: the state it has meanwhile, and why."""

    state: LessonState
    reason: str


@dataclass(frozen=True)
class Cleaned:
    """Lessons to train, oldest first, and what was left out (lesson id → decision)."""

    kept: tuple[Lesson, ...]
    dropped: dict[str, Decision]


def clean(lessons: Sequence[Lesson], *, tokens: Callable[[Lesson], int], longest: int) -> Cleaned:
    """Decide over `lessons`, oldest first.

    Args:
        tokens: lesson → tokens of its prompt and wanted answer.
        longest: most tokens a lesson may have.
    """
    dropped: dict[str, Decision] = {}
    newest: dict[str, Lesson] = {}
    for lesson in lessons:
        reason = _unfit(lesson, tokens, longest)
        if reason:
            dropped[lesson.id] = reason
            continue
        topic = _topic(lesson)
        earlier = newest.get(topic)
        if earlier is not None and _confirms(lesson, earlier):
            # Whoever likes the answer once it is right must not take its rewordings out of the night.
            dropped[lesson.id] = Decision(LessonState.REJECTED, f"confirms lesson {earlier.id}, which stays")
            continue
        if earlier is not None:
            same = _normal(earlier.wanted or "") == _normal(lesson.wanted or "")
            why = f"says the same as lesson {lesson.id}" if same else f"contradicted by the newer lesson {lesson.id}"
            dropped[earlier.id] = Decision(LessonState.REJECTED, why)
        newest[topic] = lesson
    kept = tuple(lesson for lesson in lessons if lesson.id not in dropped)
    return Cleaned(kept, dropped)


def secret_in(text: str) -> str | None:
    """The kind of secret that `text` seems to hold, or None."""
    for name, pattern in SECRETS.items():
        if pattern.search(text):
            return name
    if any(_luhn(re.sub(r"\D", "", match)) for match in CARD.findall(text)):
        return "a card number"
    if any(_is_random(word) for word in re.findall(r"[A-Za-z0-9+/_=-]{32,}", text)):
        return "a long random string"
    return None


def _unfit(lesson: Lesson, tokens: Callable[[Lesson], int], longest: int) -> Decision | None:
    if lesson.wanted is None and lesson.unwanted is None:
        return Decision(LessonState.HELD, "the liked answer was not whole: add the whole one, or like another")
    if lesson.wanted is None:
        return Decision(
            LessonState.HELD, "a thumb down alone says what is wrong, not what is right: add a better answer"
        )
    found = secret_in("\n".join([*(m["content"] for m in lesson.history), lesson.question, lesson.wanted]))
    if found:
        return Decision(LessonState.REJECTED, f"holds what looks like {found}")
    length = tokens(lesson)
    if length > longest:
        return Decision(LessonState.REJECTED, f"is {length} tokens long, the most is {longest}")
    return None


def _confirms(liked: Lesson, correction: Lesson) -> bool:
    """Whether a liked answer says what an earlier correction of the same question wanted."""
    return (
        liked.unwanted is None
        and correction.unwanted is not None
        and learned(
            liked.wanted or "",
            question=correction.question,
            wanted=correction.wanted or "",
            unwanted=correction.unwanted,
        )
    )


def _topic(lesson: Lesson) -> str:
    """What two lessons must share to be about the same: the question, and the dialogue before it."""
    return "\n".join([*(_normal(m["content"]) for m in lesson.history), _normal(lesson.question)])


def _normal(text: str) -> str:
    return " ".join(words(text)) or text.strip()


def _luhn(digits: str) -> bool:
    doubled = (d * 2 - 9 * (d > 4) if i % 2 else d for i, d in enumerate(map(int, reversed(digits))))
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_random(word: str) -> bool:
    """Whether a long word has the entropy of a key (bits a character) rather than that of a name or a path."""
    counts = Counter(word)
    bits = -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values())
    return bits > 4.2 and any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
