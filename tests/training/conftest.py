"""What tests of nights share: a ledger, and a model of two tiny layers with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.local import LocalEngine
from assistant.models import ModelFiles
from memory.ledger import Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A new ledger in memory."""
    opened = Ledger.in_memory()
    yield opened
    opened.close()


def save_tiny_model(folder: Path) -> None:
    """A Llama of two layers with random weights, and a tokenizer of single bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(["<pad>", "<end>", *alphabet])}
    bytes_ = Tokenizer(models.BPE(vocabulary, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "eos_token": "<end>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_, **special)
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(str(folder))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """A tiny model, quantised and unpacked as a night does it on a CPU."""
    # A second thread has nothing to do in products this small but to wait, and on a busy machine it waits for long.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    made = LocalEngine(ModelFiles("tiny", folder, "0" * 64), weights="unpacked")
    made.load()
    yield made
    made.close()
    torch.set_num_threads(threads)
