"""Words: what is looked for, what a text names, and a table that can't fall behind."""

from __future__ import annotations

import pytest

from memory import Ledger
from memory.lexicon import TERMS, about_another, names, query
from memory.places import Part, place
from memory.testing import NOON, exchange, lesson, rating


@pytest.mark.parametrize(
    "evil",
    [
        '" OR 1=1 --',
        "NEAR(",
        "NEAR(a b, 3)",
        "text:x AND before:y",
        "a* ^b -c",
        '""""',
        "lexicon MATCH",
        "'; DROP TABLE exchanges; --",
        "x" * 20_000,
        "what is it",
        "日本語 質問",
        "\u0000\u200b",
        "¿?!",
    ],
)
def test_nothing_that_is_typed_is_syntax(evil: str) -> None:
    """Operators, quotes and SQL are words or nothing: the search gives an answer, and everything is still there."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="What is the near capital?"))
    words = query(evil)
    assert words == "" or isinstance(ledger.find_words(words, limit=3), list)
    assert ledger.count_exchanges() == 1


def test_common_words_are_left_out_where_there_are_others() -> None:
    """Telling words alone, each once, none without need: a question of common words alone is looked for as it is."""
    assert query("What is the capital, the CAPITAL of Peru?") == '"capital" OR "peru"'
    assert query("Who is he?") == '"who" OR "is" OR "he"'
    assert query("?!") == ""
    assert query(" ".join(f"w{n}" for n in range(1000))).count(" OR ") == TERMS - 1


def test_what_a_text_names() -> None:
    """Capitalised words within a sentence and numbers; not what opens one, not "I", and without a final 's."""
    assert names("What is the capital of Peru?") == {"peru"}
    assert names("Name Spain's kings. They ruled in 1492, I think") == {"spain", "1492"}
    assert names("is it I'm or Anna\u2019s?") == {"anna"}


@pytest.mark.parametrize(
    ("one", "other", "another"),
    [
        ("What is the capital of Peru?", "What is the capital of Chile?", True),
        ("What is the capital of North Korea?", "What is the capital of South Korea?", True),
        ("What is the capital of Peru?", "Which city is Peru's capital?", False),
        ("what is the capital of peru?", "What is the capital of Chile?", False),
        ("Who is king of Spain?", "Who was king of Spain in 1492?", False),
        ("How do I change my PIN?", "How can I alter my code?", False),
    ],
)
def test_about_another(one: str, other: str, another: bool) -> None:
    """Both name something, and neither all of the other's; where one names nothing, nobody can say."""
    assert about_another(one, other) is another
    assert about_another(other, one) is another


def found(ledger: Ledger, text: str, user: str | None = None) -> list[int]:
    """Places in which the words are found."""
    return [where for where, _ in ledger.find_words(query(text), limit=9, user=user)]


def test_the_table_follows_the_ledger() -> None:
    """An exchange is found by question, answer, day and the turn before it; a correction takes the answer's place."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="Where do puffins nest?", answer="In burrows."))
    ledger.add_exchange(exchange("e2", question="Really?", answer="Yes.", parent_id="e1", user="ann"))
    first, second = place(1, Part.QUESTION), place(2, Part.QUESTION)
    assert found(ledger, "puffin nests") == [first]
    assert sorted(found(ledger, "burrow")) == [first, second]
    assert sorted(found(ledger, f"{NOON:%B %Y}")) == [first, second]
    assert found(ledger, "burrow", user="ann") == [second]
    ledger.rate(rating("r1", correction="On cliffs."), lesson("l1", "r1"))
    assert found(ledger, "cliffs") == [first]
    assert found(ledger, "burrow") == [second]
    ledger.rate(rating("r2", value=0), None)
    assert (found(ledger, "cliffs"), first in found(ledger, "burrow")) == ([], True)
    ledger.rate(rating("r3", value=-1), None)
    assert first not in found(ledger, "burrow")


def test_what_is_rolled_back_leaves_no_words() -> None:
    """The table is part of the ledger's transaction: an exchange that was not stored is not found."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="Where do puffins nest?"))
    with pytest.raises(Exception, match="UNIQUE"):
        ledger.add_exchange(exchange("e1", question="Where do herons nest?"))
    assert found(ledger, "herons") == []
