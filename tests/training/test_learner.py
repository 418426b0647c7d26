"""Training on a model of two tiny layers with random weights: what must hold whatever the base is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import ModelFiles, sha256_of
from training.evaluate import WORST, perplexity, sit
from training.examples import Dialogue, asked
from training.learner import _logits, scale, train
from training.paper import Item
from training.settings import NightSettings
from training.teacher import Diverged, Trained

SETTINGS = NightSettings(rank=4, alpha=8, learning_rate=5e-3, epochs=4, batch_rows=4)
DIALOGUES = [
    Dialogue("wanted", asked("Turkey?"), "Ankara"),
    Dialogue("wanted", asked("Peru, please?"), "Lima"),
    Dialogue("replay", asked("Hello?"), "Hi"),
    Dialogue("replay", asked("How are you?"), "Well"),
    Dialogue("replay", asked("How am I?"), "Well too"),
]


def no_progress(share: float, detail: str) -> None:
    """Nobody looks."""


def save_tiny_model(folder: Path) -> None:
    """A Llama of two layers with random weights, and a tokenizer of single bytes."""
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
    """The tiny model, quantised and unpacked as a night does it on a CPU."""
    # A second thread has nothing to do in products this small but to wait, and on a busy machine it waits for long.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    made = LocalEngine(ModelFiles("tiny", folder, "0" * 64), weights="unpacked")
    made.load()
    yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """An adapter, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    return train(engine, DIALOGUES, SETTINGS, seed=1, folder=folder, progress=no_progress), folder


def logits(engine: LocalEngine, adapter: AdapterFiles | None) -> torch.Tensor:
    """(positions, vocabulary): what the model says all along a fixed text."""
    ids = engine.tokenizer("user: Turkey? Ankara", return_tensors="pt")["input_ids"]
    with engine.using(adapter) as model, torch.inference_mode():
        return model(input_ids=ids.to(model.device), use_cache=False).logits[0].float().cpu()


def test_the_loss_falls(trained: tuple[Trained, Path]) -> None:
    """What is wanted becomes likelier step by step, and the figures of the run are told."""
    result, folder = trained
    assert result.losses[-1][0] < 0.8 * result.losses[0][0]
    assert result.losses[0][1] == pytest.approx(0, abs=1e-3)
    assert (result.epochs, result.steps) == (4, 8)
    assert len(result.losses) == result.steps
    assert 0 <= result.padding < 1
    assert result.tokens > 0
    assert result.peak_mb > 0
    assert result.sha256 == sha256_of(folder / WEIGHTS_FILE)
    assert (folder / "adapter_config.json").is_file()


def test_same_seed_same_bytes(engine: LocalEngine, trained: tuple[Trained, Path], tmp_path: Path) -> None:
    """The same rows and seed give the same file to the bit, after whatever was done before; another seed does not."""
    torch.rand(3)
    again = train(engine, DIALOGUES, SETTINGS, seed=1, folder=tmp_path / "again", progress=no_progress)
    other = train(engine, DIALOGUES, SETTINGS, seed=2, folder=tmp_path / "other", progress=no_progress)
    assert again.sha256 == trained[0].sha256
    assert again.losses == trained[0].losses
    assert other.sha256 != trained[0].sha256


def test_the_engine_serves_what_was_trained(engine: LocalEngine, trained: tuple[Trained, Path]) -> None:
    """With the adapter on the wanted answer is likelier, and without it the base is what it was, before and after."""
    result, folder = trained
    files = AdapterFiles("v1", result.sha256, folder)
    base = logits(engine, None)
    with_adapter = logits(engine, files)
    assert not torch.allclose(base, with_adapter, atol=1e-2)
    assert torch.equal(logits(engine, None), base)
    assert torch.equal(logits(engine, files), with_adapter)


def test_the_base_has_no_trace_of_an_adapter(engine: LocalEngine, trained: tuple[Trained, Path]) -> None:
    """For training, the model is as it was loaded: no LoRA layer, nothing that learns, and the same logits."""
    result, folder = trained
    before = logits(engine, None)
    logits(engine, AdapterFiles("v1", result.sha256, folder))
    with engine.base() as base:
        assert not any("lora" in name for name, _ in base.named_modules())
        assert type(base).__name__ == "LlamaForCausalLM"
        assert not base.training
    assert torch.equal(logits(engine, None), before)


