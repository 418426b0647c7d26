"""What a text affirms and what it denies: "not Ankara" has the word, and says the opposite.

Of English, by where a denial stands in its clause: enough for an exam that a denial must not pass. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Literal

from training.words import words

DENIALS = frozenset(words("not no never nor neither cannot t instead"))
"""Words that make another answer of it ("isn't" is two: "isn" and "t")."""

BEFORE_ONLY = frozenset(words("instead"))
"""Those of them that say nothing of what stands before: "instead of Istanbul", but "it is Ankara instead"."""

IDIOMS = re.compile(r"\b(?:not (?:only|just|merely)|no (?:doubt|wonder))\b", re.IGNORECASE)
"""What denies nothing."""

CLAUSE_ENDS = re.compile(
    r"[.,;:!?]+(?=\s|$)|[\n()\[\]\u2026\u2013\u2014]|\s-+\s|\b(?:but|rather|whereas|although|though|while|because)\b",
    re.IGNORECASE,
)
"""What a denial does not reach across."""

Stance = Literal["affirmed", "denied"]


def stances(text: str, marks: Set[str], others: Set[str]) -> dict[str, set[Stance]]:
    """How `text` stands to each of `marks`, words as `words` has them; the empty set for one that it does not have.

    A denial is of the marks behind it in its clause, up to one of `others` ("not Istanbul Ankara" denies Istanbul).
    Where neither follows, it is of what stands before it ("Ankara is not the capital").
    """
    found: dict[str, set[Stance]] = {mark: set() for mark in marks}
    for clause in _clauses(text):
        for mark, denied in _in_clause(clause, marks, others):
            found[mark].add("denied" if denied else "affirmed")
    return found


def _clauses(text: str) -> Iterator[list[str]]:
    for clause in CLAUSE_ENDS.split(IDIOMS.sub(" ", text)):
        yield words(clause)


def _in_clause(clause: list[str], marks: Set[str], others: Set[str]) -> list[tuple[str, bool]]:
    """(Mark, whether it is denied), in order."""
    found: list[tuple[str, bool]] = []
    denying = of_nothing_yet = False
    for word in clause:
        if word in DENIALS:
            denying = True
            of_nothing_yet = word not in BEFORE_ONLY
        elif word in marks:
            found.append((word, denying))
            of_nothing_yet = False
        elif word in others:
            denying = of_nothing_yet = False
    return [(mark, True) for mark, _ in found] if of_nothing_yet else found
