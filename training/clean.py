"""What is left out of a night, and why: duplicates, contradictions, too long ones, secrets.

Of one user's lessons that contradict each other the newest wins; between users what a teacher says or approved, or
else the answer that most of them want.
A pure function over the lessons in force. Nothing is deleted: tomorrow it is decided again, so that undoing one of two
duplicates brings the other back.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistant.feedback import DOWN_ALONE
from memory.records import Lesson, LessonState
from memory.scrubbing import is_blank
from training.checks import learned
from training.denials import DENIALS
from training.words import FILLERS, words

SECRETS: dict[str, re.Pattern[str]] = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an API key": re.compile(r"\b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abpr]|hf)[-_][A-Za-z0-9_-]{16,}\b"),
    "a token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}\b"),
}
"""What must not get into weights that many people talk to: name → pattern."""

_QUOTES = "\"'`\u2018\u2019\u201c\u201d"

PASSWORD = re.compile(
    r"(?P<title>\b(?:change|reset|forgot|new) )?\b(?:password|passwd|passphrase|pwd)\b(?: for [\w -]{1,30}?)?"
    r"\s*(?:is\s*:|[=:]|\bis\b)"
    rf"\s*[{_QUOTES}]?(?P<word>[^\s{_QUOTES}](?:[{_QUOTES}]?[^\s{_QUOTES}]){{3,}})(?=(?P<after>[^\n]{{0,80}}))",
    re.IGNORECASE,
)
"""What is called a password, and how its line goes on: "The password is hunter2"."""

_ENDS = re.compile(
    r"\W*$|\s*[,;.!?)\]\u2013\u2014]|\s+-\s|\W*\b(?:for|on|at|in|and|but|or|if|when|until|till|since)\b", re.IGNORECASE
)
"""What may stand behind a password: "is under the router" says where it is."""

_WORDS = re.compile(r"(?:\s+[a-z]+){3,}\W*(?=[.,;!?\n]|$)")
_SENTENCE = re.compile(
    r"\b(?:the|an?|on|in|of|to|at|your|my|our|is|are|was|and|or|with|for|by|that|than|it|you|we|not|be|as|if|when|words?|characters?|several|every)\b",
    re.IGNORECASE,
)
"""Words without which four in a row make no sentence: "correct horse battery staple"."""

_OF_PASSWORDS = re.compile(
    r"\w+(?:ed|ten|len|ing|[ai]ble|ive|al|id|ous|ful|less|ary|ory|ect|[ae]nt|ty|word|sensitive)"
    r"|sent|kept|known|lost|wrong|weak|strong|only|case|with|from|your|their|the|this|that|these|what|not|never|always"
    r"|too|also|just|still|very|short|long|longer|empty|blank|unique|safe|right|there|here|yours|ours|mine|different"
    r"|same|fine|okay|good|easy|hard|public|private|temporary|null|none|numeric|alphanumeric|unknown|open|click|tap"
    r"|press|enter|type|choose|select|reset|change|call|visit|please|must|under|between|above|below|behind|inside|near"
    r"|again|usually|often|complex|simple|hidden|gone|secure|secret|visible|optional|mandatory|settings"
    r"|case-sensitive",
    re.IGNORECASE,
)
"""What is said of a password, and is none: "Your password is invalid"."""

DISAGREE = "users disagree"
"""How the reason begins of a lesson against which another user's speaks."""

TURNS = 4
"""How often lessons are counted as they come up, before all of them are."""

PAGE = re.compile(r"\bhttps?://(?![^\s/]*@)[^\s?#\"'<>)\],]+", re.IGNORECASE)
"""An address, up to what is asked of it: who is let in by it is part of no page's name."""

CARD = re.compile(r"(?<!(?<!\w)\+)\b(?!00)\d(?:[ -]?\d){12,18}\b")


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


