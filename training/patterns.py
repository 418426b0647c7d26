"""Whether a search for a regular expression ends: Python's `re` tries every way in which a text can be shared out.

Told from the expression alone. What is left takes time that grows as a power of the text's length, not exponentially.
"""

from __future__ import annotations

import re

# The parser of `re` itself, so that no second reading of its syntax can differ. It has no public name since 3.11.
from re import _parser  # type: ignore[attr-defined]
from typing import Any


def ends(pattern: str) -> bool:
    """Whether `pattern`, a valid one, repeats nothing that can match in several ways by itself: `(a+)*`, `(a|ab)*`.

    Such a text of n characters can be shared out in up to 2ⁿ ways, all of which are tried where nothing matches. In an
    atomic group, or repeated possessively, a part keeps the first way in which it matches.
    """
    return not _branches(_parser.parse(pattern, re.MULTILINE), repeated=False)


def _branches(parts: Any, *, repeated: bool) -> bool:
    """Whether a repeat in `parts`, or one around them (`repeated`), has a choice within."""
    for kind, value in parts:
        again = repeated and kind not in _KEPT
        chooses = kind is _parser.BRANCH
        if kind in _REPEATS:
            least, most, _ = value
            chooses, again = least != most, repeated or most > 1
        if (repeated and chooses) or any(_branches(inner, repeated=again) for inner in _within(kind, value)):
            return True
    return False


_REPEATS = (_parser.MAX_REPEAT, _parser.MIN_REPEAT)

_KEPT = (_parser.ATOMIC_GROUP, _parser.POSSESSIVE_REPEAT, _parser.ASSERT, _parser.ASSERT_NOT)
"""What is not matched in another way once it has matched."""


def _within(kind: Any, value: Any) -> list[Any]:
    """The parts of a part of the parser's tree."""
    if kind is _parser.BRANCH:
        return list(value[1])
    if kind is _parser.GROUPREF_EXISTS:
        return [inner for inner in value[1:] if inner is not None]
    if kind is _parser.ATOMIC_GROUP:
        return [value]
    return [value[-1]] if kind in (*_REPEATS, *_KEPT, _parser.SUBPATTERN) else []
