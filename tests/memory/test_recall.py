"""A question → what is remembered of it."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memory import Ledger, Recollection, among
from memory.embedder import SentenceEmbedder, Vectors
from memory.index_files import LOG, MANIFEST
from memory.recall import Memory
from memory.records import Document, LessonEvent, LessonState, Marks, Passage
from memory.testing import NOON, HashingEmbedder, exchange, lesson, rating
from memory.vectors import VectorIndex

CAPITAL = "What is the capital of France?"


class Counting(HashingEmbedder):
    """A hashing embedder that keeps what it was asked to embed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the hashing one."""
        self.asked += texts
        return super().embed(texts)

    @property
    def questions(self) -> list[str]:
        """Without those that an answer follows."""
        return [text for text in self.asked if "\n" not in text]


class Other(HashingEmbedder):
    """An embedder of the same size and another name."""

    name = "other-64"


@pytest.fixture
def ledger() -> Ledger:
    """An empty ledger in memory."""
    return Ledger.in_memory()


def memory_of(ledger: Ledger, folder: Path | None = None, **more: object) -> Memory:
    """Recall over `ledger` with the hashing embedder."""
    options = {"embedder": HashingEmbedder(), "min_score": 0.5, "patience": 60.0} | more
    return Memory(ledger, folder=folder, **options)  # type: ignore[arg-type]


def add(ledger: Ledger, *questions: str) -> None:
    """Write exchanges e1, e2, … with these questions, a minute between them."""
    ledger.add_exchanges(
        [
            exchange(f"e{n}", question=question, answer=f"answer {n}", created_at=NOON + timedelta(minutes=n))
            for n, question in enumerate(questions, ledger.last_seq() + 1)
        ]
    )


def found(memory: Memory, question: str = CAPITAL, k: int = 5, user: str | None = None) -> list[str]:
    """The ids of what is recalled."""
    return [r.exchange_id for r in memory.recall(question, k=k, user=user)]


# ---------------------------------------------------------------------- what is recalled


def test_near_questions_are_recalled_nearest_first(ledger: Ledger) -> None:
    """What was asked before in like words is recalled with its answer, cosine and reason; strangers are not."""
    add(ledger, "How do I boil eggs?", "what is the capital of italy?", CAPITAL)
    best, second = memory_of(ledger).recall(CAPITAL, k=5)
    assert [best.score, second.score] == pytest.approx([1, 5 / 6])
    assert replace(best, score=1.0, dense=1.0, lexical=1.0) == Recollection(
        exchange_id="e3",
        question=CAPITAL,
        answer="answer 3",
        created_at=NOON + timedelta(minutes=3),
        score=1.0,
        reason="asked on 2026-11-23",
        dense=1.0,
        lexical=1.0,
    )
    assert second.exchange_id == "e2"


def test_nothing_is_recalled_from_nothing(ledger: Ledger) -> None:
    """An empty ledger, a blank question and k = 0 recall nothing and embed nothing."""
    embedder = Counting()
    memory = memory_of(ledger, embedder=embedder)
    assert memory.recall(CAPITAL, k=3) == []
    add(ledger, CAPITAL)
    assert (memory.recall("  ", k=3), memory.recall(CAPITAL, k=0)) == ([], [])
    assert embedder.asked == []


def test_below_the_least_score_nothing_is_recalled(ledger: Ledger) -> None:
    """`min_score` is a cosine: what is farther is not recalled, what is nearer is."""
    add(ledger, "what is the capital of italy?")
    assert found(memory_of(ledger, min_score=0.84)) == []
    assert found(memory_of(ledger, min_score=0.83)) == ["e1"]


def test_correction_counts_the_moment_it_is_written(ledger: Ledger) -> None:
    """A corrected exchange is recalled with its correction; a later correction replaces it; taken back, it is gone."""
    add(ledger, CAPITAL)
    memory = memory_of(ledger)
    assert memory.recall(CAPITAL, k=1)[0].answer == "answer 1"
    ledger.rate(rating("r1", correction="Paris!"), lesson("l1", "r1"))
    [corrected] = memory.recall(CAPITAL, k=1)
    assert (corrected.answer, corrected.corrected) == ("Paris!", True)
    assert corrected.reason == "corrected by you on 2026-11-23"
    ledger.rate(rating("r2", correction="Paris, France."), lesson("l2", "r2"))
    assert memory.recall(CAPITAL, k=1)[0].answer == "Paris, France."
    ledger.rate(rating("r3", value=0), None)
    [plain] = memory.recall(CAPITAL, k=1)
    assert (plain.answer, plain.corrected) == ("answer 1", False)


@pytest.mark.parametrize("correction", [None, "", " \n"])
def test_rated_down_is_never_recalled(ledger: Ledger, correction: str | None) -> None:
    """An exchange rated down without a correction is left out, and the next best takes its place."""
    add(ledger, "what is the capital of italy?", CAPITAL)
    ledger.rate(rating("r1", "e2", correction=correction), None)
    assert found(memory_of(ledger), k=1) == ["e1"]


def test_what_was_answered_with_the_wrong_answer_goes_with_it(ledger: Ledger) -> None:
    """An answer that was given what is corrected later may retell it; one that came after the correction stands."""
    other = "Tell me the capital of France"
    given = [{"exchange_id": "e1", "question": CAPITAL, "answer": "Lyon."}]
    ledger.add_exchange(exchange("e1", question=CAPITAL, answer="Lyon.", created_at=NOON))
    retold = exchange("e2", question=other, answer="It is Lyon, surely.", created_at=NOON + timedelta(minutes=1))
    ledger.add_exchange(replace(retold, recollections=given))
    memory = memory_of(ledger)
    assert found(memory, other) == ["e2", "e1"]
    at = NOON + timedelta(minutes=2)
    ledger.rate(rating("r1", "e1", correction="Paris.", created_at=at), None)
    assert found(memory, other) == ["e1"]
    later = exchange("e3", question=f"{other} again", answer="It is Paris.", created_at=at + timedelta(minutes=1))
    ledger.add_exchange(replace(later, recollections=given))
    assert set(found(memory, other)) == {"e1", "e3"}


@pytest.mark.parametrize("replaced", [True, False])
def test_what_was_answered_with_a_document_that_is_gone_goes_with_it(ledger: Ledger, replaced: bool) -> None:
    """For a prompt; a person who looks for the exchange finds it, and one that somebody rated up stands."""
    text = "The house drink at the fair is called birch tea"
    ledger.add_document(Document("d1", "local", "fair.md", "0", NOON), [Passage(text)])
    given = [{"document_id": "d1", "question": "", "answer": text}]
    asked = ["What is the house drink at the fair?", "What is the house drink of the fair?"]
    for number, question in enumerate(asked, 1):
        said = exchange(f"e{number}", question=question, answer="Tea." if number == 1 else "Birch tea.")
        ledger.add_exchange(replace(said, recollections=given))
    ledger.rate(rating("r2", "e2", value=1), None)
    memory = memory_of(ledger)
    assert {"e1", "e2"} <= set(found(memory, asked[0]))
    later = NOON + timedelta(minutes=5)
    if replaced:
        new = Document("d1", "local", "fair.md", "1", later)
        ledger.add_document(new, [Passage(text.replace("birch tea", "cider"))])
    else:
        ledger.forget(ledger.to_forget(document="d1"), lambda prompt, answer: "signed")
    assert "e1" not in found(memory, asked[0])
    assert "e2" in found(memory, asked[0])
    assert "e1" in {one.exchange_id for one in memory.search(asked[0], k=5)}
    again = exchange("e3", question=asked[0], answer="Cider.", created_at=later + timedelta(minutes=1))
    ledger.add_exchange(replace(again, recollections=given if replaced else []))
    assert "e3" in found(memory, asked[0])


def test_what_was_answered_with_what_was_forgotten_goes_with_it(ledger: Ledger) -> None:
    """Of what was forgotten nothing is known but that it was there; answers made with it are not handed on."""
    other = "Tell me the capital of France"
    ledger.add_exchange(exchange("e1", question=CAPITAL, answer="Paris."))
    given = [{"exchange_id": "e1", "question": CAPITAL, "answer": "Paris."}]
    ledger.add_exchange(replace(exchange("e2", question=other, answer="Paris, it is."), recollections=given))
    memory = memory_of(ledger)
    assert set(found(memory, other)) == {"e1", "e2"}
    ledger.forget(ledger.to_forget(exchange="e1"), lambda prompt, answer: "signed")
    assert found(memory, other) == []


def test_a_correction_says_nothing_of_another_thing_with_the_same_answer(ledger: Ledger) -> None:
    """What was wrong of the gym may be true of the pool; of the gym it is wrong in other words, too."""
    gym, pool = "Is the gym open on Sundays?", "Does the swimming pool in Eggenberg open on Sundays?"
    for number, question in enumerate((gym, pool, "On Sundays the gym is open?"), 1):
        ledger.add_exchange(exchange(f"e{number}", question=question, answer="Yes."))
    memory = memory_of(ledger)
    ledger.rate(rating("r1", "e1", correction="No, it is closed on Sundays."), None)
    assert found(memory, pool)[0] == "e2"
    assert "e3" not in found(memory, pool)
    assert memory.search(pool, k=5)[0].exchange_id == "e2"


def test_an_answer_that_was_rated_down_does_not_come_back_unrated(ledger: Ledger) -> None:
    """The same answer to the same question, be it earlier or later; another answer stands, and so does a rating up."""
    for number, (question, answer) in enumerate(
        [(CAPITAL, "Lyon."), (CAPITAL, "Lyon."), (CAPITAL.upper(), "lyon"), (CAPITAL, "Paris.")], 1
    ):
        ledger.add_exchange(exchange(f"e{number}", question=question, answer=answer))
    memory = memory_of(ledger)
    ledger.rate(rating("r2", "e2", value=-1), None)
    assert found(memory) == ["e4"]
    ledger.rate(rating("r4", "e4", value=-1), None)
    assert found(memory) == []
    ledger.rate(rating("r3", "e3", value=1), None)
    assert found(memory) == ["e3"]


def test_what_is_said_again_in_other_words_is_one_memory(ledger: Ledger) -> None:
    """The nearest stands for it; the same short answer to another question is another memory."""
    answer = "The capital of Burkina Faso is Ouagadougou, a city of three million."
    told = [
        ("What is the capital of Burkina Faso?", answer),
        ("What's the capital of Burkina Faso?", answer),
        ("The capital of Burkina Faso is which?", answer),
        ("Is the capital of Burkina Faso large?", "Yes."),
        ("Is the capital of Burkina Faso old?", "Yes."),
    ]
    for number, (question, said) in enumerate(told, 1):
        ledger.add_exchange(exchange(f"e{number}", question=question, answer=said))
    first, *others = found(memory_of(ledger), told[0][0], k=3)
    assert first == "e1"
    assert set(others) == {"e4", "e5"}
    ledger.rate(rating("r2", "e2", value=1), None)
    assert found(memory_of(ledger), told[0][0], k=3)[0] == "e2"


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is C++?", "What is C#?"), ("What is C?", "What is C++?"), ("What is 8+3?", "What is 8 - 3?")],
)
def test_signs_tell_questions_apart(ledger: Ledger, one: str, other: str) -> None:
    """What was said of the one stays beside what was said of the other, whatever else is punctuation."""
    ledger.add_exchange(exchange("e1", question=one, answer="This."))
    ledger.add_exchange(exchange("e2", question=other, answer="That."))
    ledger.add_exchange(exchange("e3", question=other.replace("What is", "what is:"), answer="That, then."))
    assert set(found(memory_of(ledger), one, k=3)) == {"e1", "e3"}


TOLD = "My dog is called Biscuit, and he is four years old by now."


def test_what_was_told_in_passing_is_recalled_where_words_find_it(ledger: Ledger) -> None:
    """It need not be near: no model knows it by itself. What a model said must be, unless it is asked back for."""
    asked = "Which snacks does a dog like?"
    for number, question in enumerate((TOLD, asked), 1):
        ledger.add_exchange(exchange(f"e{number}", question=question, answer="Sausages, most of all."))
    question, back = "What's the name of my dog?", "Which snacks did you suggest for a walk?"
    strict, memory = memory_of(ledger, min_score=0.9), memory_of(ledger, min_score=0.9, min_score_told=0.1)
    assert found(strict, question) == []
    assert found(memory, question) == ["e1"]
    assert found(memory, back) == ["e2"]
    assert found(memory, "Who wrote the Odyssey?") == []
    assert found(memory_of(ledger, min_score=0.9, min_score_told=0.8), question) == []
    # What is near comes first.
    assert found(memory, asked)[0] == "e2"


def test_rated_up_says_so(ledger: Ledger) -> None:
    """A recollection that was rated up gives that as its reason."""
    add(ledger, CAPITAL)
    ledger.rate(rating(value=1), None)
    assert memory_of(ledger).recall(CAPITAL, k=1)[0].reason == "rated up by you on 2026-11-23"


def test_empty_answer_is_never_recalled(ledger: Ledger) -> None:
    """An exchange without an answer (it was stopped at once) is left out, until it is corrected."""
    ledger.add_exchange(exchange("e1", answer=" \n"))
    memory = memory_of(ledger)
    assert found(memory) == []
    ledger.rate(rating(correction="Paris."), None)
    assert found(memory) == ["e1"]


def test_equal_questions_are_one(ledger: Ledger) -> None:
    """Of questions that differ in case and spacing only: corrected beats rated up beats unrated; the newest within."""
    add(ledger, CAPITAL, "what is  the CAPITAL of\nFrance?", CAPITAL, CAPITAL, "what is the capital of italy?")
    memory = memory_of(ledger)
    assert found(memory) == ["e4", "e5"]
    ledger.rate(rating("r1", "e1", value=1), None)
    assert found(memory) == ["e1", "e5"]
    ledger.rate(rating("r2", "e3", value=1), None)
    assert found(memory) == ["e3", "e5"]
    ledger.rate(rating("r3", "e2", correction="Paris!"), None)
    assert found(memory) == ["e2", "e5"]
    ledger.rate(rating("r4", "e2"), None)
    assert found(memory) == ["e3", "e5"]


def test_the_newest_word_wins_not_the_newest_row(ledger: Ledger) -> None:
    """Two answers to one question: that counts which was corrected last, and unrated ones by when they were asked."""
    for name, at in (("e1", NOON + timedelta(days=9)), ("e2", NOON)):
        ledger.add_exchange(exchange(name, question=CAPITAL, answer=f"Town of {name}.", created_at=at))
    memory = memory_of(ledger)
    # Imported later, said earlier.
    assert [r.answer for r in memory.recall(CAPITAL, k=3)] == ["Town of e1."]
    for n, (name, day) in enumerate((("e2", 20), ("e1", 21)), 1):
        ledger.rate(rating(f"r{n}", name, correction=f"By {name}.", created_at=NOON + timedelta(days=day)), None)
        assert [r.answer for r in memory.recall(CAPITAL, k=3)] == [f"By {name}."]
        assert memory.search(CAPITAL, k=3)[0].answer == f"By {name}."


@pytest.mark.parametrize("k", [0, 10**9, 10**19])
def test_any_number_of_recollections_may_be_asked_for(ledger: Ledger, k: int) -> None:
    """None is none, and more than there are is all of them."""
    add(ledger, CAPITAL, "what is the capital of italy?")
    memory = memory_of(ledger)
    assert len(memory.search(CAPITAL, k=k)) == len(memory.recall(CAPITAL, k=k)) == min(k, 2)


def test_a_search_can_be_for_one_kind(ledger: Ledger) -> None:
    """Corrections, exchanges or pieces of documents alone, however many of the others are nearer."""
    add(ledger, *[f"what is the capital of france number {n}?" for n in range(40)])
    ledger.rate(rating("r1", "e1", correction="Paris!"), None)
    ledger.add_document(Document("d1", "local", "towns.txt", "0", NOON), [Passage("capital of France: a big town")])
    memory = memory_of(ledger)
    asked = "what is the capital of france number 30?"
    assert [r.answer for r in memory.search(asked, k=3, kind="correction")] == ["Paris!"]
    assert [r.source for r in memory.search(asked, k=3, kind="document")] == ["towns.txt"]
    assert len(memory.search(asked, k=50, kind="exchange")) == 39


def test_the_newest_are_listed_by_what_they_are(ledger: Ledger) -> None:
    """Page by page, with the rating that holds: all, the corrected ones, those of hidden conversations."""
    add(ledger, *[f"question {n}" for n in range(1, 8)])
    ledger.add_exchange(exchange("h1", question="hidden", conversation_id="c9"))
    ledger.set_use("c9", remember=False, train=True)
    ledger.rate(rating("r1", "e2", correction="So."), None)
    ledger.rate(rating("r2", "e3", correction="No."), None)
    ledger.rate(rating("r3", "e3", value=0), None)

    def listed(**more: Any) -> list[str]:
        return [one.id for one, _ in ledger.newest_exchanges(user="local", limit=3, **more)]

    assert (listed(), listed(only="recalled")) == (["h1", "e7", "e6"], ["e7", "e6", "e5"])
    assert (listed(only="recalled", skip=6), listed(only="corrected"), listed(only="hidden")) == (
        ["e1"],
        ["e2"],
        ["h1"],
    )
    assert ledger.newest_exchanges(user="local", limit=1, only="corrected")[0][1] == ledger.rating("e2")
    assert (listed(only="hidden", words=["HID", "den"]), listed(only="hidden", words=["question"])) == (["h1"], [])
    # A correction that was taken back holds no words.
    assert (listed(words=["so."]), listed(words=["no."]), listed(only="corrected", words=["3"])) == (["e2"], [], [])
    assert listed(only="recalled", words=["question"], skip=5) == ["e2", "e1"]


def test_one_correction_among_a_thousand_repeats_is_found(ledger: Ledger) -> None:
    """However often a question was asked, its one corrected exchange and the other questions are still found."""
    add(ledger, CAPITAL, *[CAPITAL] * 1200, "what is the capital of italy?")
    for seq in (1, 600, 1201):
        ledger.rate(rating(f"r{seq}", f"e{seq}", correction=f"Paris {seq}."), None)
        assert found(memory_of(ledger), k=2) == [f"e{seq}", "e1202"]
        ledger.rate(rating(f"back{seq}", f"e{seq}", value=0), None)


def test_recall_can_be_one_users(ledger: Ledger) -> None:
    """Asked for a user's, recall gives no one else's, however many others are nearer; reasons name other raters."""
    for n in range(300):
        ledger.add_exchange(exchange(f"a{n}", conversation_id="a", question=f"{CAPITAL} {n}", user="ann"))
    ledger.add_exchange(exchange("b1", conversation_id="b", question="The capital of France?", user="bob"))
    memory = memory_of(ledger)
    assert found(memory, user="bob") == ["b1"]
    assert len(found(memory, user="ann", k=7)) == 7
    ledger.rate(rating("r1", "b1", correction="Paris!", user="admin"), None)
    assert memory.recall(CAPITAL, k=1, user="bob")[0].reason == "corrected by admin on 2026-11-23"


class Read(Ledger):
    """A ledger that counts the exchanges that are read from it by their places."""

    exchanges = 0

    def rated_exchanges(self, seqs: Sequence[int], **which: Any) -> Any:
        """As the ledger does."""
        self.exchanges += len(seqs)
        return super().rated_exchanges(seqs, **which)


@pytest.fixture(scope="module")
def crowd() -> Memory:
    """Two thousand times nearly the same, said by one user; two exchanges of another, and long before a correction
    that is less near than all of them.
    """
    ledger = Read.in_memory()
    add(ledger, "the capital city of france tomorrow")
    ledger.rate(rating("r1", "e1", correction="Paris."), None)
    ledger.add_exchanges(
        [
            exchange(f"a{n}", conversation_id="a", question=f"what is the capital of france {n}", user="ann")
            for n in range(2000)
        ]
    )
    for n in (1, 2):
        question = f"what is the capital of france and italy and spain {n}"
        ledger.add_exchange(exchange(f"b{n}", conversation_id="b", question=question, user="bob"))
    memory = memory_of(ledger, min_score=0.99, min_score_corrected=0.5)
    memory.refresh()
    return memory


@pytest.mark.parametrize(
    ("look", "finds"),
    [
        (lambda memory: memory.recall(CAPITAL, k=3), ["e1"]),
        (lambda memory: memory.search(CAPITAL, k=3, kind="correction"), ["e1"]),
        (lambda memory: memory.search(CAPITAL, k=3, user="bob"), ["b1", "b2"]),
        (lambda memory: memory.search(CAPITAL, k=100, user="bob"), ["b1", "b2"]),
        (lambda memory: memory.search(CAPITAL, k=3, user="bob", kind="correction"), []),
        (lambda memory: memory.search(CAPITAL, k=3, user="nobody"), []),
        (lambda memory: memory.search(CAPITAL, k=3, kind="document"), []),
    ],
)
def test_few_are_found_among_many_without_reading_those(
    crowd: Memory, look: Callable[[Memory], list[Recollection]], finds: list[str]
) -> None:
    """What is wanted is found however much is nearer, and what is nearer is not read from the ledger for it."""
    ledger = crowd._ledger
    assert isinstance(ledger, Read)
    before = ledger.exchanges
    assert sorted(str(one.exchange_id) for one in look(crowd)) == finds
    assert ledger.exchanges - before < 1500


def test_a_user_who_said_very_much_is_not_told_apart(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has more than can be listed is found all the same."""
    monkeypatch.setattr(among, "MOST_OF_ONE", 10)
    for n in range(300):
        ledger.add_exchange(exchange(f"a{n}", conversation_id="a", question=f"{CAPITAL} {n}", user="ann"))
    for n in range(20):
        ledger.add_exchange(exchange(f"b{n}", conversation_id="b", question=f"capital of France {n}", user="bob"))
    assert len(found(memory_of(ledger), user="bob", k=20)) == 20


