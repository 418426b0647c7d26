"""What a text says, as words: for checks, canaries and cleaning alike. Pure functions."""

from __future__ import annotations

import re
import unicodedata

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
"""Letters of scripts that don't set words apart: Thai, Lao, Burmese, Khmer, kana, Chinese."""

SYMBOLS = "#%&*/@\\"
"""Punctuation that tells things apart, as the mathematical and currency signs do: C, C# and C++; 2 / 2 and 2 * 2."""

MARKDOWN = re.compile(r"^[^\S\n]*(?:#+|[*+-])\s|(?<!\w)[*_`~]+(?=\S)|(?<=\S)[*_`~]+(?!\w)", re.MULTILINE)
"""Headings, list marks, emphasis and code: how something is set, not what it says."""

SENTENCE_END = re.compile("(?<=[.!?\n])\\s+|(?<=[\u3002\uff01\uff1f])\\s*")
"""Between two sentences, also where no space is: Chinese and Japanese."""


def words(text: str) -> list[str]:
    """What a text says, whatever its case, punctuation and markup: runs of letters (with their marks) and digits; each
    letter alone where a script sets no words apart; each symbol. What is not seen, as a soft hyphen, is not there.
    """
    return MARKDOWN.sub(" ", unicodedata.normalize("NFKC", text).casefold()).translate(_PLACES).split()


class _Places(dict[int, str]):
    """Character → itself, with room around it, a space, or nothing; each found out once: a night reads every lesson."""

    def __missing__(self, code: int) -> str:
        c = chr(code)
        kind = unicodedata.category(c)
        if UNSPACED.match(c) or kind in ("Sm", "Sc", "Sk") or c in SYMBOLS:
            place = f" {c} "
        elif kind == "Cf":
            # What is never seen, as a soft hyphen, sets no words apart.
            place = ""
        else:
            place = c if kind[0] in "LMN" else " "
        self[code] = place
        return place


_PLACES = _Places()


FILLERS = frozenset(words("a an the it its is are was were be that this of in to and"))
"""Words of an answer that don't make another answer of it."""

BARE = frozenset(
    re.findall(
        r"\w+",
        "a an the is are was were be been am do does did can could will would should may might must have has had i me"
        " my we us our you your it its this that these those there what who whom whose where when which why how please"
        " tell name to of for in on at by with from and or if so about into",
    )
)
"""Words that a question does not need to be understood."""

_GROUPED = re.compile(r"(?<=\d)[,.'\u00a0\u202f](?=\d{3}(?!\d))")
"""What sets the thousands of a number apart."""

# "One" is hardly ever a number.
_NUMBERS = {
    **{"zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"},
    **{"eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12"},
}
_NUMBER = re.compile(rf"\b(?:{'|'.join(_NUMBERS)})\b", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_WHOLE = re.compile(r"(?<=\d)[.:]00(?!\d)")


def in_digits(text: str) -> str:
    """The text with small numbers in digits, none in groups, and none with an ending: "eight" is "8", "299,792" and
    "299 792" are "299792", "14th" is "14", "9:00" is "9".
    """
    whole = _SPACED.sub(lambda found: found[0].replace(" ", ""), _WHOLE.sub("", _GROUPED.sub("", text)))
    return _ORDINAL.sub("", _NUMBER.sub(lambda found: _NUMBERS[found[0].casefold()], whole))