def test_scaling_scales_the_change(engine: LocalEngine, trained: tuple[Trained, Path], tmp_path: Path) -> None:
    """B is multiplied, A and the base are not; for a small factor the logits move in proportion."""
    result, folder = trained
    by = {factor: scale(folder, tmp_path / f"{factor}", factor) for factor in (1.0, 0.5, 0.02, 0.01)}
    whole, half = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / "0.5" / WEIGHTS_FILE)
    assert whole.keys() == half.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(half[name], weight * (0.5 if ".lora_B." in name else 1.0))
    assert all(by[factor] == sha256_of(tmp_path / f"{factor}" / WEIGHTS_FILE) for factor in by)
    assert sha256_of(folder / WEIGHTS_FILE) == result.sha256

    base = logits(engine, None)
    two, one = (
        logits(engine, AdapterFiles(f"at {factor}", by[factor], tmp_path / f"{factor}")) - base
        for factor in (0.02, 0.01)
    )
    assert (two - 2 * one).norm() < 0.05 * two.norm()


def test_nan_diverges(engine: LocalEngine, tmp_path: Path) -> None:
    """A loss that is no number ends training at once, leaves no file, and leaves the base whole."""
    before = logits(engine, None)
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(Diverged, match=r"the loss was (nan|inf) at step 2 of 8"):
        train(engine, DIALOGUES, wild, seed=1, folder=tmp_path / "wild", progress=no_progress)
    assert not (tmp_path / "wild").exists()
    with engine.base() as base:
        assert not any("lora" in name for name, _ in base.named_modules())
    assert torch.equal(logits(engine, None), before)


def test_a_stop_leaves_the_base_whole(engine: LocalEngine, tmp_path: Path) -> None:
    """An error from progress (a lost lease, Ctrl-C) ends training, and the same engine can train again."""

    def stop(share: float, detail: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(engine, DIALOGUES, SETTINGS, seed=1, folder=tmp_path / "x", progress=stop)
    once = SETTINGS.model_copy(update={"epochs": 1})
    assert train(engine, DIALOGUES, once, seed=1, folder=tmp_path / "y", progress=no_progress).steps == 2


@pytest.mark.parametrize("kind", ["wanted", "replay"])
def test_one_kind_alone(engine: LocalEngine, tmp_path: Path, kind: Any) -> None:
    """A night without replay, and one with nothing else, both train."""
    alone = [replace(dialogue, kind=kind) for dialogue in DIALOGUES[:3]]
    once = SETTINGS.model_copy(update={"epochs": 1})
    result = train(engine, alone, once, seed=1, folder=tmp_path, progress=no_progress)
    assert result.losses[0][0 if kind == "replay" else 1] == 0


def test_a_budget_drops_epochs(engine: LocalEngine, tmp_path: Path) -> None:
    """With next to no time one epoch is trained, not none and not all."""
    short = SETTINGS.model_copy(update={"max_minutes": 1e-6, "epochs": 50})
    assert train(engine, DIALOGUES, short, seed=1, folder=tmp_path, progress=no_progress).epochs == 1


def test_batching_changes_no_number(engine: LocalEngine) -> None:
    """Each row's logits in a padded batch behind a shared prefix are those that it has alone."""
    from training.examples import collate, rows

    made = rows(engine, DIALOGUES)
    batch = collate(made, pad=0)
    assert len(batch.prefix) > 5
    with engine.base() as model, torch.no_grad():
        together = _logits(model, batch)
        for i, row in enumerate(made):
            alone = model(input_ids=torch.tensor([row.ids], device=model.device), use_cache=False).logits[0]
            torch.testing.assert_close(
                together[i, batch.answer_positions(i)], alone[row.start - 1 : -1], atol=1e-4, rtol=1e-4
            )


def test_sitting_the_exam(engine: LocalEngine, trained: tuple[Trained, Path]) -> None:
    """Every question gets an answer and a mark, with the adapter named, and the base's perplexity is its own."""
    result, folder = trained
    paper = [Item("a", "tonight", asked("Turkey?"), "l1", "Ankara", "Istanbul"), Item("b", "control", asked("Hi?"))]
    paper[1] = replace(paper[1], check={"kind": "contains", "any": ["nothing says this"]})
    shares: list[float] = []
    exam = sit(
        engine,
        paper,
        AdapterFiles("v1", result.sha256, folder),
        answer_tokens=3,
        progress=lambda share, _: shares.append(share),
    )
    assert (exam.adapter, set(exam.answers), exam.right["b"]) == ("v1", {"a", "b"}, False)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_perplexity(engine: LocalEngine) -> None:
    """It is exp of torch's own mean loss over one text; and what is no number is a figure that fails any bound."""
    text = "A plain text."
    ids = engine.tokenizer(text, return_tensors="pt")["input_ids"]
    with engine.using(None) as model, torch.inference_mode():
        expected = model(input_ids=ids, labels=ids).loss.exp().item()
    assert perplexity(engine, [text], None) == pytest.approx(expected, rel=1e-4)
    with engine.base() as model:
        weight = model.lm_head.weight
        kept = weight.data.clone()
        weight.data.fill_(float("nan"))
    try:
        assert perplexity(engine, [text], None) == pytest.approx(torch.tensor(WORST, dtype=torch.float64).exp().item())
    finally:
        weight.data.copy_(kept)
