"""Whether an answer is right: the checks of streams and controls, and the one for a lesson that has no check.

Pure functions of text. All compare NFKC-normalised, case-folded text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

SAYS_MIN = 0.8
"""Share of a correction's own words that an answer must hold: all of a short one, most of a long one."""

LIKE_MIN = 0.6
"""Similarity of word sequences above which two answers say the same: the usual reading of difflib's ratio."""

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
"""Letters of scripts that don't set words apart: Thai, Lao, Burmese, Khmer, kana, Chinese."""

SYMBOLS = "#%&*/@\\"
"""Punctuation that tells things apart, as the mathematical and currency signs do: C, C# and C++; 2 / 2 and 2 * 2."""

MARKDOWN = re.compile(r"^\s*(?:#+|[*+-])\s|(?<!\w)[*_`~]+(?=\S)|(?<=\S)[*_`~]+(?!\w)", re.MULTILINE)
"""Headings, list marks, emphasis and code: how something is set, not what it says."""

Check = Mapping[str, Any]


def passes(check: Check, answer: str) -> bool:
    """Whether `answer` satisfies a check of kind `contains` or `regex` (../shared streams' README has the format).

    Raises: ValueError for a kind that is not known.
    """
    text = unicodedata.normalize("NFKC", answer)
    match check["kind"]:
        case "contains":
            return any(_holds(text, s) for s in check["any"]) and not any(
                _holds(text, s) for s in check.get("none", ())
            )
        case "regex":
            return re.search(check["pattern"], text, re.MULTILINE) is not None
        case kind:
            raise ValueError(f"unknown check {kind!r}: known are contains, regex")


def learned(answer: str, *, question: str, wanted: str, unwanted: str | None) -> bool:
    """Whether `answer` says what a lesson wanted rather than what it did not.

    A correction is judged by the words that are its own: those that stand neither in the question nor in the answer
    that it corrects ("Ankara"), against those that only the corrected answer has ("Istanbul"). Where it has none, and
    for a liked answer, the word sequences are compared.
    """
    said, asked, right = words(answer), set(words(question)), words(wanted)
    wrong = words(unwanted or "")
    own, errors = set(right) - asked - set(wrong), set(wrong) - asked - set(right)
    if unwanted is not None and own:
        # Of a long correction not every word need come back; of one word, that one. And it must not be the old answer
        # with the new words in it.
        told, repeated = _share(own, said), _share(errors, said)
        return told >= SAYS_MIN and (told > repeated or _like(said, right) > _like(said, wrong))
    return _like(said, right) >= LIKE_MIN and (unwanted is None or _like(said, right) > _like(said, wrong))


def words(text: str) -> list[str]:
    """What a text says, whatever its case, punctuation and markup: runs of letters (with their marks) and digits; each
    letter alone where a script sets no words apart; each symbol.
    """
    spaced = []
    for c in MARKDOWN.sub(" ", unicodedata.normalize("NFKC", text).casefold()):
        kind = unicodedata.category(c)
        if UNSPACED.match(c) or kind in ("Sm", "Sc", "Sk") or c in SYMBOLS:
            spaced.append(f" {c} ")
        else:
            spaced.append(c if kind[0] in "LMN" else " ")
    return "".join(spaced).split()


def _holds(text: str, part: str) -> bool:
    part = re.escape(unicodedata.normalize("NFKC", part))
    return re.search(rf"(?<![^\W_]){part}(?![^\W_])", text, re.IGNORECASE) is not None


def _share(words: set[str], said: list[str]) -> float:
    return len(words & set(said)) / len(words) if words else 0.0


def _like(one: list[str], other: list[str]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
