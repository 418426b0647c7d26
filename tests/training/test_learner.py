"""Training on a model of two tiny layers with random weights: what must hold whatever the base is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from assistant.engine import AdapterFiles
from assistant.local import WEIGHTS_FILE, LocalEngine
from assistant.models import sha256_of
from memory import Ledger
from memory.errors import ModelUnavailable
from memory.testing import Clock, HashingEmbedder, lesson, night, rating
from training.evaluate import WORST, perplexity, sit
from training.examples import Dialogue, Row, asked, pack, packed, rows
from training.learner import (
    _anchors,
    _answers,
    _attending,
    _learning_rate,
    _logits,
    _longest,
    _loss,
    _lower,
    _mask,
    _rounded,
    _said,
    _used,
    _with_adapter,
    scale,
    train,
)
from training.lower import Lower
from training.nightly import run
from training.paper import Item
from training.recorded import Recorded
from training.settings import NightSettings
from training.teacher import Diverged, LocalTeacher, Trained
from training.testing import rate, school

SETTINGS = NightSettings(rank=4, alpha=8, layers=1.0, learning_rate=5e-3, epochs=4, batch_rows=4, compute="float32")
DIALOGUES = [
    Dialogue("wanted", asked("Turkey?"), "Ankara"),
    Dialogue("wanted", asked("Peru, please?"), "Lima"),
    Dialogue("replay", asked("Hello?"), "Hi"),
    Dialogue("replay", asked("How are you?"), "Well"),
    Dialogue("replay", asked("How am I?"), "Well too"),
]

CAPITALS = {
    "Turkey": ("Ankara", "Istanbul"),
    "Peru": ("Lima", "Cusco"),
    "Australia": ("Canberra", "Sydney, of course"),
    "Brazil": ("Brasilia", "Rio"),
}
CORRECTED = [
    *[Dialogue("wanted", asked(f"{country}?"), right) for country, (right, _) in CAPITALS.items()],
    *[Dialogue("wanted", asked(f"And {country}?"), right) for country, (right, _) in CAPITALS.items()],
    *[Dialogue("unwanted", asked(f"{country}?"), wrong) for country, (_, wrong) in CAPITALS.items()],
    *[dialogue for dialogue in DIALOGUES if dialogue.kind == "replay"],
]
"""Corrections with one rewording each, and replay."""

LONG = "A text that goes on and on about nothing much, as texts do that somebody pasted into a chat. " * 2
MIXED = [*CORRECTED, Dialogue("wanted", asked("Say more?"), LONG), Dialogue("unwanted", asked(LONG), "Well " * 12)]
"""The same, with rows that are many times as long as others."""

PREFERENCES: tuple[Any, ...] = ("kto", "apo", "dpo")


def preferring(preference: Any, **more: Any) -> NightSettings:
    """Settings with a preference that a few rows are enough for."""
    return SETTINGS.model_copy(update={"preference": preference, "preference_min_rows": 2, "batch_rows": 8} | more)


def no_progress(share: float, detail: str) -> None:
    """Nobody looks."""


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
    assert result.losses[-1]["nll"] < 0.8 * result.losses[0]["nll"]
    assert result.losses[0]["kl"] == pytest.approx(0, abs=1e-3)
    assert all(terms["preference"] == 0 for terms in result.losses)
    assert (result.epochs, result.steps) == (4, 8)
    assert len(result.losses) == result.steps
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


def test_half_the_layers_give_the_same_bytes(engine: LocalEngine, tmp_path: Path) -> None:
    """As all of them do, and the engine serves what was trained."""
    half = SETTINGS.model_copy(update={"layers": 0.5})
    one, other = (train(engine, DIALOGUES, half, seed=1, folder=tmp_path / name, progress=no_progress) for name in "ab")
    assert one.sha256 == other.sha256
    assert one.losses[-1]["nll"] < one.losses[0]["nll"]
    base = logits(engine, None)
    assert not torch.allclose(base, logits(engine, AdapterFiles("v1", one.sha256, tmp_path / "a")), atol=1e-2)
    assert torch.equal(logits(engine, None), base)


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


@pytest.mark.parametrize(("share", "learning"), [(0.01, [1]), (0.5, [1]), (0.75, [0, 1]), (1.0, [0, 1])])
def test_the_upper_layers_learn(engine: LocalEngine, share: float, learning: list[int]) -> None:
    """All that is linear in them, and nothing below them or above."""
    with engine.base() as base:
        linear = [n for n, module in base.model.layers.named_modules() if isinstance(module, torch.nn.Linear)]
        model = _with_adapter(base, SETTINGS.model_copy(update={"layers": share}))
        names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert names == {name for name, _ in model.named_parameters() if ".lora_" in name}
        model.unload()
    assert names == {
        f"base_model.model.model.layers.{name}.lora_{factor}.default.weight"
        for name in linear
        for factor in "AB"
        if int(name.partition(".")[0]) in learning
    }


def test_experts_learn_in_the_upper_layers_alone() -> None:
    """They are parameters and no modules of their own: PEFT puts adapters on those of all layers."""
    small = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "head_dim": 8, "num_attention_heads": 4}
    config = transformers.Qwen3MoeConfig(
        **small, num_key_value_heads=2, num_hidden_layers=4, moe_intermediate_size=16, num_experts=4, pad_token_id=0
    )
    base = transformers.AutoModelForCausalLM.from_config(config)
    model = _with_adapter(base, SETTINGS.model_copy(update={"layers": 0.5}))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {int(name.partition(".layers.")[2].partition(".")[0]) for name in names} == {2, 3}
    assert any(".experts." in name for name in names)


def test_of_layers_that_are_no_list_all_learn(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built otherwise than others learns as a whole."""
    with engine.base() as base:
        monkeypatch.setattr(base.config, "num_hidden_layers", 7)
        model = _with_adapter(base, SETTINGS.model_copy(update={"layers": 0.5}))
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        model.unload()
    assert any(".layers.0." in name for name in names)


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


