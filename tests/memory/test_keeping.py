"""An index is kept level beside everything else: nobody waits for others, and a new embedder moves in unseen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from memory import Ledger
from memory.embedder import SentenceEmbedder, Vectors, named
from memory.index_files import made_by
from memory.keeping import NEXT
from memory.recall import Memory
from memory.records import Document, Passage
from memory.testing import NOON, HashingEmbedder, exchange, rating
from memory.vectors import VectorIndex

BESIDE = ("embedding", "another embedder")
"""Names of the threads that work beside."""


class Gated(HashingEmbedder):
    """A hashing embedder that works beside only while its gate is open, and counts what it embeds."""

    def __init__(self, name: str = "gated-64") -> None:
        self.name, self.gate, self.reached, self.texts = name, threading.Event(), threading.Event(), 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the hashing one."""
        if threading.current_thread().name in BESIDE:
            self.reached.set()
            self.gate.wait()
        self.texts += len(texts)
        return super().embed(texts)


@pytest.fixture
def ledger() -> Ledger:
    """A ledger with one question of ann's."""
    made = Ledger.in_memory()
    made.add_exchange(exchange("e1", question="Where do puffins nest?", answer="In burrows.", user="ann"))
    return made


def history(ledger: Ledger, count: int, user: str = "bob") -> None:
    """Many exchanges at once, as an import writes them."""
    for n in range(count):
        ledger.add_exchange(exchange(f"h{n}", question=f"number {n} of word{n}", conversation_id="h", user=user))


def recalled(memory: Memory, question: str, user: str | None = None) -> list[str]:
    """The answers that a prompt is given."""
    return [r.answer for r in memory.recall(question, k=3, user=user)]


def maker(folder: Path) -> str | None:
    """The name of the embedder whose index lies there."""
    made = made_by(folder)
    return made and made.name


def test_what_one_adds_does_not_keep_another_waiting(ledger: Ledger, tmp_path: Path) -> None:
    """While a document is taken in, and that stands still, questions are answered from what there is."""
    embedder = Gated()
    memory = Memory(ledger, embedder, tmp_path, min_score=0.5, patience=0.0)
    memory.refresh()
    ledger.add_document(Document("d1", "bob", "long.txt", "0", NOON), [Passage(f"line {n}") for n in range(100)])
    memory.remember()
    assert embedder.reached.wait(10)
    assert recalled(memory, "Where do puffins nest?", "ann") == ["In burrows."]
    assert 0 < memory.behind <= 100
    embedder.gate.set()
    memory.wait()
    assert (memory.behind, memory.size) == (0, 102)


def test_a_correction_counts_while_a_history_is_taken_in(ledger: Ledger, tmp_path: Path) -> None:
    """What is last in the queue is found by its words, and compared with on the spot; what is a stranger is not."""
    embedder = Gated()
    memory = Memory(ledger, embedder, tmp_path, min_score=0.5, patience=0.0)
    history(ledger, 50)
    ledger.add_exchange(exchange("e2", question="Which city is the capital of Peru?", answer="Cusco."))
    ledger.rate(rating("r1", "e2", correction="Lima."), None)
    assert recalled(memory, "Which city is the capital of Peru?") == ["Lima."]
    assert recalled(memory, "How do number eggs boil?") == []
    assert memory.behind > 20
    embedder.gate.set()
    memory.wait()
    assert memory.size == 104
    assert recalled(memory, "Which city is the capital of Peru?") == ["Lima."]


def test_what_is_forgotten_while_it_is_embedded_is_not_put_in(ledger: Ledger, tmp_path: Path) -> None:
    """The texts were read already; the index never holds them."""
    embedder = Gated()
    memory = Memory(ledger, embedder, tmp_path, min_score=0.5, patience=0.0)
    history(ledger, 20)
    memory.remember()
    assert embedder.reached.wait(10)
    ledger.forget(ledger.to_forget(user="bob"), lambda prompt, answer: "signed")
    ledger.finish_forgetting(memory.forget)
    embedder.gate.set()
    memory.wait()
    assert set(memory.contents()) == {4, 5}


# ---------------------------------------------------------------------- another embedder


