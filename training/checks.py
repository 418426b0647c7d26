"""Whether an answer is right: the checks of streams and controls, and the one for a lesson that has no check.

Pure functions of text, NFKC-normalised before it is compared; the figures of the field come from its own libraries.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import Any

import regex

from training.denials import DENIALS, stances
from training.words import FILLERS, in_digits, words

SAYS_MIN = 0.8
"""Share of a correction's own words that an answer must hold: all of a short one, most of a long one."""

EMPTY = FILLERS.union(words("i you he she we they there at on by for from with s"))
"""Words that an answer needs for its grammar: none of them is what a correction is about. ("May" is a month, too.)"""

LISTED = re.compile(r"^\s*\d{1,2}[.)]\s", re.MULTILINE)
"""The number of a list's line."""

LIKE_MIN = 0.6
"""Similarity of word sequences above which two answers say the same: the usual reading of difflib's ratio."""

PATTERN_SECONDS = 2.0
"""Longest that a stream's pattern may look through an answer: nested repetitions take for ever."""

Check = Mapping[str, Any]


def passes(check: Check, answer: str) -> bool:
    """Whether `answer` satisfies `check`, one of `KINDS` (../shared/streams' README has the format).

    Raises:
        ValueError: for a kind that is not known.
        TimeoutError: a pattern was still looking after `PATTERN_SECONDS`.
    """
    text = unicodedata.normalize("NFKC", answer)
    match check["kind"]:
        case "contains":
            return any(_holds(text, s) for s in check["any"]) and not any(
                _holds(text, s) for s in check.get("none", ())
            )
        case "regex":
            return regex.search(check["pattern"], text, regex.MULTILINE, timeout=PATTERN_SECONDS) is not None
        case "rouge_l":
            return rouge_l(text, check["reference"]) >= float(check["min"])
        case "chrf":
            return chrf(text, check["reference"]) >= float(check["min"])
        case kind:
            raise ValueError(f"unknown check {kind!r}: known are {', '.join(KINDS)}")


def validate(check: object, *, longest: float = math.inf) -> None:
    """Refuse what `passes` could not judge by.

    Args:
        longest: characters of any of its texts.

    Raises: ValueError with the reason, for a person.
    """
    if not isinstance(check, Mapping) or "kind" not in check:
        raise ValueError(f"a check is an object with a kind, one of {', '.join(KINDS)}")
    kind = check["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown check {str(kind)[:40]!r}: known are {', '.join(KINDS)}")
    fields = KINDS[kind]
    for name in check:
        if name not in ("kind", *fields):
            raise ValueError(f"the check {kind} knows no field {str(name)[:40]!r}: it has {', '.join(fields)}")
    for name, right in fields.items():
        if name not in check and name != "none":
            raise ValueError(f"the check {kind} lacks its field {name!r}")
        if name not in check:
            continue
        for text in check[name] if isinstance(check[name], list) else [check[name]]:
            if isinstance(text, str) and len(text) > longest:
                raise ValueError(f"{name!r} of the check {kind} has {len(text):,} characters: the most is {longest:,}")
        right(kind, name, check[name])


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1 in [0, 1]: of the longest common subsequence of words (Lin, 2004).

    With precision LCS/n and recall LCS/m, F1 is 2 LCS / (n + m): the normalised indel similarity. Words are those of
    `words` without its symbols: for English text what the package `rouge-score` takes, without stemming.
    """
    from rapidfuzz.distance import Indel

    said, wanted = ([word for word in words(text) if word[0].isalnum()] for text in (answer, reference))
    return float(Indel.normalized_similarity(said, wanted))


def chrf(answer: str, reference: str) -> float:
    """chrF2 in [0, 1]: F-score of character n-grams up to 6, recall counted twice (Popović, 2015); sacreBLEU's."""
    from sacrebleu.metrics.chrf import CHRF

    wanted = unicodedata.normalize("NFKC", reference)
    return float(CHRF().sentence_score(unicodedata.normalize("NFKC", answer), [wanted]).score) / 100


def learned(answer: str, *, question: str, wanted: str, unwanted: str | None) -> bool:
    """Whether `answer` says what a lesson wanted rather than what it did not.

    A correction is judged by the words that are its own (`_told_apart`: "Ankara"), against those that only the
    corrected answer has ("Istanbul"). Where it has none, and for a liked answer, the word sequences are compared. A
    word that is denied where the lesson affirms it, or the other way round, is not said ("not Ankara"; see `denials`).
    Numbers are the same however they are spelt, and where a correction is about one, all of its numbers must be said.
    """
    if answer.strip() in (wanted.strip(), (unwanted or "").strip()):
        return answer.strip() == wanted.strip()
    if unwanted is None or words(in_digits(wanted)) != words(in_digits(unwanted)):
        # But for a correction of how a number is spelt.
        answer, question, wanted = (in_digits(text) for text in (answer, question, wanted))
        unwanted = None if unwanted is None else in_digits(unwanted)
    said, asked, right = words(answer), words(question), words(_unlisted(wanted))
    wrong = words(unwanted or "")
    own, errors = _told_apart(right, wrong, asked)
    if own.intersection(wrong):
        # The old answer has these words too: they must come first ("Sydney, though some say Canberra").
        first = next((word for word in said if word in own or word in errors.difference(asked)), None)
        if first not in own:
            return False
    if unwanted is not None and own:
        # Of a long correction not every word need come back; of one word, that one. And it must not be the old answer
        # with the new words in it.
        told = _share(own, answer, as_in=wanted, beside=errors)
        repeated = _share(errors, answer, as_in=unwanted, beside=own)
        numbers = {mark for mark in right if mark[0].isdigit()}.difference(asked)
        if not any(mark[0].isdigit() for mark in own):
            numbers = set()
        return (
            told >= SAYS_MIN
            and numbers <= set(said)
            and (told > repeated or (repeated < 1 and _nearer(answer, wanted, unwanted)))
        )
    marks = (set(right).difference(asked) - FILLERS or set(right) - FILLERS) & set(said)
    if marks and _share(marks, answer, as_in=wanted, beside=errors) < SAYS_MIN:
        return False
    return _like(said, right) >= LIKE_MIN and (unwanted is None or _nearer(answer, wanted, unwanted))