# ---------------------------------------------------------------------- level with the ledger


def test_what_another_process_wrote_is_recalled(ledger: Ledger) -> None:
    """Recall first takes in what the ledger gained; each question is embedded once."""
    embedder = Counting()
    memory = memory_of(ledger, embedder=embedder)
    add(ledger, "first question")
    assert found(memory, "first question") == ["e1"]
    add(ledger, "second thing")
    assert found(memory, "second thing") == ["e2"]
    assert embedder.questions == ["first question", "first question", "second thing", "second thing"]


def test_remembered_at_once(ledger: Ledger) -> None:
    """A new exchange is indexed as it is told, those between are fetched, and telling twice makes no difference."""
    embedder = Counting()
    memory = memory_of(ledger, embedder=embedder, min_score=0.8)
    add(ledger, "one")
    memory.remember()
    add(ledger, "two")
    memory.remember()
    add(ledger, "three", "four")
    memory.remember()
    memory.remember()
    assert embedder.questions == ["one", "two", "three", "four"]
    assert [found(memory, q) for q in ("one", "two", "three", "four")] == [["e1"], ["e2"], ["e3"], ["e4"]]


def test_index_is_kept_between_runs(ledger: Ledger, tmp_path: Path) -> None:
    """A saved index is loaded: only what came after it is embedded."""
    add(ledger, "one", "two")
    first = memory_of(ledger, tmp_path)
    first.refresh()
    first.save()
    add(ledger, "three")
    embedder = Counting()
    second = memory_of(ledger, tmp_path, embedder=embedder)
    second.refresh()
    assert (embedder.questions, second.rebuilt) == (["three"], None)
    assert found(second, "one") == ["e1"]


