"""Names that ship with the package, and what is asked about them."""

from __future__ import annotations

from training import entities


def test_each_name_is_asked_about_once() -> None:
    """All kinds but months and continents, which are few and each other's answers."""
    asked = entities.questions()
    known = {kind: names for kind, names in entities.names().items() if kind not in ("month", "continent")}
    assert len(asked) == sum(map(len, known.values())) > 800
    assert {
        "What does an ant eat?",
        "Where does a bear live?",
        "What does Adidas make?",
        "Where is the Danube?",
    } <= set(asked)


def test_what_is_mentioned_is_not_asked_about() -> None:
    """Neither with its article nor without, whatever the kind; other names stay."""
    asked = entities.questions(without=["Is the Danube longer than a river in Peru?", "Who wrote 1984?"])
    assert len(entities.questions()) - len(asked) == 3
    assert not [question for question in asked if "Danube" in question or "Peru" in question or "1984" in question]
