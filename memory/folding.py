"""What two people would call the same word, however it is written: large or small, its accents apart or not, in the
wide letters of Chinese and Japanese or in narrow ones. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from unicodedata import normalize

SEPARATOR = "\x1f"
"""Between texts that were put together, and between words: none of them has it."""


def fold(text: str) -> str:
    """Without case, in Unicode's form NFKC. `str.casefold` knows ß and the final ς; a dotless ı and the dot that a
    Turkish İ leaves over an i are taken for nothing, since who types in another alphabet has no way to write them.
    """
    if text.isascii():
        return text.lower()
    # Folding takes some letters apart that the form wants together.
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return folded.replace("\u0307", "").replace("ı", "i")


def joined(words: list[str]) -> str:
    """What `holds` takes: words, folded."""
    return SEPARATOR.join(fold(word) for word in words)


def holds(words: str, *texts: str | None) -> bool:
    """Whether each of the `joined` words stands in one of `texts`, as a part of a word too. SQLite calls it."""
    folded = fold(SEPARATOR.join(filter(None, texts)))
    return all(word in folded for word in words.split(SEPARATOR))


def find(text: str, word: str) -> tuple[int, int] | None:
    """Where `word` stands in `text` for the first time, first and last + 1 character of `text`; None where nowhere."""
    wanted, folded = fold(word), fold(text)
    begins = folded.find(wanted)
    if begins < 0:
        return None
    ends = begins + len(wanted)

    def length(place: int) -> int:
        return len(fold(text[:place]))

    if (length(begins), length(ends), length(ends + 1)) == (begins, ends, min(ends + 1, len(text))):
        return begins, ends
    # Some characters are folded to several, to none, or to one with the character before them.
    places = range(len(text) + 1)
    first = bisect_right(places, begins, key=length) - 1
    return first, max(bisect_left(places, ends, key=length), bisect_right(places, ends, key=length) - 1)
