"""Words: what is looked for, what a text names, and a table that can't fall behind."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from memory import Ledger
from memory.lexicon import TERMS, _cut, about_another, filled_in, names, spaced, terms
from memory.places import Part, place
from memory.records import Document, Passage
from memory.sql import lexicon as lexicon_table
from memory.testing import NOON, exchange, lesson, rating


def wide(text: str) -> str:
    """In letters as wide as a Chinese character."""
    return "".join(chr(ord(one) + 0xFEE0) if one.isalpha() else one for one in text)


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
    assert isinstance(ledger.find_words(terms(evil), limit=3), list)
    assert ledger.count_exchanges() == 1


def test_common_words_are_left_out_where_there_are_others() -> None:
    """Telling words alone, each once, none without need: a question of common words alone is looked for as it is."""
    assert terms("What is the capital, the CAPITAL of Peru?") == ('"capital"', '"peru"')
    assert terms("Who is he?") == ('"who"', '"is"', '"he"')
    assert terms("?!") == ()
    assert len(terms(" ".join(f"w{n}" for n in range(1000)))) == TERMS


@pytest.mark.parametrize(
    ("written", "looked_for"),
    [
        ("un cafe\u0301 noir", "café"),
        ("한국 여행", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        (wide("Alpha Centauri"), "centauri"),
        ("Alpha Centauri", wide("Centauri")),
        ("ｺｰﾋｰを飲む", "コーヒー"),
    ],
)
def test_words_of_every_form_find_each_other(written: str, looked_for: str) -> None:
    """Accents apart or not, wide letters and narrow ones; in rows that were written without a form, the same form."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question=written))
    assert found(ledger, looked_for) == [place(1, Part.QUESTION)]
    assert not about_another(f"Where is {written}?", f"Where is {written}?".replace("cafe\u0301", "café"))
    with ledger._write() as db:
        db.exec_driver_sql("UPDATE lexicon SET text = ?", (_cut(written),))
    assert found(ledger, written) == [place(1, Part.QUESTION)]


def test_names_are_the_same_in_every_form() -> None:
    """Or the same question, in another form, would be taken for one about another thing."""
    assert not about_another("Where does E\u0301lise live?", "where does Élise live now?")
    assert about_another("Where does Élise live?", "Where does Peter live?")


def test_what_is_written_without_spaces_is_found_by_its_parts() -> None:
    """Chinese and Japanese, in questions, answers, corrections, documents and the turn before; others as they are."""
    assert terms("法国首都?") == ('"法国"', '"国首"', '"首都"')
    assert spaced("PIN码 is 天 here") == "PIN 码  is  天  here"
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="法国的首都是哪里?", answer="里昂。"))
    ledger.add_exchange(exchange("e2", question="真的吗?", answer="是的。", parent_id="e1"))
    ledger.add_exchange(exchange("e3", question="猫の寿命はどれくらいですか", answer="十五年です。"))
    document = Document("d1", "local", "zh.txt", "0", NOON)
    ledger.add_document(document, [Passage("银行卡丢失请拨打电话")])
    first, second, third = (place(seq, Part.QUESTION) for seq in (1, 2, 3))
    assert found(ledger, "请问首都在哪个城市")[0] == first
    assert sorted(found(ledger, "里昂")) == [first, second]
    assert found(ledger, "猫の寿命") == [third]
    assert found(ledger, "我的银行卡不见了") == [place(1, Part.PASSAGE)]
    ledger.add_document(Document("d2", "local", "安装手册.txt", "0", NOON), [Passage("请先拧紧螺丝")])
    assert found(ledger, "安装手册") == [place(2, Part.PASSAGE)]
    ledger.rate(rating("r1", correction="巴黎 塞纳河畔。"), lesson("l1", "r1"))
    assert found(ledger, "塞纳河在哪") == [first]


