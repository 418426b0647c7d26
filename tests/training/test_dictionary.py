"""A question in a dictionary's words: which words, which sense, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from assistant.models import embedder_path
from assistant.settings import load
from memory.embedder import SentenceEmbedder, Vectors
from training.dictionary import MOST, Dictionary
from training.entities import names
from training.rewordings import reword
from training.settings import Settings


class Nearness:
    """An embedder to which every text is as near to a question as `cosines` says of a word in it, else the same."""

    name, dimensions = "nearness", 2

    def __init__(self, **cosines: float) -> None:
        self.cosines = cosines
        self.asked = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += 1
        near = [next((c for word, c in self.cosines.items() if word in text), 1.0) for text in texts]
        return np.array([[c, (1 - c * c) ** 0.5] for c in near], dtype=np.float32)


def of(question: str, embedder: Nearness | None = None) -> list[str]:
    """The wordings of `question`."""
    return Dictionary(lambda: embedder or Nearness())(question)


def test_nouns_become_their_synonyms_and_definitions() -> None:
    """The nearest first, no more than `MOST`, and what is too far not at all."""
    near = {"government": 0.95, "uppercase": 0.85, "majuscule": 0.82, "upper-case": 0.7}
    found = of("What is the capital of Peru?", Nearness(**near))
    assert found == [f"What is the {other} of Peru?" for other in ("seat of government", "uppercase", "majuscule")]
    assert len(of("Who is the author of this account of the river?")) == MOST
    far = dict.fromkeys(near, 0.5)
    assert of("What is the capital of Peru?", Nearness(**far)) == []


def test_whom_it_is_asked_of_decides_nothing() -> None:
    """The mean over names of a kind does: near for one name is not near, and far for one is not far."""
    others = dict.fromkeys(("uppercase", "majuscule", "upper-case"), 0.5)
    lucky = Nearness(**{"government of Peru": 1.0, "government": 0.75} | others)
    assert of("What is the capital of Peru?", lucky) == []
    unlucky = Nearness(**{"government of Peru": 0.5, "government": 0.95} | others)
    assert of("What is the capital of Peru?", unlucky) == ["What is the seat of government of Peru?"]
    first = names()["country"][0]
    odd = Nearness(**{f"government of {first}": 0.0, "government": 0.95} | others)
    assert of("What is the capital of Peru?", odd) == ["What is the seat of government of Peru?"]


def test_of_one_kind_it_is_found_out_once() -> None:
    """Fifty capitals are one question."""
    embedder = Nearness()
    dictionary = Dictionary(lambda: embedder)
    (peru, *_), (chad, *_) = dictionary("What is the capital of Peru?"), dictionary("What is the capital of Chad?")
    assert (peru.replace("Peru", "Chad"), embedder.asked) == (chad, 1)


def test_a_name_is_no_noun() -> None:
    """What a dictionary has of turkeys and pigs says nothing of Turkey, nor of a guinea pig."""
    for question, name in (
        ("What is a turkey to Turkey?", "Turkey"),
        ("Is the food for a guinea pig?", "a guinea pig?"),
    ):
        found = of(question)
        assert found
        assert all(wording.endswith((name, f"{name}?")) for wording in found)


def test_what_was_pasted_with_a_picture_has_wordings_too() -> None:
    """The sign that stands for one is the sign that stands for a name here."""
    assert "What is the seat of government of Peru? \ufffc" in of("What is the capital of Peru? \ufffc")


def test_a_noun_is_not_narrowed() -> None:
    """No wording has the noun itself in its synonym."""
    assert not [wording for wording in of("What is the capital of Peru?") if "capital" in wording]


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("What time does the office open?", "out-of-doors"),
        ("When did the wall fall?", "descent"),
        ("What is the water polo rule?", "H2O"),
        ("What is the opening hour of the shop?", "gap"),
    ],
)
def test_what_is_no_noun_there(question: str, other: str) -> None:
    """A verb is none, however it is spelled, nor is a part of a longer name; only what these are called by is."""
    assert not [wording for wording in of(question) if other in wording]


def test_without_a_listed_name_more_is_asked() -> None:
    """Its own cosine alone tells less than the mean over many names."""
    asked = "What is the capital of ours?"
    assert of(asked, Nearness(government=0.85, uppercase=0.5, majuscule=0.5, upper=0.5)) == []
    near = of(asked, Nearness(government=0.92, uppercase=0.5, majuscule=0.5, upper=0.5))
    assert near == ["What is the seat of government of ours?"]


def test_two_words_may_be_one_noun() -> None:
    """And signs around a noun stay where they are."""
    assert of("Is it ice cream?")[0] == "Is it icecream?"
    assert "Is it the (seat of government)?" in of("Is it the (capital)?")


@pytest.mark.parametrize(
    "question", ["", "Why?", "What about Peru?", "Read this.\n\nThe capital fell.", "capital " * 21]
)
def test_what_is_no_question_about_a_noun_is_left_alone(question: str) -> None:
    """Nobody asks the embedder about it either."""
    embedder = Nearness()
    assert of(question, embedder) == []
    assert embedder.asked == 0


def test_a_question_is_looked_up_once() -> None:
    """Lessons come back night after night, and several times in one."""
    embedder = Nearness()
    dictionary = Dictionary(lambda: embedder)
    assert dictionary("What is the capital?") == dictionary("What is the capital?")
    assert embedder.asked == 1


def test_its_wordings_stand_behind_the_first_turns() -> None:
    """A night of few wordings has both."""
    question = "What is the capital of Peru?"
    ours = reword(question, most=5)
    theirs = ["What is the seat of government of Peru?"]
    assert reword(question, most=6, explained=theirs) == [*ours[:3], *theirs, *ours[3:]]
    assert reword("Was ist das Kapital?", most=3, explained=theirs) == []


@pytest.mark.model
def test_the_sense_that_is_meant() -> None:
    """all-MiniLM-L6-v2 tells a seat of government from money, and a writer from a generator."""
    embedder = SentenceEmbedder(embedder_path(load(Settings).models))
    found = Dictionary(lambda: embedder)
    assert found("What is the capital of Laos?")[0] == "What is the seat of government of Laos?"
    assert found("Who is the author of Faust?")[0] == "Who is the writer of Faust?"
