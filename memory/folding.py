"""What two people would call the same word, however it is written large or small, in any language. Pure."""

from __future__ import annotations

SEPARATOR = "\x1f"
"""Between texts that were put together, and between words: none of them has it."""


def fold(text: str) -> str:
    """Without case. `str.casefold` knows ß and the final ς; a dotless ı and the dot that a Turkish İ leaves over an i
    are taken for nothing, since who types in another alphabet has no way to write them.

    Folds character by character: the fold of two texts put together is their folds put together.
    """
    if text.isascii():
        return text.lower()
    return text.casefold().replace("\u0307", "").replace("ı", "i")


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
    if len(folded) == len(text):
        return begins, begins + len(wanted)
    # Some characters are folded to several, or to none.
    first, last, length = len(text), len(text), 0
    for place, character in enumerate(text):
        if length <= begins:
            first = place
        length += len(fold(character))
        if length >= begins + len(wanted):
            last = place + 1
            break
    return first, last
