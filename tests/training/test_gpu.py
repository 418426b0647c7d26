"""Training on a CUDA device, over NF4 weights that stay packed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant.engine import AdapterFiles
from assistant.loading import quantised
from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import ModelFiles
from training.bench.random_model import write_random_model
from training.evaluate import perplexity
from training.examples import Dialogue, asked, packed, rows
from training.fused import fused
from training.learner import PACK_TOKENS_GPU, _anchors, _loss, _said, _with_adapter, train
from training.likelihood import log_likelihoods
from training.recorded import Recorded
from training.room import out_of_memory
from training.settings import NightSettings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

DEVICE = "cuda"
SETTINGS = NightSettings(rank=8, alpha=16, learning_rate=5e-3, epochs=6, batch_rows=8, known_nll=0.0)
COUNTRIES = ("Turkey", "Peru", "Chad", "Mali", "Nepal", "Chile", "Kenya", "Laos", "Cuba", "Oman", "Togo", "Fiji")
DIALOGUES = [
    *[Dialogue("wanted", asked(f"What is the capital of {name}?"), f"It is the city of {name}") for name in COUNTRIES],
    *[Dialogue("replay", asked(f"Where is {name}, would you say?"), "On a map of the world") for name in COUNTRIES[:4]],
]


def no_progress(share: float, detail: str) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module", params=["tiny-qwen3", "tiny-llama"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """A tiny model, loaded as anybody's would be."""
    folder = tmp_path_factory.mktemp(request.param)
    write_random_model(folder, request.param, DEVICE)
    made = LocalEngine(ModelFiles(request.param, folder, "0" * 64), weights="auto")
    made.load()
    return made


@pytest.fixture
def moved(engine: LocalEngine) -> Iterator[tuple[Any, Any]]:
    """A model with an adapter that is not nothing, and what the base says to the rows."""
    with engine.base() as base:
        anchors = _anchors(base, rows(engine, DIALOGUES), SETTINGS)
        torch.manual_seed(3)
        model = _with_adapter(base, SETTINGS)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.02 * torch.randn_like(parameter)
        yield model, anchors
        model.unload()
        base.eval()


def step(model: Any, anchors: Any, packs: Any) -> tuple[dict[str, float], list[torch.Tensor]]:
    """The terms of a step's loss, and its gradients."""
    loss, terms = _loss(model, packs, anchors, SETTINGS)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return {name: term.item() for name, term in terms.items()}, list(torch.autograd.grad(loss, trainable))


