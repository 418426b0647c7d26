"""A question in a dictionary's words: a noun of it as a synonym or as its own definition, in the sense that is meant.

"The capital of Peru" is also "the seat of government of Peru", and "the author of Faust" its writer. Such wordings
teach what no turning round of a sentence does: that other words ask the same (docs/LOG.md). The dictionary is WordNet
3.0 (Princeton University; Fellbaum 1998), cut down to nouns and a few words each, so English alone; nouns, because they
fit into a sentence as they are. Which of their senses is meant, the embedder tells: a question that took the wrong one
asks something else.

Of one name it tells badly: the seat of government has between 0.71 and 0.87 with the capital, by the country, and an
upper-case letter up to 0.84. So where a question holds a name that `training.entities` has, the mean over other names
of its kind decides, for all of them alike: which sense is meant does not hang on whom it is asked of.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from itertools import chain
from typing import TypeVar

from memory.embedder import Embedder
from training.entities import Frame, framed, names
from training.words import BARE

SAME = 0.8
"""Cosine from which a wording asks the same: over countries the seat of government has 0.81 with the capital, the
uppercase 0.79, the majuscule 0.76."""

NAMES = 32
"""Names of a kind over which the mean is taken, at most: it is then known to half a hundredth."""

MOST = 3
"""Wordings of one question: the nearest are right mostly, what follows mostly isn't."""

SAME_ALONE = 0.9
"""The same where the question holds no listed name, so that its own cosine decides alone: most of what lies below is
another sense ("the boiling degree of ethanol")."""

_HEAD = frozenset(("of", "for", "in", "on", "to", "at", "is", "are", "was", "were"))
"""What follows a noun that another may stand for: before any other word it is a part of a longer name."""

_ASKS_OF_DOING = re.compile(r"\b(?:do|does|did)\b", re.IGNORECASE)
"""In such a question the last word is a verb, whatever nouns are spelled so."""

WORDS_MAX = 20
"""Words of a question up to which it is looked through; a longer text, or one of several lines, is material."""

_SIGNS = re.compile(r"^\W*|\W*$")

_NAME = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the name in a question's frame: no noun, and no part of one. What holds it already has no frame."""

W = TypeVar("W", str, Frame)


class Dictionary:
    """Rewords questions by their nouns, and remembers what it found. `embedder` is called when it is needed."""

    def __init__(self, embedder: Callable[[], Embedder]) -> None:
        self._embedder = embedder
        self._known: dict[str, list[str]] = {}
        self._framed: dict[Frame, list[Frame]] = {}

    def __call__(self, question: str) -> list[str]:
        """Up to `MOST` wordings of the question, the nearest first. Deterministic."""
        frame = None if _NAME in question else framed(question)
        if frame is not None:
            name = question[len(frame.before) : len(question) - len(frame.after)]
            return [wording.ask(name) for wording in self._of_frame(frame)]
        if question not in self._known:
            self._known[question] = self._near(question, _wordings(question), lambda wording: [wording], SAME_ALONE)
        return self._known[question]

    def _of_frame(self, frame: Frame) -> list[Frame]:
        """Wordings of the question, whatever name it is asked of."""
        if frame not in self._framed:
            known = names()[frame.kind]
            sample = known[:: -(-len(known) // NAMES)]
            wordings = (_frame(wording, frame.kind) for wording in _wordings(frame.before + _NAME + frame.after))
            self._framed[frame] = self._near(
                frame, wordings, lambda wording: [wording.ask(name) for name in sample], SAME
            )
        return self._framed[frame]

    def _near(self, question: W, wordings: Iterable[W], asks: Callable[[W], list[str]], least: float) -> list[W]:
        """Those of `wordings` that in the mean over what they ask have a cosine of `least` with what `question` asks,
        the nearest first.
        """
        found: list[W] = list(dict.fromkeys(wordings))
        if not found:
            return []
        vectors = self._embedder().embed([*chain.from_iterable(map(asks, [question, *found]))])
        # (the question and its wordings, names, dimensions)
        said = vectors.reshape(1 + len(found), -1, vectors.shape[1])
        means = (said[1:] * said[0]).sum(axis=2).mean(axis=1).tolist()
        near = sorted((-mean, i) for i, mean in enumerate(means) if mean >= least)
        return [found[i] for _, i in near][:MOST]


def _frame(wording: str, kind: str) -> Frame:
    before, after = wording.split(_NAME)
    return Frame(before, after, kind)


def _wordings(question: str) -> Iterator[str]:
    """The question with one noun, or two words that are one, in each of its other words."""
    words = question.split(" ")
    if len(words) > WORDS_MAX or "\n" in question or _ASKS_OF_DOING.search(question):
        return
    spans = [(first, first + many) for first in range(len(words)) for many in (2, 1) if first + many <= len(words)]
    for first, last in spans:
        if last < len(words) and words[last].casefold() not in _HEAD:
            continue
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