def _text(kind: str, name: str, value: object) -> None:
    if not isinstance(value, str) or not words(value):
        raise ValueError(f"{name!r} of the check {kind} is {_shown(value)}: it must be a text with words")


def _texts(kind: str, name: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(s, str) and s.strip() for s in value):
        raise ValueError(f"{name!r} of the check {kind} is {_shown(value)}: it must be a list of texts")


def _some_texts(kind: str, name: str, value: object) -> None:
    _texts(kind, name, value)
    if not value:
        raise ValueError(f"{name!r} of the check {kind} is empty: no answer could be right")


def _pattern(kind: str, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} of the check {kind} is {_shown(value)}: it must be a regular expression")
    try:
        regex.compile(value, regex.MULTILINE)
    except regex.error as error:
        raise ValueError(f"{name!r} of the check {kind} is no regular expression: {error}") from error


def _fraction(kind: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{name!r} of the check {kind} is {_shown(value)}: it must be a number over 0, at most 1")


def _shown(value: object) -> str:
    return repr(value)[:60]


KINDS: dict[str, dict[str, Callable[[str, str, object], None]]] = {
    "contains": {"any": _some_texts, "none": _texts},
    "regex": {"pattern": _pattern},
    "rouge_l": {"reference": _text, "min": _fraction},
    "chrf": {"reference": _text, "min": _fraction},
}
"""Kinds of checks → their fields, each with what refuses a value that it can't have. Only `none` may be missing."""


def _holds(text: str, part: str) -> bool:
    part = re.escape(unicodedata.normalize("NFKC", part))
    return re.search(rf"(?<![^\W_]){part}(?![^\W_])", text, re.IGNORECASE) is not None


def _unlisted(text: str) -> str:
    """The text without the numbers of its lines, where they are a list's: in prose nobody says them."""
    return LISTED.sub("", text) if len(LISTED.findall(text)) > 1 else text


def _told_apart(right: list[str], wrong: list[str], asked: list[str]) -> tuple[set[str], set[str]]:
    """The words by which a correction is known, and those by which what it corrects is: what neither the question nor
    the other one has. Where a correction has none ("Canberra", after "Sydney. Parliament is in Canberra."), the
    question ("Hamburg or Bremen?") or else the other one may have them, too.
    """
    own, errors = set(right).difference(asked, wrong), set(wrong).difference(asked, right) - EMPTY
    if own - EMPTY:
        own -= EMPTY
        return own - DENIALS or own, errors
    only_wrong = set(wrong).difference(right) - EMPTY
    hidden = set(right).difference(asked) - EMPTY or set(right).difference(wrong) - EMPTY
    if not hidden or not only_wrong:
        return own, errors
    return hidden, _choices(asked, hidden).difference(right) or only_wrong


def _choices(asked: list[str], marks: set[str]) -> set[str]:
    """Words that a question gives to choose from instead of `marks`: of "in Hamburg or in Bremen" the other one."""
    telling = [word for word in asked if word not in EMPTY]
    places = (i for i, word in enumerate(telling[1:-1], start=1) if word == "or")
    pairs = [{telling[i - 1], telling[i + 1]} for i in places]
    return {word for pair in pairs if pair & marks for word in pair - marks}


def _share(marks: set[str], answer: str, *, as_in: str, beside: set[str]) -> float:
    """Share of `marks` that `answer` affirms or denies as `as_in` does; `beside` is what a denial may be of, too."""
    here, there = (stances(text, marks - DENIALS, beside - DENIALS) for text in (answer, as_in))
    # What only ends a clause ("but") stands to nothing.
    telling = {mark for mark in marks if mark in DENIALS or there[mark]}
    if not telling:
        return 0.0
    same = sum(bool(here[mark] & there[mark]) for mark in telling - DENIALS)
    return (same + len(telling & DENIALS & set(words(answer)))) / len(telling)


def _nearer(answer: str, wanted: str, unwanted: str) -> bool:
    """Whether `answer` is more like `wanted`: word by word, and where these are the same words letter by letter, so
    that case and punctuation can be corrected, too.
    """
    from rapidfuzz.distance import Indel

    said, right, wrong = words(answer), words(wanted), words(unwanted)
    if right != wrong:
        return _like(said, right) > _like(said, wrong)
    return Indel.normalized_similarity(answer, wanted) > Indel.normalized_similarity(answer, unwanted)


def _like(one: list[str], other: list[str]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