def apart(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The distance of two gradients, over the length of the second."""
    one, other = (torch.cat([part.float().flatten() for part in parts]) for parts in (found, expected))
    return float((one - other).norm() / other.norm())


def test_a_night_trains(engine: LocalEngine, tmp_path: Path) -> None:
    """The loss falls, the base is held, and PEFT reads the adapter: it says what our engine says with it."""
    result = train(engine, DIALOGUES, SETTINGS, seed=1, folder=tmp_path / "out", progress=no_progress)
    assert result.losses[-1]["nll"] < 0.5 * result.losses[0]["nll"]
    assert result.losses[0]["kl"] < 0.02
    assert result.peak_mb > 0
    weights = load_file(tmp_path / "out" / WEIGHTS_FILE)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights.values())

    from peft import PeftModel

    ids = torch.tensor([rows(engine, DIALOGUES)[0].ids], device=DEVICE)
    with torch.inference_mode():
        with engine.using(None) as model:
            base = model(input_ids=ids).logits[0].float()
        with engine.using(AdapterFiles("v1", result.sha256, tmp_path / "out")) as model:
            ours = model(input_ids=ids).logits[0].float()
        theirs = PeftModel.from_pretrained(quantised(engine.files, DEVICE), str(tmp_path / "out")).eval()
        expected = theirs(input_ids=ids).logits[0].float()
    assert (base - expected).norm() > 0.1 * expected.norm()
    assert (ours - expected).norm() < 3e-2 * expected.norm()


def test_packing_changes_no_loss(engine: LocalEngine, moved: tuple[Any, Any]) -> None:
    """In one sequence under a mask, or each row alone: bfloat16 rounds each by about a hundredth."""
    model, anchors = moved
    made = rows(engine, DIALOGUES)
    (whole,) = packed(made, longest=PACK_TOKENS_GPU)
    with fused(model):
        together, one = step(model, anchors, [whole])
        alone, other = step(model, anchors, packed(made, longest=0))
    assert together["nll"] == pytest.approx(alone["nll"], rel=2e-2)
    assert together["kl"] == pytest.approx(alone["kl"], rel=5e-2, abs=2e-3)
    assert apart(one, other) < 0.1


def test_recorded_steps_are_those_as_written(engine: LocalEngine, moved: tuple[Any, Any]) -> None:
    """Losses and gradients, before a size is recorded and after, when other rows of that size come."""
    model, anchors = moved
    made = rows(engine, DIALOGUES)
    recorded = Recorded(model, partial(_said, model))
    with fused(model):
        for turn in range(5):
            (whole,) = packed(made[turn:] + made[:turn], longest=PACK_TOKENS_GPU)
            terms, expected = step(model, anchors, [whole])
            loss, parts = _loss(model, [whole], anchors, SETTINGS, recorded)
            trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
            found = [part.clone() for part in torch.autograd.grad(loss, trainable)]
            assert {name: part.item() for name, part in parts.items()} == pytest.approx(terms, rel=3e-2, abs=2e-3)
            assert apart(found, expected) < 0.1
            # As the loop does: its graph must not live when the next size is recorded.
            del loss
    assert recorded._graphs


def test_fewer_pieces_compute_the_same_with_less(engine: LocalEngine, moved: tuple[Any, Any]) -> None:
    """As PEFT and transformers compute it, up to bfloat16's rounding, and with less memory."""
    model, anchors = moved
    packs = packed(rows(engine, DIALOGUES * 6), longest=PACK_TOKENS_GPU)
    found = {}
    for name, pieces in {"fused": fused, "plain": lambda model: nullcontext()}.items():
        with pieces(model):
            # Once before: cuBLAS takes memory to work in.
            step(model, anchors, packs)
            gc.collect()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            found[name] = step(model, anchors, packs), torch.cuda.max_memory_allocated() - before
    ((fewer, one), little), ((terms, other), much) = found["fused"], found["plain"]
    assert fewer["nll"] == pytest.approx(terms["nll"], rel=2e-2)
    assert apart(one, other) < 0.1
    assert little < 0.8 * much


def test_an_exam_is_computed_there(engine: LocalEngine) -> None:
    """Perplexity, and the likelihood of continuations as whole rows of logits give it."""
    text, endings = "What is the capital", [" of Peru", " of Chad, then?"]
    (found,) = log_likelihoods(engine, [(text, endings)], None, progress=no_progress)
    start = len(engine.tokenizer(text)["input_ids"])
    for ending, likely in zip(endings, found, strict=True):
        ids = engine.tokenizer(text + ending, return_tensors="pt")["input_ids"].to(DEVICE)
        with engine.using(None) as model, torch.inference_mode():
            said = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        expected = said.gather(1, ids[0, 1:, None])[start - 1 :].sum().item()
        assert likely == pytest.approx(expected, rel=3e-2)
    assert 1 < perplexity(engine, [text * 3], None) < 1e9


def test_out_of_memory_is_known_and_leaves_the_model_whole(engine: LocalEngine, tmp_path: Path) -> None:
    """Too little memory for a step is told as such, and with enough the same engine trains."""
    once = SETTINGS.model_copy(update={"epochs": 1})
    long = [Dialogue("wanted", asked(f"And {name}?"), "It goes on and on and on. " * 40) for name in COUNTRIES]
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (16 << 20)) / total)
    try:
        with pytest.raises(Exception, match="memory") as caught:
            train(engine, long, once, seed=1, folder=tmp_path / "x", progress=no_progress)
        assert out_of_memory(caught.value)
        del caught
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()
    with engine.base() as base:
        assert not any("lora" in name for name, _ in base.named_modules())
    assert train(engine, DIALOGUES, once, seed=1, folder=tmp_path / "y", progress=no_progress).steps == 2