def test_of_very_many_rows_only_telling_words_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that most rows have is left out beside a rare one; alone it is looked for in the newest rows."""
    monkeypatch.setattr("memory.sql.lexicon.ROWS", 10)
    monkeypatch.setattr("memory.sql.lexicon.WINDOW", 50)
    ledger = Ledger.in_memory()
    for n in range(1, 201):
        ledger.add_exchange(exchange(f"e{n}", question=f"common {'rare' if n == 7 else ''} number{n}", answer="x"))
    assert found(ledger, "common rare") == [place(7, Part.QUESTION)]
    assert found(ledger, "number9 common") == [place(9, Part.QUESTION)]
    assert [where >> 2 for where in found(ledger, "common")] == list(range(200, 191, -1))


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
        ("Which city is the Turkish capital?", "What is the capital of Turkey?", False),
        ("Which city is the Chinese capital?", "What was the capital of China in 1300?", False),
        ("Which city is the Turkish capital?", "What is the capital of China?", True),
        ("Which city is the Malian capital?", "What is the capital of Malawi?", True),
        ("Who is the Nigerian president?", "Who is the president of Niger?", True),
        ("What is Julian's number?", "What is the number of Julia?", True),
        ("Is the Turkish lira the currency of Turkey?", "What currency has Turkey?", False),
        ("Which city is the Austrian capital?", "What is the capital of Australia?", True),
        ("怎么煮鸡蛋?", "谁写了红楼梦?", True),
        ("怎么煮鸡蛋?", "我的银行卡丢了怎么办?", True),
        ("请问法国首都在哪个城市?", "法国的首都是哪里?", False),
        ("我的银行卡丢了怎么办?", "银行卡丢失后应该怎么做?", False),
        ("日本の首都はどこですか", "猫の寿命はどれくらいですか", True),
        ("怎么煮鸡蛋?", "How do I boil an egg?", False),
    ],
)
def test_about_another(one: str, other: str, another: bool) -> None:
    """Both name something, and neither all of the other's; where one names nothing, nobody can say."""
    assert about_another(one, other) is another
    assert about_another(other, one) is another


def found(ledger: Ledger, text: str, user: str | None = None) -> list[int]:
    """Places in which the words are found."""
    return [where for where, _ in ledger.find_words(terms(text), limit=9, user=user)]


def test_the_table_follows_the_ledger() -> None:
    """An exchange is found by question, answer, day and the turn before it; a correction takes the answer's place."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="Where do puffins nest?", answer="In burrows."))
    ledger.add_exchange(
        exchange("e2", question="Really?", answer="Yes.", parent_id="e1", user="ann", conversation_id="c2")
    )
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


@pytest.fixture(scope="module")
def crowd() -> Ledger:
    """What two users and a third have said and kept, one conversation of which is hidden."""
    ledger = Ledger.in_memory()
    for n in range(60):
        user = ("ann", "bob", "eve")[n % 3]
        text = "owl " * (1 + n % 7) + f"word{n}"
        ledger.add_exchange(exchange(f"e{n}", question=text, user=user, conversation_id=f"c{user}{n % 4}"))
        ledger.add_document(Document(f"d{n}", user, f"d{n}", str(n), NOON), [Passage(f"{text} flies")])
    ledger.set_use("cann0", remember=False, train=True)
    return ledger


def own(ledger: Ledger, user: str, *, limit: int) -> list[tuple[int, float]]:
    """What a search among everybody's finds of a user's."""
    every = ledger.find_words(['"owl"'], limit=1000)
    exchanges = ledger.rated_exchanges(range(1, 99), user=user)
    passages = ledger.passages(range(1, 99), user=user)
    places = {place(seq, Part.QUESTION) for seq in exchanges} | {place(seq, Part.PASSAGE) for seq in passages}
    return [one for one in every if one[0] in places][:limit]


@pytest.mark.parametrize("few", [0, 1000], ids=["many", "few"])
@pytest.mark.parametrize("limit", [3, 1000])
@pytest.mark.parametrize("user", ["ann", "bob", "nobody"])
def test_a_users_search_finds_the_same_whatever_the_way(
    crowd: Ledger, monkeypatch: pytest.MonkeyPatch, user: str, limit: int, few: int
) -> None:
    """Of few places and of many, the best of a user's, with the scores that they have among everybody's."""
    monkeypatch.setattr("memory.sql.lexicon.FEW", few)
    found = crowd.find_words(['"owl"'], limit=limit, user=user)
    assert found == own(crowd, user, limit=limit)
    assert bool(found) is (user != "nobody")


@pytest.mark.parametrize("few", [0, 1000], ids=["many", "few"])
def test_who_is_alone_finds_all(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Where nobody else has said or kept anything; and from somebody else's first document on, not that."""
    monkeypatch.setattr("memory.sql.lexicon.FEW", few)
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="An owl", user="ann"))
    assert len(ledger.find_words(['"owl"'], limit=9, user="ann")) == 1
    assert ledger.find_words(['"owl"'], limit=9, user="bob") == []
    ledger.add_document(Document("d1", "bob", "owls", "0", NOON), [Passage("Owls fly")])
    assert ledger.find_words(['"owl"'], limit=9, user="ann") == [(4, pytest.approx(0, abs=9))]
    assert [found for found, _ in ledger.find_words(['"owl"'], limit=9, user="bob")] == [place(1, Part.PASSAGE)]