def test_the_old_index_serves_until_the_new_one_is_made(ledger: Ledger, tmp_path: Path) -> None:
    """The new embedder's index is made beside, goes on where it was cut off, and takes the old one's place."""
    old, new = Gated("old-64"), Gated("new-64")
    history(ledger, 20)
    Memory(ledger, old, tmp_path, min_score=0.5).refresh()

    memory = Memory(ledger, new, tmp_path, min_score=0.5, earlier=lambda maker: {"old-64": old}.get(maker.name))
    ledger.add_exchange(exchange("e9", question="Do albatross eggs weigh much?", answer="This."))
    assert recalled(memory, "Where do puffins nest?") == ["In burrows."]
    assert recalled(memory, "Do albatross eggs weigh much?") == ["This."]
    assert new.reached.wait(10)
    assert (new.texts, maker(tmp_path)) == (0, "old-64")
    new.gate.set()
    memory.wait()
    assert recalled(memory, "Do albatross eggs weigh much?") == ["This."]
    assert maker(tmp_path) == "new-64"
    assert len(VectorIndex.open(tmp_path, new)) == 44
    assert not (tmp_path / NEXT).exists()


def test_a_move_that_was_cut_off_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    """What is embedded already is not embedded again by the process that comes after."""
    old, new = Gated("old-64"), Gated("new-64")
    new.gate.set()
    history(ledger, 20)
    Memory(ledger, old, tmp_path, min_score=0.5).refresh()
    half = Memory(ledger, new, tmp_path / NEXT, min_score=0.5, patience=0.0)
    half.remember()
    half.save()
    done = new.texts
    memory = Memory(ledger, new, tmp_path, min_score=0.5, earlier=lambda maker: {"old-64": old}.get(maker.name))
    memory.remember()
    memory.wait()
    memory.remember()
    assert done
    assert (new.texts, maker(tmp_path), memory.size) == (42, "new-64", 42)


def test_forgetting_reaches_both_indexes(ledger: Ledger, tmp_path: Path) -> None:
    """Of the one that serves, and of the one that is being made."""
    old, new = Gated("old-64"), Gated("new-64")
    history(ledger, 9)
    Memory(ledger, old, tmp_path, min_score=0.5).refresh()
    Memory(ledger, HashingEmbedder(), tmp_path / NEXT, min_score=0.5).refresh()
    ledger.add_exchange(exchange("e9", question="Still to be taken in"))
    new.name = HashingEmbedder.name
    memory = Memory(ledger, new, tmp_path, min_score=0.5, earlier=lambda maker: {"old-64": old}.get(maker.name))
    memory.remember()
    ledger.forget(ledger.to_forget(exchange="e1"), lambda prompt, answer: "signed")
    assert ledger.finish_forgetting(memory.forget).places == ()
    for folder, embedder in ((tmp_path, old), (tmp_path / NEXT, HashingEmbedder())):
        assert not {4, 5} & set(VectorIndex.open(folder, embedder).contents())
    new.gate.set()
    memory.save()


@pytest.mark.model
def test_real_embedders_follow_each_other(
    ledger: Ledger, tmp_path: Path, embedder_path: Path, second_embedder: Path
) -> None:
    """There and back between models of 384 and 128 numbers, wherever their folders lie; who asks meanwhile is answered
    by the model that is being left.
    """

    def memory_of(path: Path) -> Memory:
        return Memory(
            ledger,
            SentenceEmbedder(path),
            tmp_path,
            min_score=0.5,
            earlier=lambda maker: named(maker.name, [maker.path] if maker.path else []),
        )

    history(ledger, 40)
    memory_of(embedder_path).refresh()
    for path, before, after in ((second_embedder, 384, 128), (embedder_path, 128, 384)):
        memory = memory_of(path)
        assert recalled(memory, "At which place do puffins have nests?") == ["In burrows."]
        assert {len(vector) for vector in memory.contents().values()} == {before}
        memory.wait()
        assert recalled(memory, "At which place do puffins have nests?") == ["In burrows."]
        assert {len(vector) for vector in memory.contents().values()} == {after}
        assert memory.size == 82
