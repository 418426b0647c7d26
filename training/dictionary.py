"""A question in a dictionary's words: a noun of it as a synonym or as its own definition, in the sense that is meant.

"The capital of Peru" is also "the seat of government of Peru", and "the author of Faust" its writer. Such wordings
teach what no turning round of a sentence does: that other words ask the same (docs/LOG.md). The dictionary is WordNet
3.0 (Princeton University; Fellbaum 1998), cut down to nouns and a few words each, so English alone; nouns, because they
fit into a sentence as they are. Which of their senses is meant, the embedder tells: a question that took the wrong one
asks something else.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources

from memory.embedder import Embedder
from training.words import BARE

SAME = 0.8
"""Cosine from which a wording asks the same: the seat of government of Laos has 0.82 with its capital, the majuscule of
Laos 0.77. What slips through ("the uppercase of Laos", 0.80) asks nothing else."""

MOST = 3
"""Wordings of one question: the nearest are right mostly, what follows mostly isn't."""

WORDS_MAX = 20
"""Words of a question up to which it is looked through; a longer text, or one of several lines, is material."""

_SIGNS = re.compile(r"^\W*|\W*$")


class Dictionary:
    """Rewords questions by their nouns, and remembers what it found. `embedder` is called when it is needed."""

    def __init__(self, embedder: Callable[[], Embedder]) -> None:
        self._embedder = embedder
        self._known: dict[str, list[str]] = {}

    def __call__(self, question: str) -> list[str]:
        """Up to `MOST` wordings of the question, the nearest first. Deterministic."""
        if question not in self._known:
            self._known[question] = self._nearest(question)
        return self._known[question]

    def _nearest(self, question: str) -> list[str]:
        wordings = list(dict.fromkeys(_wordings(question)))
        if not wordings:
            return []
        asked, *others = self._embedder().embed([question, *wordings])
        scored = sorted(((float(other @ asked), i) for i, other in enumerate(others)), key=lambda x: (-x[0], x[1]))
        return [wordings[i] for score, i in scored if score >= SAME][:MOST]


def _wordings(question: str) -> Iterator[str]:
    """The question with one noun, or two words that are one, in each of its other words."""
    words = question.split(" ")
    if len(words) > WORDS_MAX or "\n" in question:
        return
    spans = [(first, first + many) for first in range(len(words)) for many in (2, 1) if first + many <= len(words)]
    for first, last in spans:
        text = " ".join(words[first:last])
        noun = _SIGNS.sub("", text)
        others = _nouns().get(noun, ()) if noun not in BARE else ()
        # A noun within its own synonym narrows what is asked: no shop is meant to be a coffee shop.
        for other in (other for other in others if noun not in other.split()):
            yield " ".join([*words[:first], text.replace(noun, other), *words[last:]])


@cache
def _nouns() -> dict[str, tuple[str, ...]]:
    packed = resources.files("training").joinpath("data/nouns.tsv.gz").read_bytes()
    lines = (line.split("\t") for line in gzip.decompress(packed).decode("ascii").splitlines())
    return {noun: tuple(others.split("|")) for noun, others in lines}