def test_what_is_rolled_back_leaves_no_words() -> None:
    """The table is part of the ledger's transaction: an exchange that was not stored is not found."""
    ledger = Ledger.in_memory()
    ledger.add_exchange(exchange("e1", question="Where do puffins nest?"))
    with pytest.raises(Exception, match="UNIQUE"):
        ledger.add_exchange(exchange("e1", question="Where do herons nest?"))
    assert found(ledger, "herons") == []


REVIEW = "Is this review positive or negative?"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (f"{REVIEW} a dull film", f"{REVIEW}  one that moves", ("a dull film", "one that moves")),
        (f"{REVIEW}\n\na dull film", "is this Review positive or negative? fun", ("a dull film", "fun")),
        (REVIEW, f"{REVIEW} a dull film", None),
        ("How do I reset my PIN abroad?", "How do I reset my PIN at home?", None),
        ("What is the capital of Peru?", "What is the capital of Chile?", None),
        ("", "", None),
    ],
)
def test_what_is_filled_in(one: str, other: str, expected: tuple[str, str] | None) -> None:
    """Behind a form of three telling words at least, whatever the case and the spacing."""
    assert filled_in(one, other) == expected
    assert filled_in(other, one) == (expected and expected[::-1])


def test_forgetting_a_thousand_times_leaves_a_table_that_can_be_written() -> None:
    """FTS5 adds a level with each merging and never takes one away; from 2,000 on it takes its table for damaged."""
    ledger = Ledger.in_memory()
    for number in range(180):
        ledger.add_exchange(exchange(f"e{number}", conversation_id="c", question=f"owls {number}"))
        if number % 3 == 0:
            ledger.forget(ledger.to_forget(exchange=f"e{number}"), lambda prompt, answer: "")
        # As a server does with every turn.
        ledger.finish_forgetting(lambda places: True, patient=False)
    with ledger._write() as db:
        block = db.execute(sa.text("SELECT block FROM lexicon_data WHERE id = 10")).scalar_one()
        assert next(iter(lexicon_table._numbers(bytes(block)[4:]))) <= 3
        db.execute(sa.text("INSERT INTO lexicon (lexicon) VALUES ('integrity-check')"))
    assert len(ledger.find_words(terms("owls"), limit=500)) == 120
    ledger.close()


@pytest.mark.parametrize(
    ("levels", "flat"),
    [
        ([[0, 0], [0, 0], [0, 1, 300, 1, 20]], [[0, 1, 300, 1, 20]]),
        ([[0, 2, 1, 1, 1, 2, 1, 1], [0, 0], [0, 1, 7, 1, 9]], [[0, 2, 1, 1, 1, 2, 1, 1], [0, 1, 7, 1, 9]]),
        ([[0, 0], [2, 2, 1, 1, 1, 2, 1, 1], [0, 1, 7, 1, 9]], None),
        ([[0, 0], [0, 0]], [[0, 0]]),
    ],
)
def test_empty_levels_are_taken_out(levels: list[list[int]], flat: list[list[int]] | None) -> None:
    """Not while a level is being merged: what is made of it goes into the next one."""

    def block(levels: list[list[int]]) -> bytes:
        told = [len(levels), 3, 70_000, *(number for level in levels for number in level)]
        return b"cook" + b"".join(map(lexicon_table._varint, told))

    assert lexicon_table.flattened(block(levels)) == block(flat or levels)
    strange = b"cook\xff\x00\x00\x01" + block(levels)[4:]
    assert lexicon_table.flattened(strange) == strange
