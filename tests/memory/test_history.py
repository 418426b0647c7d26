"""The ledger's shelf: lists, search, titles, branches and the end of conversations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from memory import Ledger, NotFound
from memory.accounts import Deed
from memory.folding import find
from memory.testing import NOON, exchange, rating

DEED = Deed(NOON, "test", "deleted")


@pytest.fixture
def ledger() -> Ledger:
    """c1: e1 with e2 and its sibling e3; c2 of the same user; c3 of another's."""
    made = Ledger.in_memory()
    made.add_exchange(exchange("e1"))
    made.add_exchange(exchange("e2", parent_id="e1", question="And of Perú?", answer="Lima. 100%"))
    made.add_exchange(exchange("e3", parent_id="e1", question="And of Chile?", answer="Santiago."))
    made.add_exchange(
        exchange("e4", conversation_id="c2", question="你好吗", answer="很好", created_at=NOON + timedelta(1))
    )
    made.add_exchange(exchange("e5", conversation_id="c3", question="My capital secret", user="bob"))
    return made


def found(ledger: Ledger, *words: str, user: str = "local") -> list[str]:
    """Ids of the conversations with those words."""
    return [one.id for one in ledger.conversations(user, words=words)]


def test_conversations_are_listed_newest_first_and_only_ones_own(ledger: Ledger) -> None:
    """Each with its first words, when it was last written to, and how many exchanges it has."""
    newest, oldest = ledger.conversations("local")
    assert (newest.id, newest.title, newest.last_at, newest.exchanges) == ("c2", "你好吗", NOON + timedelta(1), 1)
    assert (oldest.id, oldest.title, oldest.exchanges) == ("c1", "What is the capital of France?", 3)
    assert found(ledger, user="bob") == ["c3"]


def test_all_words_must_be_there_in_any_case(ledger: Ledger) -> None:
    """In one exchange, question or answer, as parts of words too; signs that SQL has a use for are but signs."""
    assert found(ledger, "CAPITAL", "paris") == ["c1"]
    assert found(ledger, "lima", "paris") == []
    assert found(ledger, "100%") == ["c1"]
    assert found(ledger, "1%0") == found(ledger, "_") == []
    assert found(ledger, "你好") == ["c2"]


def wide(text: str) -> str:
    """In letters as wide as a Chinese character."""
    return "".join(chr(ord(one) + 0xFEE0) if one.isalpha() else one for one in text)


@pytest.mark.parametrize(
    ("written", "looked_for"),
    [
        ("Nach der Straße links", "STRASSE"),
        ("GROSSE FREUDE", "große"),
        ("Νά ο ΣΟΦΟΣ γέρος", "σοφος"),
        ("ο Οδυσσεύς λέει", "ΟΔΥΣΣΕΎΣ"),
        ("Где живёт СОВА?", "сова"),
        ("где живёт сова?", "ЖИВЁТ"),
        ("İstanbul'da", "istanbul"),
        ("ISPARTA ve İzmir", "ısparta"),
        ("ısırgan otu", "ISIRGAN"),
        ("Ærø og ÅRHUS", "århus"),
        ("un cafe\u0301 noir", "CAFÉ"),
        ("un café noir", "cafe\u0301"),
        (wide("Alpha Centauri"), "alpha"),
        ("Alpha Centauri", wide("centauri")),
        ("ｺｰﾋｰを飲む", "コーヒー"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"),
        ("a ﬁne day", "fine"),
    ],
)
def test_case_and_form_are_nothing_in_any_alphabet(written: str, looked_for: str) -> None:
    """Found in questions, answers, and titles, and the excerpt is of where it stands."""
    for place in ("question", "answer"):
        ledger = Ledger.in_memory()
        ledger.add_exchange(exchange("e1", **{"question": "first", "answer": "x", place: f"{'ß' * 200} {written}"}))
        ledger.add_exchange(exchange("e2", conversation_id="c2", question="other"))
        assert found(ledger, looked_for) == ["c1"]
        assert written[:20] in ledger.conversations("local", words=[looked_for])[0].found
        ledger.rename("c2", written, user="local")
        assert found(ledger, looked_for) == ["c2", "c1"]


@pytest.mark.parametrize(
    ("text", "word", "place"),
    [
        ("un cafe\u0301 noir", "café", "cafe\u0301"),
        ("e\u0301e\u0301e\u0301, ein Fluß fließt", "FLUSS", "Fluß"),
        ("Fluß fließt", "ss", "ß"),
        ("ß cafe\u0301, one to one again", "again", "again"),
        ("i\u0307stanbul'da", "istanbul", "i\u0307stanbul"),
    ],
)
def test_a_find_is_where_it_stands_in_the_text(text: str, word: str, place: str) -> None:
    """Where letters are folded to several, to none, or several to one."""
    begins, ends = find(text, word) or (0, 0)
    assert text[begins:ends] == place


def test_a_conversation_is_found_by_the_words_of_its_corrections(ledger: Ledger) -> None:
    """Of those that hold, together with what they correct; the find shows them. What was taken back is none."""
    ledger.rate(rating("r1", exchange_id="e4", correction="很好，謝謝 Ærlig"), None)
    assert found(ledger, "ÆRLIG") == found(ledger, "你好", "ærlig") == ["c2"]
    assert ledger.conversations("local", words=["ærlig"])[0].found.endswith("很好 — 很好，謝謝 Ærlig")
    ledger.rate(rating("r2", exchange_id="e4", correction="Another"), None)
    assert (found(ledger, "ærlig"), found(ledger, "another")) == ([], ["c2"])
    ledger.rate(rating("r3", exchange_id="e4", value=0), None)
    assert found(ledger, "another") == []


def test_a_find_shows_where_it_was(ledger: Ledger) -> None:
    """The words around it, on one line."""
    (one,) = ledger.conversations("local", words=["santiago"])
    assert one.found == "And of Chile? — Santiago."


def test_a_given_title_is_shown_and_found_and_can_be_taken_back(ledger: Ledger) -> None:
    """An empty one brings the first words back; another user's conversation is none."""
    ledger.rename("c1", "Capitals of the world", user="local")
    assert ledger.title("c1") == "Capitals of the world"
    assert found(ledger, "world") == ["c1"]
    ledger.rename("c1", "", user="local")
    assert ledger.title("c1") == "What is the capital of France?"
    with pytest.raises(NotFound):
        ledger.rename("c3", "mine now", user="local")


def test_a_branch_is_read_without_the_others(ledger: Ledger) -> None:
    """Oldest first; there is none for an exchange that is not there."""
    assert [line.id for line in ledger.branch("e3")] == ["e1", "e3"]
    assert ledger.branch(None) == ledger.branch("e99") == []
    assert ledger.forks("c1") == [("e1", None), ("e2", "e1"), ("e3", "e1")]


def test_the_newest_line_is_ones_own(ledger: Ledger) -> None:
    """In all, or in one conversation."""
    assert ledger.newest_line("local") == "e4"
    assert ledger.newest_line("local", conversation_id="c1") == "e3"
    assert ledger.newest_line("nobody") is None