def test_every_addition_is_on_disk_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """What was remembered is found by another process without embedding it again, and a save writes nothing more."""
    memory = memory_of(ledger, tmp_path)
    for n in range(1, 6):
        add(ledger, f"question {n}")
        memory.remember()
        assert VectorIndex.open(tmp_path, HashingEmbedder()).marks == Marks(exchanges=n)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    memory.save()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


BASE = "base-2.faiss"


def folded(folder: Path) -> None:
    """Make a base of what the log holds."""
    index = VectorIndex.open(folder, HashingEmbedder())
    assert index.fold()
    assert (folder / BASE).exists()


def flip(path: Path) -> None:
    """Invert one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / BASE).write_bytes((f / BASE).read_bytes()[:500]), "not the file"),
        (lambda f: flip(f / BASE), "not the file"),
        (lambda f: (f / BASE).unlink(), "base-2.faiss is missing"),
        (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda f: (f / MANIFEST).write_text("{"), "manifest.json is damaged"),
    ],
    ids=["cut", "flipped", "no base", "no manifest", "manifest cut"],
)
def test_damaged_index_is_rebuilt_from_the_ledger(
    ledger: Ledger, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    """An index that can't be used is built anew, tells why, and then equals the ledger, on disk too."""
    questions = [f"word{n} thing{n}" for n in range(300)]
    add(ledger, *questions)
    first = memory_of(ledger, tmp_path)
    first.refresh()
    first.save()
    folded(tmp_path)
    damage(tmp_path)
    told: list[tuple[int, int]] = []
    memory = memory_of(ledger, tmp_path)
    memory.refresh(lambda done, total: told.append((done, total)))
    assert told == [(256, 300), (300, 300)]
    assert memory.rebuilt is not None
    assert reason in memory.rebuilt
    memory.save()
    assert_equals_ledger(tmp_path, ledger)


