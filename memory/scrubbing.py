"""Text that any tokenizer and database takes, and whether there is anything to see in it."""

from __future__ import annotations

import unicodedata

UNSEEN = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf", "Cs"))
"""Categories of spaces, controls and formats. Not of what Unicode has not assigned yet: it may be next year's emoji."""
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that fonts draw as nothing: fillers of Korean, Braille without a dot."""


def scrub(text: str) -> str:
    """`text` without NULs, and with U+FFFD for halves of surrogate pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "")


def is_blank(text: str) -> bool:
    """Whether nobody could see anything in it: space, control and format characters, and what is drawn as nothing."""
    return all(sign in BLANK or unicodedata.category(sign) in UNSEEN for sign in text)