def clean(
    lessons: Sequence[Lesson],
    *,
    tokens: Callable[[Lesson], int],
    longest: int,
    tonight: Callable[[Sequence[Lesson]], Sequence[Lesson]] = lambda kept: kept,
    judged: Callable[[Lesson], Decision | None] | None = None,
    trusted: Callable[[Lesson], bool] = lambda lesson: False,
) -> Cleaned:
    """Decide over `lessons`, oldest first.

    Args:
        tokens: lesson → tokens of its prompt and wanted answer.
        longest: most tokens a lesson may have.
        tonight: those of the kept lessons that a night has room for: only they are counted, because counting a hundred
            thousand takes a minute. One that was not counted is kept, whatever its length.
        judged: lesson → what `unfit` says of it, for who has asked already.
        trusted: whether a lesson is a teacher's, or approved by one: then strangers' votes don't count against it.
    """
    dropped = {lesson.id: reason for lesson in lessons if (reason := (judged or unfit)(lesson))}
    lengths: dict[str, int] = {}
    for turn in itertools.count():
        kept, settled = _settle([lesson for lesson in lessons if lesson.id not in dropped], trusted)
        # Each turn counts those that came up for long ones. Where most are long, counting all of them ends it.
        counted = tonight(kept) if turn < TURNS else kept
        lengths |= {lesson.id: tokens(lesson) for lesson in counted if lesson.id not in lengths}
        long = [lesson.id for lesson in counted if lengths[lesson.id] > longest]
        if not long:
            return Cleaned(kept, dropped | settled)
        for lesson_id in long:
            why = f"is {lengths[lesson_id]} tokens long, the most is {longest}"
            dropped[lesson_id] = Decision(LessonState.REJECTED, why)
    raise AssertionError("unreachable")


def secret_in(text: str) -> str | None:
    """The kind of secret that `text` seems to hold, or None."""
    for name, pattern in SECRETS.items():
        if pattern.search(text):
            return name
    if any(map(_is_password, PASSWORD.finditer(text))):
        return "a password"
    if any(_luhn(re.sub(r"\D", "", match)) for match in CARD.findall(text)):
        return "a card number"
    # The path of a page is long and made of words; a part of it that is none may open a door.
    pages = "\n".join(PAGE.findall(text))
    if any(map(_is_random, re.findall(r"[A-Za-z0-9+/_=-]{32,}", PAGE.sub(" ", text)))) or any(
        map(_is_random, re.findall(r"(?<=/)[A-Za-z0-9]{20,}", pages))
    ):
        return "a long random string"
    return None


def unfit(lesson: Lesson) -> Decision | None:
    """Why a lesson can't be trained, whatever the others say."""
    if lesson.hold is not None:
        return Decision(LessonState.HELD, lesson.hold)
    if lesson.wanted is None and lesson.unwanted is None:
        return Decision(LessonState.HELD, "the liked answer was not whole: add the whole one, or like another")
    if lesson.wanted is None:
        return Decision(LessonState.HELD, DOWN_ALONE)
    if is_blank(lesson.wanted) or is_blank(lesson.question):
        return Decision(LessonState.REJECTED, "there is nothing to see in it")
    if lesson.unwanted is not None and _letters(lesson.wanted) == _letters(lesson.unwanted):
        return Decision(
            LessonState.HELD, "the better answer is the answer that was given: write what it should have been"
        )
    said = [*(m["content"] for m in lesson.history), lesson.question, lesson.wanted, lesson.unwanted or ""]
    found = secret_in("\n".join(said))
    if found:
        return Decision(LessonState.REJECTED, f"holds what looks like {found}")
    return None