def assert_equals_ledger(folder: Path, ledger: Ledger) -> None:
    """The index on disk holds two vectors for each exchange: of its question, and of that with its answer."""
    index = VectorIndex.open(folder, HashingEmbedder())
    texts, _ = ledger.written_after(Marks(), limit=10**6)
    assert (len(index), index.marks) == (len(texts), ledger.marks())
    for place, text in texts:
        vector = HashingEmbedder().embed([text])[0]
        equal = [i for i, score in index.search(vector, 64) if score > 0.9999]
        assert place in equal


def test_index_of_another_embedder_is_rebuilt(ledger: Ledger, tmp_path: Path) -> None:
    """Vectors of another embedder are not compared with: the index is built anew."""
    add(ledger, CAPITAL)
    first = memory_of(ledger, tmp_path, embedder=Other())
    first.refresh()
    first.save()
    memory = memory_of(ledger, tmp_path)
    assert found(memory) == ["e1"]
    assert memory.rebuilt == "it was made by other-64, not by hashing-64"


def test_index_ahead_of_the_ledger_is_rebuilt(tmp_path: Path) -> None:
    """After a backup of the ledger was put back, the index follows it, on disk too."""
    newer, older = Ledger.in_memory(), Ledger.in_memory()
    add(newer, "one", "two", "three")
    add(older, "four")
    first = memory_of(newer, tmp_path)
    first.refresh()
    first.save()
    memory = memory_of(older, tmp_path)
    assert (found(memory, "four"), found(memory, "one")) == (["e1"], [])
    assert memory.rebuilt == "it is ahead of the ledger"
    assert_equals_ledger(tmp_path, older)


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("what", ["exchanges", "ratings", "passages"])
def test_index_of_another_ledger_is_rebuilt(tmp_path: Path, what: str, folds: bool) -> None:
    """After an older copy of the ledger was put back and written on, no number means what it did: it is noticed."""
    newer, older = Ledger.in_memory(), Ledger.in_memory()
    for ledger, said in ((newer, "trams"), (older, "loaves")):
        add(ledger, "one", "two")
        if what == "exchanges":
            for n in range(3):
                ledger.add_exchange(exchange(f"{said}{n}", question=f"How many {said} on day {n}?"))
        elif what == "ratings":
            ledger.rate(rating(f"of-{said}", "e1", correction=f"{said}."), None)
        else:
            ledger.add_document(Document("d", "local", "d.txt", said, NOON), [Passage(f"About {said}")])
    first = memory_of(newer, tmp_path)
    first.refresh()
    first.save()
    if folds:
        VectorIndex.open(tmp_path, HashingEmbedder()).fold()
    memory_of(newer, tmp_path).refresh()
    older.add_exchange(exchange("more", question="More?"))
    memory = memory_of(older, tmp_path)
    memory.refresh()
    assert memory.rebuilt == "it was made of another ledger, or of a newer copy of it"
    assert_holds(memory, older)


