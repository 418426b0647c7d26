"""Which regular expressions could search for ever."""

from __future__ import annotations

import re
from time import perf_counter

import pytest

from training.patterns import ends


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\w+\s?)*$",
        r"(a+)+$",
        r"(a|ab)*$",
        r"(?:a?){40}b",
        r"(?:(?i:x*))+y",
        r"(?:\w+?,?)+?;",
        r"(a)(?:(?(1)b+|c))*d",
        r"(?=(a*)*b)",
        r"(?>(a+)+b)",
        r"(?:(a+)+b)*+",
        r"x|(a+)+b",
        r"(?:(a+){2})?b",
    ],
)
def test_what_may_never_end(pattern: str) -> None:
    """A choice that is repeated, however deep."""
    re.compile(pattern)
    assert not ends(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\W*A\b",
        "^In short:",
        r"(?i)^.*\bfoo\b.*\bbar\b",
        r"\d+(?:,\d{3})*",
        r"(?:km|kilometres)?",
        r"(?:a|b|[c-e])+",
        r"(?:[.,]\d++)*",
        r"(?>yes|no|,)*",
        r"(a+)?b",
        r"(?<!x)\(\w*\)",
        "[(a+)+]",
        r"\(a+\)+",
    ],
)
def test_what_ends(pattern: str) -> None:
    """Repeats side by side, of one way each, or of a group that keeps to its first; in a class they are letters."""
    assert ends(pattern)


def test_an_atomic_group_ends_indeed() -> None:
    """What is advised takes no time that doubles with each letter, which the refused one does."""
    began = perf_counter()
    assert re.search(r"^(?>(?>\w+)\s?)*$", "a" * 5000 + "!") is None
    assert perf_counter() - began < 5