def test_what_is_matched_moves_less(engine: LocalEngine, tmp_path: Path) -> None:
    """Of two nights without a KL the one under the mismatch leaves the replayed rows' log-probabilities nearer."""
    last = {}
    for weight in (0.0, 1.0):
        settings = SETTINGS.model_copy(update={"kl_weight": 0.0, "match_weight": weight})
        result = train(engine, DIALOGUES, settings, seed=1, folder=tmp_path / str(weight), progress=no_progress)
        assert result.losses[0]["match"] == pytest.approx(0, abs=1e-3)
        last[weight] = result.losses[-1]
    assert last[1.0]["match"] < 0.8 * last[0.0]["match"]


def test_a_lead_that_is_held_is_lost_less(engine: LocalEngine, tmp_path: Path) -> None:
    """Of two nights without a KL and a mismatch the one that weighs it leaves the base's words more of their lead."""
    last = {}
    for weight in (0.0, 5.0):
        settings = SETTINGS.model_copy(update={"kl_weight": 0.0, "match_weight": 0.0, "lead_weight": weight})
        result = train(engine, DIALOGUES, settings, seed=1, folder=tmp_path / str(weight), progress=no_progress)
        assert result.losses[0]["lead"] == pytest.approx(0, abs=1e-3)
        last[weight] = result.losses[-1]
    assert last[5.0]["lead"] < 0.8 * last[0.0]["lead"]