def test_index_stays_while_its_ledger_forgets(ledger: Ledger, tmp_path: Path) -> None:
    """What stood at its marks may be gone: then nothing contradicts it, and nothing is embedded again."""
    add(ledger, "one", "two")
    first = memory_of(ledger, tmp_path)
    first.refresh()
    ledger.forget(ledger.to_forget(exchange="e2"), lambda prompt, answer: "signed")
    ledger.finish_forgetting(first.forget)
    memory, embedder = None, Counting()
    for n in range(2):
        ledger.add_exchange(exchange(f"new{n}", question=f"number {n}"))
        memory = memory_of(ledger, tmp_path, embedder=embedder)
        memory.refresh()
        assert memory.rebuilt is None
    assert embedder.questions == ["number 0", "number 1"]


def test_index_that_tells_no_landmarks_is_taken(ledger: Ledger, tmp_path: Path) -> None:
    """As an earlier Nightschool wrote it, in its manifest and in its log: it serves, and tells them from then on."""
    index = VectorIndex.create(tmp_path, HashingEmbedder())
    add(ledger, "one", "two")
    texts, marks = ledger.written_after(Marks(), limit=10)
    with index.exclusive():
        index.put([place for place, _ in texts], HashingEmbedder().embed([text for _, text in texts]), marks)
    as_it_was(tmp_path)
    embedder = Counting()
    ledger.add_exchange(exchange("e3", question="three"))
    memory = memory_of(ledger, tmp_path, embedder=embedder)
    memory.refresh()
    assert (memory.rebuilt, embedder.questions) == (None, ["three"])
    assert VectorIndex.open(tmp_path, HashingEmbedder()).landmarks == ledger.landmarks(ledger.marks())


