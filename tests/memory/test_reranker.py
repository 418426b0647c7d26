"""A cross-encoder for those who have one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from memory import Ledger, ModelUnavailable
from memory.recall import Memory
from memory.reranker import CrossEncoder
from memory.testing import HashingEmbedder, exchange


class Longest:
    """The longer a text, the better."""

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Characters."""
        return [float(len(text)) for text in texts]


def test_what_a_search_finds_is_put_into_its_order() -> None:
    """Its scores are the results' scores; a prompt's recollections keep their own order."""
    ledger = Ledger.in_memory()
    for n, question in enumerate(["blue whales", "blue whales that sing in the deep blue sea"], 1):
        ledger.add_exchange(exchange(f"e{n}", question=question, answer="yes"))
    memory = Memory(ledger, HashingEmbedder(), None, min_score=0.3, reranker=Longest())
    found = memory.search("blue whales", k=2)
    assert [r.exchange_id for r in found] == ["e2", "e1"]
    assert [r.score for r in found] == [46.0, 15.0]
    assert [r.exchange_id for r in memory.recall("blue whales", k=2)] == ["e1", "e2"]


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    """One line, and the network is not asked for what is a folder."""
    with pytest.raises(ModelUnavailable, match=r"the reranker .* can't be loaded") as refused:
        CrossEncoder(str(tmp_path)).scores("x", ["y"])
    assert "\n" not in str(refused.value)


def test_a_real_model_scores_pairs(tmp_path: Path) -> None:
    """A tiny one with random weights: one number a text, the same again, and another for another text."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "blue", "whale", "red"]))
    BertTokenizerFast(vocab_file=str(vocabulary), vocab=str(vocabulary)).save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=8, num_labels=1, **sizes)).save_pretrained(tmp_path)
    encoder = CrossEncoder(str(tmp_path))
    one, two, again = encoder.scores("blue whale", ["blue", "red", "blue"])
    assert one == pytest.approx(again, abs=1e-5)
    assert one != two