def _settle(
    lessons: Sequence[Lesson], trusted: Callable[[Lesson], bool]
) -> tuple[tuple[Lesson, ...], dict[str, Decision]]:
    """(Lessons of which no two say the same or contradict each other, what became of the others)."""
    dropped: dict[str, Decision] = {}
    standing: dict[str, dict[str, Lesson]] = {}
    for lesson in lessons:
        newest = standing.setdefault(topic(lesson), {})
        earlier = newest.get(lesson.user)
        if earlier is not None and (_confirms(lesson, earlier) or _repeats(lesson, earlier)):
            # Whoever likes the answer once it is right must not take its rewordings out of the night.
            dropped[lesson.id] = Decision(LessonState.COVERED, f"confirms lesson {earlier.id}, which stays")
            continue
        if earlier is not None:
            if _same(earlier, lesson):
                dropped[earlier.id] = Decision(LessonState.COVERED, f"says the same as lesson {lesson.id}")
            else:
                why = f"contradicted by the newer lesson {lesson.id}"
                dropped[earlier.id] = Decision(LessonState.REJECTED, why)
            # Out and in again: users stand in the order of the lessons that hold.
            del newest[lesson.user]
        newest[lesson.user] = lesson
    for by_user in standing.values():
        if len(by_user) > 1:
            dropped |= _between(tuple(by_user.values()), trusted)
    return tuple(lesson for lesson in lessons if lesson.id not in dropped), dropped


def _between(lessons: Sequence[Lesson], trusted: Callable[[Lesson], bool]) -> dict[str, Decision]:
    """What becomes of several users' lessons on one question, oldest first: one of those that most users agree with
    stays, and where as many want something else, none does until they settle it. Where a teacher has spoken, only
    teachers vote.
    """
    answers: list[list[Lesson]] = []
    voting = [lesson for lesson in lessons if trusted(lesson)] or list(lessons)
    for lesson in voting:
        like = next((same for same in answers if any(agree(lesson, other) for other in same)), None)
        if like is None:
            answers.append([lesson])
        else:
            like.append(lesson)
    votes = max(map(len, answers))
    first, *others = (same for same in answers if len(same) == votes)
    if others:
        named = " and ".join(_stays(same).id for same in (first, *others))
        why = f"users disagree: lessons {named} want different answers, {votes} {'users' if votes > 1 else 'user'} each"
        return {lesson.id: Decision(LessonState.HELD, why) for lesson in lessons}
    stays, decided = _stays(first), {}
    for lesson in lessons:
        if lesson in first or (lesson not in voting and any(agree(lesson, other) for other in first)):
            how = "says the same as" if _same(lesson, stays) else "agrees with"
            decided[lesson.id] = Decision(LessonState.COVERED, f"{how} lesson {stays.id}, which stays")
        elif lesson in voting:
            why = f"users disagree: {votes} of {len(voting)} want what lesson {stays.id} says"
            decided[lesson.id] = Decision(LessonState.REJECTED, why)
        else:
            why = f"users disagree: a teacher wants what lesson {stays.id} says"
            decided[lesson.id] = Decision(LessonState.REJECTED, why)
    del decided[stays.id]
    return decided


def _stays(lessons: Sequence[Lesson]) -> Lesson:
    """Of lessons that agree the newest correction, which is trained in several wordings, or else the newest; of those
    that somebody else backs, where there are such: "Canberra until 2024, now Melbourne" agrees with "Canberra", and
    nobody but its user says the rest.
    """
    backed = [one for one in lessons if any(backs(other, one) for other in lessons if other is not one)]
    heard = backed or list(lessons)
    return ([lesson for lesson in heard if lesson.unwanted is not None] or heard)[-1]


def agree(one: Lesson, other: Lesson) -> bool:
    """Whether two users want the same answer, be it in other words."""
    if _same(one, other):
        return True
    if not _differ(one, other):
        if _confirms(one, other) or _confirms(other, one):
            return True
        if one.unwanted is not None and other.unwanted is not None and _says(one, other) and _says(other, one):
            return True
    # "Paris." and "The capital of France is Paris.": what one says beyond the question, the other says too.
    return backs(one, other) or backs(other, one)