def as_it_was(folder: Path) -> None:
    """Rewrite an index of one record in the log as version 2 of the format was at first."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["landmarks"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    log = folder / LOG.format(manifest["generation"])
    record, header = log.read_bytes(), struct.Struct("<4sIqqqI")
    _, count, *marks, _ = header.unpack_from(record)
    payload = record[header.size : header.size + count * (8 + 4 * HashingEmbedder.dimensions)]
    log.write_bytes(header.pack(b"NSV1", count, *marks, zlib.crc32(payload)) + payload)


def assert_holds(memory: Memory, ledger: Ledger) -> None:
    """The index holds the vectors of the ledger's texts, each under its place, and no other."""
    texts, reach = dict[int, str](), Marks()
    while reach != ledger.marks():
        some, reach = ledger.written_after(reach, limit=10**6)
        texts |= dict(some)
    held = memory.contents()
    assert set(held) == set(texts)
    for place, vector in zip(texts, HashingEmbedder().embed(list(texts.values())), strict=True):
        assert held[place] @ vector == pytest.approx(1, abs=1e-5)


def test_rebuilding_on_request(ledger: Ledger, tmp_path: Path) -> None:
    """A rebuild that was asked for embeds everything again, tells how far it is, and saves."""
    add(ledger, "one", "two")
    embedder, told = Counting(), []
    memory = memory_of(ledger, tmp_path, embedder=embedder)
    memory.refresh()
    memory.rebuild(lambda done, total: told.append((done, total)))
    assert (embedder.questions, told) == (["one", "two"] * 2, [(2, 2)])
    assert_equals_ledger(tmp_path, ledger)