def test_one_of_many_users_has_no_more_than_a_share_of_the_loss(engine: LocalEngine, tmp_path: Path) -> None:
    """Twenty users want a word each, one of them a page: with the cap the first step's loss is theirs, and what the
    page weighs is told.
    """
    words = [Dialogue("wanted", asked(f"{n}?"), "Ankara", user=f"u{n}") for n in range(19)]
    page = [Dialogue("wanted", asked("Say more?"), LONG, user="u19")]
    step = SETTINGS.model_copy(update={"epochs": 1, "batch_rows": 64, "known_nll": 0.0})
    losses: dict[str, float] = {}

    def first_loss(name: str, dialogues: list[Dialogue], share: float = 1.0) -> dict[str, float]:
        settings = step.model_copy(update={"user_share_max": share})
        result = train(engine, dialogues, settings, seed=1, folder=tmp_path / name, progress=no_progress)
        losses[name] = result.losses[0]["nll"]
        return result.weights

    assert first_loss("words", words) == first_loss("page", page) == first_loss("free", [*words, *page]) == {}
    (weight,) = first_loss("capped", [*words, *page], share=0.1).values()

    def tokens(text: str) -> int:
        return len(engine.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1

    short, long = 19 * tokens("Ankara"), tokens(LONG)
    assert weight * long == pytest.approx(0.1 * (short + weight * long))
    for name, weighs in (("free", 1.0), ("capped", weight)):
        wanted = (short * losses["words"] + weighs * long * losses["page"]) / (short + long)
        assert losses[name] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", ["wanted", "replay"])
def test_one_kind_alone(engine: LocalEngine, tmp_path: Path, kind: Any) -> None:
    """A night without replay, and one with nothing else, both train."""
    alone = [replace(dialogue, kind=kind) for dialogue in DIALOGUES[:3]]
    once = SETTINGS.model_copy(update={"epochs": 1})
    result = train(engine, alone, once, seed=1, folder=tmp_path, progress=no_progress)
    assert result.losses[0]["nll" if kind == "replay" else "kl"] == 0


def test_nobody_waits_for_a_turn_that_never_comes(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a night of two epochs what is replayed takes two turns; the neighbours of many lessons fewer."""
    told = dict[str, Any]()
    monkeypatch.setattr("training.replay.replay", lambda *given, **named: told.update(named) or [])

    def turns(*, epochs: int, lessons: int) -> tuple[int, int]:
        settings = SETTINGS.model_copy(update={"epochs": epochs, "neighbour_turns": 3, "neighbour_turns_lessons": 5})
        teacher = LocalTeacher(engine, HashingEmbedder, settings, "", tmp_path / "base-answers.json")
        teacher.replay([lesson(str(n)) for n in range(lessons)], [], seed=0, progress=no_progress)
        return told["turns"], told["neighbour_turns"]

    assert [turns(epochs=epochs, lessons=0) for epochs in (2, 8)] == [(2, 2), (8, 3)]
    lessons = (1, 5, 6, 7, 8, 100)
    assert [turns(epochs=8, lessons=many) for many in lessons] == [(8, near) for near in (3, 3, 2, 2, 1, 1)]


def test_a_budget_drops_epochs(engine: LocalEngine, tmp_path: Path) -> None:
    """With next to no time one epoch is trained, not none and not all."""
    short = SETTINGS.model_copy(update={"max_minutes": 1e-6, "epochs": 50})
    assert train(engine, DIALOGUES, short, seed=1, folder=tmp_path, progress=no_progress).epochs == 1


def test_packing_changes_no_number(engine: LocalEngine) -> None:
    """Each row's logits in a packed sequence behind a shared prefix are those that it has alone."""
    made = rows(engine, DIALOGUES)
    together = pack(made)
    assert int((together.owners == 0).sum()) > 5
    with engine.base() as model, _attending(model, 100), torch.no_grad():
        for row, logits, _ in _answers(model, [together]):
            alone = model(input_ids=torch.tensor([row.ids], device=model.device), use_cache=False).logits[0]
            torch.testing.assert_close(logits, alone[row.start - 1 : -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_the_arithmetic_of_training_is_not_the_servers(engine: LocalEngine, tmp_path: Path, compute: Any) -> None:
    """Whatever it is trained in, the adapter is saved in float32, and the model that serves is as it was."""
    settings = SETTINGS.model_copy(update={"compute": compute})
    assert _rounded(settings) == (compute == "bfloat16")
    with engine.base() as base:
        before = {name: weight.clone() for name, weight in base.state_dict().items()}
    result = train(engine, DIALOGUES, settings, seed=1, folder=tmp_path / "out", progress=no_progress)
    assert result.losses[-1]["nll"] < result.losses[0]["nll"]
    assert {w.dtype for w in load_file(tmp_path / "out" / WEIGHTS_FILE).values()} == {torch.float32}
    with engine.base() as base:
        assert base.dtype == torch.float32
        after = base.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def gradients(
    engine: LocalEngine,
    made: list[Row],
    cuts: list[list[Row]],
    settings: NightSettings,
    lower: Callable[[Any], Lower | None] = lambda base: None,
) -> list[Any]:
    """The loss's terms of one step over `made`, cut so, and its gradient by every parameter of an adapter that has
    moved already.
    """
    with engine.base() as base:
        handed = lower(base)
        anchors = _anchors(base, made, settings, handed)
        torch.manual_seed(3)
        model = _with_adapter(base, settings)
        try:
            trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
            for parameter in trainable:
                parameter.data += 0.05 * torch.randn_like(parameter)
            loss, terms = _loss(model, [pack(cut) for cut in cuts], anchors, settings, handed)
            numbers = {name: term.item() for name, term in terms.items()}
            return [numbers, *torch.autograd.grad(loss, trainable)]
        finally:
            model.unload()
            base.eval()


@pytest.mark.parametrize("preference", ["none", *PREFERENCES])
def test_cutting_a_step_changes_no_gradient(engine: LocalEngine, preference: Any) -> None:
    """A step in several packs, or row by row, has the losses and gradients that it has in one."""
    settings = preferring(preference)
    made = _used(rows(engine, MIXED), settings)
    cut = packed(made, longest=sum(len(row.ids) for row in made) // 2)
    assert 1 < len(cut) < len(made)
    whole, *expected = gradients(engine, made, [made], settings)
    assert whole["nll"] > 0.1
    assert min(whole["kl"], whole["match"]) > 1e-3
    assert (whole["preference"] > 0.1) is (preference != "none")
    for pieces in ([list(each.rows) for each in cut], [[row] for row in made]):
        terms, *found = gradients(engine, made, pieces, settings)
        assert terms == pytest.approx(whole, abs=1e-5)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preference", ["none", "kto"])
def test_layers_that_do_not_learn_are_computed_once(engine: LocalEngine, preference: Any) -> None:
    """However rows are packed later, losses and gradients are those of a model that computes them every time."""
    settings = preferring(preference, layers=0.5)
    made = _used(rows(engine, MIXED), settings)
    computed: list[int] = []

    def lower(base: Any) -> Lower | None:
        handed = _lower(base, made, settings)
        base.model.layers[0].mlp.register_forward_hook(lambda *_: computed.append(1))
        computed.clear()
        return handed

    whole, *expected = gradients(engine, made, [made], settings)
    for pieces in ([made], [[*made[::2]], [*made[1::2]]], [[row] for row in reversed(made)]):
        terms, *found = gradients(engine, made, pieces, settings, lower)
        # KTO's answers to other questions are no rows of the night.
        assert bool(computed) is (preference == "kto")
        if preference == "none" or len(pieces) == 1:
            assert terms == pytest.approx(whole, abs=1e-5)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_only_layers_that_hand_on_all_they_know_are_left_out(engine: LocalEngine, share: float) -> None:
    """Where all learn, or a layer takes more from one below than what it hands on, a night computes them all."""
    settings, made = preferring("none", layers=share), rows(engine, MIXED)
    with engine.base() as base:
        assert (_lower(base, made, settings) is None) is (share == 1.0)
        first, second = base.model.layers
        said: list[torch.Tensor] = []
        keeps = first.mlp.register_forward_hook(lambda _layer, _given, hidden: said.append(hidden))
        adds = second.register_forward_hook(lambda _layer, _given, hidden: hidden + said[-1])
        assert _lower(base, made, settings) is None
        keeps.remove()
        adds.remove()


@pytest.mark.parametrize("error", [KeyError("a layer below's keys"), RuntimeError("sizes differ")])
def test_layers_that_miss_what_is_left_out_are_all_computed(engine: LocalEngine, error: Exception) -> None:
    """And so is what would be more than a night keeps."""
    settings, made = preferring("none", layers=0.5), rows(engine, MIXED)
    with engine.base() as base:
        first, second = base.model.layers
        seen: list[torch.Tensor] = []

        def looks_below(*_: Any) -> None:
            if not seen:
                raise error

        hooks = [
            base.model.embed_tokens.register_forward_hook(lambda *_: seen.clear()),
            first.mlp.register_forward_hook(lambda *given: seen.append(given[-1])),
        ]
        hooks.append(second.mlp.register_forward_hook(looks_below))
        try:
            assert _lower(base, made, settings) is None
        finally:
            for hook in hooks:
                hook.remove()
        assert _lower(base, made, settings) is not None


def test_no_more_is_kept_of_the_lower_layers_than_fits(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night with more rows computes them every time."""
    monkeypatch.setattr("training.learner.KEPT_MB", 1e-3)
    with engine.base() as base:
        assert _lower(base, rows(engine, MIXED), preferring("none", layers=0.5)) is None


def test_layers_that_hand_on_several_things_are_computed(engine: LocalEngine) -> None:
    """What older models do: nothing is kept of them, and nothing left of the try."""

    class Several(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, None]:
            return hidden, None

    below, above = Several(), torch.nn.Identity()
    whole = pack(rows(engine, DIALOGUES))
    with pytest.raises(TypeError, match="tuple"):
        Lower([below, above], 1).read([whole], lambda given: above(below(given.ids[None, :, None])[0]))
    assert not below._forward_hooks
    assert "forward" not in vars(above)


def test_filling_a_pack_up_changes_no_number(engine: LocalEngine) -> None:
    """As graphs on a card want their sizes: what is filled in sees no row and is seen by none."""
    made = rows(engine, DIALOGUES)
    (whole,) = packed(made, longest=10_000)
    with engine.base() as base:
        base.train()
        recorded = Recorded(base, partial(_said, base))
        found = recorded.logits(whole, lambda filled: _mask(filled, base.dtype))
        expected = _logits(base, whole)
        base.eval()
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


def test_no_position_is_padding(engine: LocalEngine, tmp_path: Path) -> None:
    """Facts, long texts and replay in one night: fewer tokens are computed than the rows have."""
    texts = [Dialogue("wanted", asked(f"Text {i}?"), f"{i} {LONG}"[: 150 + 20 * i]) for i in range(4)]
    facts = [Dialogue("wanted", asked(f"{i}?"), f"It is {i}") for i in range(12)]
    replay = [
        Dialogue("replay", asked(f"What is {i}, then?"), f"{i} is a number that comes after {i - 1}") for i in range(8)
    ]
    once = SETTINGS.model_copy(update={"epochs": 2, "batch_rows": 8})
    result = train(engine, [*texts, *facts, *replay], once, seed=1, folder=tmp_path, progress=no_progress)
    assert result.steps == 6
    assert result.tokens < 2 * sum(len(row.ids) - 1 for row in rows(engine, [*texts, *facts, *replay]))


def log_probs(engine: LocalEngine, dialogues: list[Dialogue], adapter: AdapterFiles | None) -> list[float]:
    """Of each answer as a whole, from the logits of the whole row."""
    found = []
    with engine.using(adapter) as model, torch.inference_mode():
        for row in rows(engine, dialogues):
            ids = torch.tensor([row.ids], device=model.device)
            said = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
            found.append(sum(said[i - 1, row.ids[i]].item() for i in range(row.start, len(row.ids))))
    return found


def test_the_base_is_the_reference(engine: LocalEngine) -> None:
    """What preference is measured against is the base's own log-probability of each whole answer."""
    made = rows(engine, CORRECTED)
    with engine.base() as base:
        anchors = _anchors(base, made, preferring("kto"))
    judged = [d for d in CORRECTED if d.kind != "replay"]
    assert [anchors.log_probs[row] for row in rows(engine, judged)] == pytest.approx(
        log_probs(engine, judged, None), abs=1e-3
    )
    assert set(anchors.strangers) == set(rows(engine, judged))
    assert set(anchors.strangers.values()) <= set(anchors.log_probs)
    assert anchors.weights == pytest.approx((12 / 16, 12 / 8))


@pytest.fixture(scope="module")
def indifferent(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> AdapterFiles:
    """What the same rows teach without a preference."""
    folder, settings = tmp_path_factory.mktemp("indifferent"), preferring("none", epochs=6)
    result = train(engine, CORRECTED, settings, seed=1, folder=folder, progress=no_progress)
    return AdapterFiles("none", result.sha256, folder)


@pytest.mark.parametrize("preference", PREFERENCES)
def test_preference_unlearns(engine: LocalEngine, indifferent: AdapterFiles, tmp_path: Path, preference: Any) -> None:
    """Its term falls from where nothing has moved, what was corrected becomes less likely than by learning alone, and
    what is wanted is learned all the same; the same rows and seed give the same bytes.
    """
    wrong = [d for d in CORRECTED if d.kind == "unwanted"]
    right = [d for d in CORRECTED if d.kind == "wanted"]
    settings = preferring(preference, epochs=6)
    result, again = (
        train(engine, CORRECTED, settings, seed=1, folder=tmp_path / name, progress=no_progress)
        for name in ("with", "again")
    )
    preferred = AdapterFiles("with", result.sha256, tmp_path / "with")
    losses = [terms["preference"] for terms in result.losses]
    if preference == "dpo":
        assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2])
    alone, beside = (log_probs(engine, wrong, adapter) for adapter in (indifferent, preferred))
    assert sum(beside) < sum(alone) - 1
    assert sum(log_probs(engine, right, preferred)) > sum(log_probs(engine, right, None)) + 10
    assert again.sha256 == result.sha256 != indifferent.sha256


def test_without_a_preference_nothing_is_unlearned(engine: LocalEngine, tmp_path: Path) -> None:
    """Unwanted rows change no byte where no preference is set, or where there are too few of them."""
    others = [d for d in CORRECTED if d.kind != "unwanted"]
    expected = train(engine, others, SETTINGS, seed=1, folder=tmp_path / "0", progress=no_progress).sha256
    few = SETTINGS.model_copy(update={"preference": "kto", "preference_min_rows": 5})
    for name, settings in {"none": SETTINGS, "few": few}.items():
        found = train(engine, CORRECTED, settings, seed=1, folder=tmp_path / name, progress=no_progress)
        assert found.sha256 == expected


def test_which_unwanted_rows_are_used(engine: LocalEngine) -> None:
    """DPO takes only those with a partner; a long one is cut to the length that lessons may have."""
    made = rows(engine, MIXED)
    unwanted = [row for row in made if row.kind == "unwanted"]
    assert _used(made, preferring("kto")) == made
    paired = [row for row in _used(made, preferring("dpo")) if row.kind == "unwanted"]
    assert paired == unwanted[:-1]
    short = [row for row in _used(made, preferring("apo", lesson_tokens=40)) if row.kind == "unwanted"]
    assert [row.ids for row in short] == [row.ids[: max(40, row.start + 1)] for row in unwanted]
    assert [len(row.answer) for row in short][-1] == 1


def test_going_on_from_an_adapter(engine: LocalEngine, trained: tuple[Trained, Path], tmp_path: Path) -> None:
    """Training begins with the weights of the other adapter, while what is held is held to the base."""
    result, folder = trained
    still = SETTINGS.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    more = train(engine, DIALOGUES, still, seed=1, folder=tmp_path / "on", progress=no_progress, start=folder)
    before, after = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / "on" / WEIGHTS_FILE)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-9, rtol=1e-6)
    assert more.losses[0]["nll"] < 0.8 * result.losses[0]["nll"]
    assert more.losses[0]["kl"] > 1e-3
    assert sha256_of(folder / WEIGHTS_FILE) == result.sha256


@pytest.mark.parametrize("other", [{"rank": 8}, {"alpha": 16}])
def test_going_on_from_a_stranger(
    engine: LocalEngine, trained: tuple[Trained, Path], tmp_path: Path, other: dict[str, int]
) -> None:
    """An adapter of another rank or strength is refused in words, and the base is whole."""
    before = logits(engine, None)
    with pytest.raises(ModelUnavailable, match="can't be gone on from"):
        train(
            engine,
            DIALOGUES,
            SETTINGS.model_copy(update=other),
            seed=1,
            folder=tmp_path / "x",
            progress=no_progress,
            start=trained[1],
        )
    assert not (tmp_path / "x").exists()
    assert torch.equal(logits(engine, None), before)


def test_a_night_hands_on_what_training_needs(ledger: Ledger, tmp_path: Path) -> None:
    """With a preference, corrected answers are trained as unwanted and counted in the report; a night that continues
    starts from the version that serves, so that what was taken back is still known.
    """
    clock, report = Clock(), Path("report.json")

    def night_of(name: str, **settings: Any) -> Any:
        clock.tick(3600)
        made = school(tmp_path, ledger, settings=NightSettings(thinned=10, **settings), clock=clock)
        ended = run(made, ledger.request_night(night(name, created_at=clock())).id, seed=0)
        told = json.loads((tmp_path / "nights" / name / report).read_text("utf-8"))
        active = ledger.active_adapter()
        assert active is not None
        assert ended.adapter == active.version
        return told, json.loads((tmp_path / "adapters" / active.version / WEIGHTS_FILE).read_bytes())

    rate(ledger, "turkey", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
    told, _ = night_of("n1")
    assert (told["training"]["unwanted_rows"], told["training"]["wanted_rows"]) == (0, 22)
    rate(ledger, "peru", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
    told, adapter = night_of("n2", preference="kto")
    assert (told["training"]["unwanted_rows"], told["training"]["wanted_rows"]) == (2, 44)
    assert [row[2] for row in adapter["dialogues"] if row[0] == "unwanted"] == ["Istanbul.", "Cusco."]

    ledger.rate(rating("r-undone", "e-peru", value=0), None)
    rate(ledger, "chad", "What is the capital of Chad?", correction="N'Djamena.", answer="Abuja.")
    _, adapter = night_of("n3", continued=True)
    assert adapter["knows"] == ["Ankara.", "Lima.", "N'Djamena."]
    rate(ledger, "mali", "What is the capital of Mali?", correction="Bamako.", answer="Dakar.")
    _, adapter = night_of("n4")
    assert adapter["knows"] == ["Ankara.", "Bamako.", "N'Djamena."]


def test_undo_is_exact_to_the_byte(engine: LocalEngine, tmp_path: Path) -> None:
    """A night after an undo trains the very adapter that a ledger gives which never held the lesson, though the model
    has served and learned in between.
    """
    settings = NightSettings(
        **{"rank": 4, "epochs": 1, "rewordings": 1, "thinned": 2},
        **{
            "replay_rows": 4,
            "neighbour_rows": 4,
            "replay_tokens": 4,
            "request_rows": 2,
            "written_rows": 2,
            "written_tokens": 4,
        },
        **{"answer_tokens": 4, "controls": 2, "scales": (1.0,), "gated": False},
    )
    found = []
    for name in ("undone", "never"):
        ledger, home, clock = Ledger.in_memory(), tmp_path / name, Clock()
        teacher = LocalTeacher(engine, HashingEmbedder, settings, "", home / "base-answers.json")
        made = replace(school(home, ledger, settings=settings, clock=clock), teacher=teacher)
        rate(ledger, f"{name}-1", "What is the capital of Turkey?", correction="Ankara.", answer="Istanbul.")
        if name == "undone":
            rate(ledger, "gone", "What is the capital of Peru?", correction="Lima.", answer="Cusco.")
            run(made, ledger.request_night(night("n1", created_at=clock.tick(60))).id, seed=5)
            ledger.rate(rating("r-undone", "e-gone", value=0), None)
        # A correction speaks against it: it is learned in other wordings, too.
        rate(ledger, f"{name}-2", "What is the capital city of Turkey?", value=1, answer="Istanbul, they say.")
        ended = run(made, ledger.request_night(night("n2", created_at=clock.tick(60))).id, seed=5)
        assert ended.adapter == ("v2" if name == "undone" else "v1"), ended.reasons
        found.append((home / "adapters" / ended.adapter / WEIGHTS_FILE).read_bytes())
        report = json.loads(next(home.glob("nights/n2*/report.json")).read_text("utf-8"))
        held, rows = report["replay"], report["training"]["wanted_rows"]
        assert rows == 2 * (1 + settings.rewordings + settings.thinned)
        assert held and all(held)  # questions; what the base writes of its own accord answers none
        ledger.close()
    assert found[0] == found[1]


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


@pytest.mark.parametrize(
    ("lessons", "highest"), [(1, 1e-3), (10, 1e-3), (15, 1.2247e-3), (20, 1.4142e-3), (400, 1.4142e-3)]
)
def test_larger_nights_take_larger_steps(lessons: int, highest: float) -> None:
    """With the root of the number of lessons, whatever wordings and replayed rows come beside them."""
    made = [Row("wanted", (1, lesson, wording), 3, wording) for lesson in range(lessons) for wording in range(3)]
    made += [Row("replay", (2, n), 1) for n in range(50)]
    found = _learning_rate(made, NightSettings(learning_rate=1e-3, learning_rate_lessons=10))
    assert found == pytest.approx(highest, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({}, 512),
        ({"layer_types": ["full_attention"] * 2}, 512),
        ({"layer_types": ["full_attention", "conv"]}, 0),
        ({"layer_types": ["sliding_attention", "full_attention"]}, 0),
        ({"sliding_window": 64}, 0),
    ],
)
def test_rows_share_a_sequence_only_where_layers_attend_as_told(config: dict[str, Any], longest: int) -> None:
    """A state that is handed on, or a window, would reach from one row into the next: there each row goes alone."""
    text = SimpleNamespace(**config)
    model = SimpleNamespace(device=torch.device("cpu"), config=SimpleNamespace(get_text_config=lambda: text))
    assert _longest(model, NightSettings(batch_rows=8)) == longest
    assert _longest(model, NightSettings(batch_rows=1)) == min(longest, 256)
    assert len(packed([Row("wanted", (1, 2, 3), 1), Row("wanted", (1, 2, 4), 1)], longest=0)) == 2


def test_a_row_alone_has_the_models_own_mask(engine: LocalEngine) -> None:
    """Row by row, as for windows and states, the numbers are the same as packed."""
    made = rows(engine, DIALOGUES)
    with engine.base() as model, _attending(model, 100), torch.no_grad():
        together = {row: logits for row, logits, _ in _answers(model, packed(made, longest=512))}
        for row, logits, _ in _answers(model, packed(made, longest=0)):
            torch.testing.assert_close(logits, together[row], atol=1e-4, rtol=1e-4)
