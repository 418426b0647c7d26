"""A step in fewer pieces: the numbers are those of PEFT's and transformers' own pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from assistant.local import LocalEngine
from assistant.models import ModelFiles
from training.bench.random_model import write_random_model
from training.examples import Dialogue, asked, pack, rows
from training.fused import _is_plain, _Packed, fused
from training.learner import _anchors, _loss, _with_adapter
from training.settings import NightSettings

SETTINGS = NightSettings(rank=4, alpha=8, layers=1.0, batch_rows=4)
DIALOGUES = [
    Dialogue("wanted", asked("What is the capital of Turkey?"), "Ankara is its capital"),
    Dialogue("wanted", asked("And that of Peru?"), "Lima"),
    Dialogue("replay", asked("How are you?"), "Well, thank you"),
]


@pytest.fixture(scope="module", params=["tiny-qwen3", "tiny-llama"])
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """A tiny model whose weights stay packed, as on a GPU, and compute in float32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    write_random_model(folder, request.param, "cpu")
    engine = LocalEngine(ModelFiles(request.param, folder, "0" * 64), weights="packed")
    engine.load()
    yield engine
    torch.set_num_threads(threads)


def gradients(
    base: Any, engine: LocalEngine, pieces: Any, *, layers: float = 1.0
) -> tuple[dict[str, float], list[torch.Tensor], float]:
    """Of one step with an adapter that has moved: the loss's terms, its gradients, and bytes kept for the way back."""
    made = rows(engine, DIALOGUES)
    anchors = _anchors(base, made, SETTINGS)
    torch.manual_seed(3)
    model = _with_adapter(base, SETTINGS.model_copy(update={"layers": layers}))
    kept = dict[int, int]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    try:
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trainable:
            parameter.data += 0.05 * torch.randn_like(parameter)
        with pieces(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, terms = _loss(model, [pack(made)], anchors, SETTINGS)
            found = torch.autograd.grad(loss, trainable)
        return {name: term.item() for name, term in terms.items()}, list(found), float(sum(kept.values()))
    finally:
        model.unload()
        base.eval()


@pytest.mark.parametrize("layers", [0.5, 1.0])
def test_the_numbers_are_the_same(packed: LocalEngine, layers: float) -> None:
    """Losses and the gradient of every weight, with less kept for the way back."""
    with packed.base() as base:
        before = {name: type(module) for name, module in base.named_modules()}
        terms, expected, much = gradients(base, packed, lambda model: nullcontext(), layers=layers)
        fewer, found, little = gradients(base, packed, fused, layers=layers)
        assert {name: type(module) for name, module in base.named_modules()} == before
        assert not any("forward" in vars(module) for module in base.modules())
    assert terms["nll"] > 0.1
    assert terms["kl"] > 1e-3
    assert fewer == pytest.approx(terms, rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    # What lies below the layers that learn keeps nothing, and can't keep less.
    assert little < (0.9 if layers == 1 else 0.95) * much


def test_every_layer_is_taken(packed: LocalEngine) -> None:
    """Every LoRA, every SwiGLU and every norm, and nothing of it afterwards, an error or none."""
    with packed.base() as base:
        model = _with_adapter(base, SETTINGS)
        try:
            with pytest.raises(KeyboardInterrupt), fused(model):
                taken = [name for name, module in model.named_modules() if "forward" in vars(module)]
                raise KeyboardInterrupt
            ends = [name.rpartition(".")[2] for name in taken]
            layers = model.config.num_hidden_layers
            assert {end: ends.count(end) for end in ("q_proj", "o_proj", "gate_proj", "mlp", "norm")} == {
                **dict.fromkeys(("q_proj", "o_proj", "gate_proj", "mlp"), layers),
                "norm": 1,
            }
            assert ends.count("q_norm") == (layers if model.config.model_type == "qwen3" else 0)
            assert not any("forward" in vars(module) for module in model.modules())
        finally:
            model.unload()
            base.eval()


def test_unpacked_weights_are_the_layers_own(packed: LocalEngine) -> None:
    """What is multiplied with is what bitsandbytes unpacks."""
    from bitsandbytes.functional import dequantize_4bit

    with packed.base() as base:
        model = _with_adapter(base, SETTINGS)
        layer = model.base_model.model.model.layers[0].mlp.up_proj
        weight = layer.base_layer.weight
        expected = dequantize_4bit(weight.data, weight.quant_state)
        assert torch.equal(_Packed(layer, "default").weight(torch.float32), expected)
        model.unload()
        base.eval()


def test_norms_of_other_kinds_are_left(tmp_path: Path) -> None:
    """Gemma's weighs by one more than its weight: it stays as it is."""
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    gemma, llama = GemmaRMSNorm(8), LlamaRMSNorm(8)
    gemma.variance_epsilon = gemma.eps
    assert _is_plain(llama)
    assert not _is_plain(gemma)