def test_unwritable_folder_does_not_stop_recall(ledger: Ledger, tmp_path: Path) -> None:
    """Where the index can't be saved it stays in memory, says why, and is saved once it can be."""
    blocked = tmp_path / "index"
    blocked.write_text("a file where the folder should be")
    add(ledger, CAPITAL)
    memory = memory_of(ledger, blocked)
    assert found(memory) == ["e1"]
    assert memory.not_saved is not None
    assert memory.not_saved.startswith(f"{blocked}: ")
    blocked.unlink()
    memory.save()
    assert memory.not_saved is None
    assert_equals_ledger(blocked, ledger)


def test_recall_without_a_folder(ledger: Ledger) -> None:
    """Without a folder the index lives in memory, and that is no failure."""
    add(ledger, CAPITAL)
    memory = memory_of(ledger, None)
    memory.save()
    assert (found(memory), memory.not_saved) == (["e1"], None)


def test_threads_recall_and_remember(ledger: Ledger, tmp_path: Path) -> None:
    """Threads that write, remember and recall at once lose nothing and index nothing twice."""
    memory = memory_of(ledger, tmp_path)

    def one(n: int) -> list[str]:
        question = f"number{n}"
        ledger.add_exchange(exchange(f"e{n}", question=question))
        memory.remember()
        return found(memory, question, k=64)

    with ThreadPoolExecutor(8) as pool:
        for n, recalled in enumerate(pool.map(one, range(80))):
            assert f"e{n}" in recalled
    memory.save()
    assert_equals_ledger(tmp_path, ledger)


SAVER = """
import sys
from pathlib import Path
from memory.records import Marks
from memory.testing import HashingEmbedder
from memory.vectors import VectorIndex
embedder = HashingEmbedder()
index = VectorIndex.create(Path(sys.argv[1]), embedder)
for n in range(1, 100_000):
    with index.exclusive():
        texts = [f"question {n}", f"question {n}\\nanswer {n}"]
        index.put([4 * n, 4 * n + 1], embedder.embed(texts), Marks(n))
    if n % 7 == 0:
        index.fold()
    print(n, flush=True)
"""


def test_kill_while_saving_leaves_a_usable_memory(ledger: Ledger, tmp_path: Path) -> None:
    """Killed in the midst of saves, the folder gives a whole index or is rebuilt: never a wrong one."""
    add(ledger, *[f"question {n}" for n in range(1, 400)])
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert child.stdout is not None
        for _ in range(20):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        memory = memory_of(ledger, tmp_path)
        memory.refresh()
        assert found(memory, "question 7", k=1)
        memory.save()
        assert_equals_ledger(tmp_path, ledger)


@pytest.mark.model
def test_real_embedder_recalls_a_paraphrase(ledger: Ledger, embedder_path: Path) -> None:
    """With the real embedder a question in other words finds its correction, and an unrelated one does not."""
    add(ledger, "Which city is the capital of France?", "How long do eggs boil?")
    ledger.rate(rating(correction="Paris!"), None)
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path))
    [recalled] = memory.recall("What is France's capital city?", k=3)
    assert recalled.answer == "Paris!"
    assert memory.recall("Who painted the Mona Lisa?", k=3) == []


@pytest.mark.model
def test_a_correction_stands_alone_for_its_question_in_any_words(ledger: Ledger, embedder_path: Path) -> None:
    """The wrong answer to a paraphrase is not recalled beside it, nor in its place when the weights know it."""
    asked = ["Which city is the capital of Nigeria?", "What is the capital of Nigeria?", "What is the capital of Peru?"]
    for number, (question, answer) in enumerate(zip(asked, ("Lagos.", "Lagos.", "Lima."), strict=True), 1):
        ledger.add_exchange(exchange(f"e{number}", question=question, answer=answer, conversation_id=f"c{number}"))
    ledger.rate(rating("r1", "e2", correction="Abuja."), lesson("l1", "r1", "e2"))
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path))
    for question in (*asked[:2], "Name the capital of Nigeria."):
        assert [r.answer for r in memory.recall(question, k=3)] == ["Abuja."]
    assert [r.answer for r in memory.recall(asked[2], k=3)] == ["Lima."]
    verified = LessonEvent(NOON, LessonState.VERIFIED, "v1 answers it right", adapter="v1")
    ledger.advance_lessons({"l1": verified})
    assert memory.recall(asked[1], k=3, version="v1") == []


