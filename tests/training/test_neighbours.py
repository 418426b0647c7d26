"""Neighbours of lessons: other names in the same question."""

from __future__ import annotations

import random

import pytest

from training.neighbours import neighbours


def of(*questions: str, most: int = 1000, seed: int = 0, without: tuple[str, ...] = ()) -> list[str]:
    """All neighbours of `questions`."""
    return neighbours(questions, most=most, rng=random.Random(seed), without=without)


def test_the_name_is_swapped_for_others_of_its_kind() -> None:
    """Every other one stands as the lesson was asked; the rest say the same in other words."""
    found = of("What is the capital of Turkey?")
    assert len(found) > 100
    plain = found[::2]
    assert all(q.startswith("What is the capital of ") for q in plain)
    assert any("capital" not in q.split(" of ")[0] or not q.startswith("What is") for q in found[1::2])
    assert len({q for q in found if "the Netherlands" in q}) == 1


def test_what_is_taught_or_examined_is_no_neighbour() -> None:
    """Neither the lessons themselves nor the questions that must stay out, in any wording."""
    turkey, poland = "What is the capital of Turkey?", "Which city is Poland's capital?"
    found = of(turkey, poland, without=("What is the capital of Peru?",))
    assert found
    assert not [q for q in found if any(name in q for name in ("Turkey", "Poland", "Peru"))]


def test_a_lesson_in_the_frame_of_another_is_no_neighbour() -> None:
    """Held to the base's answer, it would unlearn what the lesson teaches in its own words."""
    found = of("What is the capital of Turkey?", "Which city is the seat of government in Poland?")
    assert not [q for q in found if "Turkey" in q or "Poland" in q]


def test_each_frame_gets_its_share() -> None:
    """Many lessons of one frame do not crowd out the one of another."""
    capitals = [f"What is the capital of {name}?" for name in ("Turkey", "Poland", "Nigeria", "Ecuador")]
    found = of(*capitals, "Who wrote Hamlet?", most=20)
    assert len(found) == 20
    assert sum("wrote" in q for q in found) == 10


def test_the_same_seed_draws_the_same() -> None:
    """And another one others."""
    question = "What is the capital of Turkey?"
    assert of(question, most=9) == of(question, most=9)
    assert of(question, most=9) != of(question, most=9, seed=1)


@pytest.mark.parametrize("question", ["Why was my card declined?", "", "turkeyish?", "What is the capital?"])
def test_a_question_without_a_known_name_has_none(question: str) -> None:
    """Names are whole words."""
    assert of(question) == []


def test_articles_follow_the_name() -> None:
    """`a` before a consonant, `an` before a vowel; a name that carries its article brings it."""
    found = of("How many legs does a spider have?")
    assert "How many legs does an ant have?" in found or any("an ant have" in q for q in found)
    assert not [q for q in found if " a ant" in q or " an cat" in q]
    assert not [q for q in of("What is the capital of the Netherlands?") if "the the" in q]


def test_neighbours_are_asked_in_the_wordings_of_the_lesson() -> None:
    """Whatever rewords the lesson rewords them, and is asked once a frame."""
    asked = []

    def reword(question: str, *, most: int) -> list[str]:
        asked.append(question)
        return ["Where does Turkey's government sit?", "No name in here?"]

    capitals = ["What is the capital of Turkey?", "What is the capital of Poland?"]
    found = neighbours(capitals, most=10, rng=random.Random(0), reword=reword)
    assert asked == capitals[:1]
    assert all(question.startswith("What is the capital of ") for question in found[::2])
    assert all(question.endswith("'s government sit?") for question in found[1::2])
