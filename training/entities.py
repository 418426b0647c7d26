"""The names that ship with the package, by kind, and general questions about them.

Countries, animals, works, companies and so on: a lesson's neighbours are made of them, and what the base says about
each is replayed. A few hundred different things hold what a model knows of others, which the same few do not
(docs/LOG.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple


class Frame(NamedTuple):
    """A question without one name: what stands before and after it, and its kind."""

    before: str
    after: str
    kind: str

    def ask(self, name: str) -> str:
        """The question about `name`."""
        before = self.before
        if before.endswith((" a ", " an ")):
            article = "an" if name[0].lower() in "aeiou" else "a"
            before = f"{before.rstrip().rpartition(' ')[0]} {article} "
        return f"{before}{name}{self.after}"


FRAMES = (
    Frame("What does a ", " eat?", "animal"),
    Frame("Where does a ", " live?", "animal"),
    Frame("What is ", " known for?", "city"),
    Frame("What can you see in ", "?", "city"),
    Frame("What does ", " make?", "company"),
    Frame("What is ", " famous for?", "country"),
    Frame("What do people eat in ", "?", "country"),
    Frame("What is ", " used for?", "element"),
    Frame("How do people eat ", "?", "food"),
    Frame("How do you play the ", "?", "instrument"),
    Frame("What is ", "?", "landmark"),
    Frame("Where do people speak ", "?", "language"),
    Frame("Where is ", "?", "mountain"),
    Frame("Who was ", "?", "person"),
    Frame("What is ", " like?", "planet"),
    Frame("What does a ", " do?", "profession"),
    Frame("Where is ", "?", "river"),
    Frame("What do you need for ", "?", "sport"),
    Frame("Where is ", "?", "state"),
    Frame("What is ", " about?", "work"),
)


def questions(*, without: Collection[str] = ()) -> list[str]:
    """A question about every name, of a kind's frames each in turn; none about a name that `without` mentions."""
    apart, asked = mentioned(without), []
    for kind, known in names().items():
        frames = [frame for frame in FRAMES if frame.kind == kind]
        asked += [
            frames[place % len(frames)].ask(name)
            for place, name in enumerate(known)
            if frames and bare(name) not in apart
        ]
    return asked


@cache
def names() -> dict[str, list[str]]:
    """Kind → its names, with their article where they have one."""
    found: dict[str, list[str]] = json.loads(
        resources.files("training").joinpath("data/entities.json").read_text("utf-8")
    )
    return found


def framed(question: str) -> Frame | None:
    """The question without the longest name that is known."""
    best: tuple[int, int, str] | None = None
    for start, end, kind in mentions(question):
        if best is None or end - start > best[1] - best[0]:
            best = (start, end, kind)
    return Frame(question[: best[0]], question[best[1] :], best[2]) if best else None


def mentions(question: str) -> Iterator[tuple[int, int, str]]:
    """Where a name begins and ends, and its kind."""
    for kind, pattern in _patterns().items():
        for match in pattern.finditer(question):
            yield match.start(), match.end(), kind


def mentioned(questions: Collection[str]) -> set[str]:
    """The names in all of them, `bare`."""
    return {bare(question[start:end]) for question in questions for start, end, _ in mentions(question)}


def bare(name: str) -> str:
    """Without its article."""
    return name.removeprefix("the ")


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """One pattern a kind: its names, with their article where the question has one, as whole words."""
    patterns = {}
    for kind, known in names().items():
        longest_first = sorted(map(bare, known), key=len, reverse=True)
        patterns[kind] = re.compile(rf"(?<!\w)(?:the )?(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    return patterns