@pytest.mark.model
def test_each_correction_holds_for_its_own_question(ledger: Ledger, embedder_path: Path) -> None:
    """Doors that an embedder hardly tells apart: asked word for word, each comes first, also when the weights have one
    and not yet the other, whose answer would be taken for it.
    """
    doors = [f"What is the code of the {door} door?" for door in ("front", "back")]
    add(ledger, *doors)
    for number, code in enumerate(("1234", "9876"), 1):
        later = NOON + timedelta(days=number)
        said = rating(f"r{number}", f"e{number}", correction=code, created_at=later)
        ledger.rate(said, lesson(f"l{number}", said.id, said.exchange_id))
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path))
    assert [memory.recall(door, k=3)[0].answer for door in doors] == ["1234", "9876"]
    ledger.advance_lessons({"l1": LessonEvent(NOON, LessonState.VERIFIED, "v1 answers it right", adapter="v1")})
    assert [memory.recall(door, k=3, version="v1")[0].answer for door in doors] == ["1234", "9876"]
    ledger.advance_lessons({"l2": LessonEvent(NOON, LessonState.VERIFIED, "v1 answers it right", adapter="v1")})
    assert [memory.recall(door, k=3, version="v1") for door in doors] == [[], []]


@pytest.mark.model
def test_one_other_word_at_the_end_is_no_form(ledger: Ledger, embedder_path: Path) -> None:
    """Nor does the old answer come instead."""
    asked = ["Which street does uncle Bert live in?", "Which street does uncle Bert live on?"]
    add(ledger, *asked)
    ledger.rate(rating("r2", "e2", correction="Elm Street."), None)
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path))
    assert [[r.answer for r in memory.recall(question, k=3)] for question in asked] == [["Elm Street."]] * 2


@pytest.mark.model
def test_a_form_alone_recalls_nothing(ledger: Ledger, embedder_path: Path) -> None:
    """Two reviews are near each other for the question that both are behind; the very same one comes back."""
    form = "Is this review positive or negative?"
    reviews = ["a dull film about a war in space", "a moving film about two sisters and a farm"]
    for n, review in enumerate(reviews):
        ledger.add_exchange(exchange(f"e{n}", question=f"{form} {review}", answer="No idea."))
        said = rating(f"r{n}", f"e{n}", correction="positive")
        ledger.rate(said, lesson(f"l{n}", said.id, said.exchange_id))
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path), min_score=0.7, min_score_corrected=0.49)
    assert memory.recall(f"{form} a bland film about a hotel by the sea", k=3) == []
    assert [one.exchange_id for one in memory.recall(f"{form} {reviews[0]}!", k=3)] == ["e0"]
    # Nor does a review that is not learned yet keep one that is in the prompt.
    ledger.advance_lessons({"l0": LessonEvent(NOON, LessonState.VERIFIED, "v1 answers it right", adapter="v1")})
    assert memory.recall(f"{form} {reviews[0]}", k=3, version="v1") == []


@pytest.mark.model
def test_many_of_one_form_hide_nothing(ledger: Ledger, embedder_path: Path) -> None:
    """Whatever lies nearer for its form alone, what is asked in other words is recalled."""
    form = "Is this short review of ours positive or negative?"
    add(ledger, *(f"{form} {word}" for word in ("fun", "sad", "endless", "lovely", "great", "too long")))
    ledger.add_exchange(exchange("sure", question="Is boring, as a review, positive or negative?"))
    ledger.rate(rating("r1", "sure", correction="negative"), None)
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path), min_score=0.7, min_score_corrected=0.45)
    assert [one.exchange_id for one in memory.recall(f"{form} boring", k=1)] == ["sure"]


@pytest.mark.model
def test_chinese_questions_find_their_corrections(ledger: Ledger, embedder_path: Path) -> None:
    """Reworded they find them, for a prompt too; strangers, which to this embedder are the same, are not recalled."""
    for number, question in enumerate(["法国的首都是哪里?", "谁写了红楼梦?", "我的银行卡丢了怎么办?"], 1):
        ledger.add_exchange(exchange(f"e{number}", question=question, conversation_id=f"c{number}"))
        ledger.rate(rating(f"r{number}", f"e{number}", correction=f"答案{number}"), None)
    memory = memory_of(ledger, embedder=SentenceEmbedder(embedder_path), min_score=0.7, min_score_corrected=0.45)
    asked = {"请问法国首都在哪个城市?": ["答案1"], "怎么煮鸡蛋?": [], "银行卡丢失后应该怎么做?": ["答案3"]}
    assert {question: [r.answer for r in memory.recall(question, k=3)] for question in asked} == asked
    assert memory.search("银行卡丢失", k=1)[0].answer == "答案3"