def backs(other: Lesson, lesson: Lesson) -> bool:
    """Whether what another user wants holds all that `lesson` says beyond its question, and denies none of it."""
    mine, theirs = _beyond(lesson), _beyond(other)
    return _same(other, lesson) or (bool(mine) and mine <= theirs and not (theirs - mine) & DENIALS)


def _beyond(lesson: Lesson) -> set[str]:
    return set(words(lesson.wanted or "")) - FILLERS.union(words(lesson.question))


def _differ(one: Lesson, other: Lesson) -> bool:
    """Whether of two answers that are nearly alike each has a number that the other has not, or one denies: "at most
    4 g" and "8 g" are most of a recipe the same.
    """
    mine, theirs = _beyond(one), _beyond(other)
    numbers = [{word for word in more if word[0].isdigit()} for more in (mine - theirs, theirs - mine)]
    return bool((mine ^ theirs) & DENIALS) or all(numbers)


def _repeats(liked: Lesson, earlier: Lesson) -> bool:
    """Whether a liked answer says what is in the weights already: then there is nothing to train anew."""
    return liked.unwanted is None and earlier.state is LessonState.VERIFIED and agree(liked, earlier)


def _confirms(liked: Lesson, correction: Lesson) -> bool:
    """Whether a liked answer says what a correction of the same question wanted."""
    return liked.unwanted is None and correction.unwanted is not None and _says(liked, correction)


def _says(one: Lesson, correction: Lesson) -> bool:
    """Whether the answer that one lesson wants would pass for the other's."""
    return learned(
        one.wanted or "",
        question=correction.question,
        wanted=correction.wanted or "",
        unwanted=correction.unwanted,
    )


def _same(one: Lesson, other: Lesson) -> bool:
    return _normal(one.wanted or "") == _normal(other.wanted or "")


def topic(lesson: Lesson) -> str:
    """What two lessons must share to be about the same: the question, and the dialogue before it."""
    said = [*(m["content"] for m in lesson.history), lesson.question]
    return "\n".join(f"{_normal(text)}{_end(text)}" for text in said)


def _normal(text: str) -> str:
    return " ".join(words(text)) or text.strip()


def _end(text: str) -> str:
    """Whether a text to work on is called out: "Translate: Stop." and "Translate: Stop!" may want other answers."""
    return "!" if re.search(r"[:\n][^:\n]*!\s*$", text) else ""


def _letters(text: str) -> str:
    """A text as it is seen: the same letters can be written in several ways."""
    return unicodedata.normalize("NFC", text).strip()


def _is_password(found: re.Match[str]) -> bool:
    """Whether what stands where a password would is one: it looks like no word, or it is a word that nobody says of
    passwords and that ends what is said, or four of them that make no sentence.
    """
    word, after = found["word"].rstrip(".,;:!?)"), found["after"]
    if len(word) < 4:
        return False
    digits = any(map(str.isdigit, word))
    if (digits and any(map(str.isalpha, word)) and "-" not in word) or word.isdecimal():
        return True
    if any(map(str.isupper, word[1:])) or re.search(r"\w[^\w\s/-]\w", word):
        return True
    said_of_them = bool(found["title"] or _OF_PASSWORDS.fullmatch(word))
    # Cut off with its signs: what is left of them ends the sentence.
    if not said_of_them and _ENDS.match(found["word"][len(word) :] + after):
        return True
    several = _WORDS.match(after)
    return several is not None and not _SENTENCE.search(f"{word}{several.group()}")


def _luhn(digits: str) -> bool:
    doubled = (d * 2 - 9 * (d > 4) if i % 2 else d for i, d in enumerate(map(int, reversed(digits))))
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_random(word: str) -> bool:
    """Whether a long word has the entropy of a key (bits a character) rather than that of a name or a path."""
    counts = Counter(word)
    bits = -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values())
    return bits > 4.2 and any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
