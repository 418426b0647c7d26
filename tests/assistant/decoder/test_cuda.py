"""The decoder on a card beside transformers and PEFT: tiny random models, real NF4.

Where there is no card, Triton's interpreter computes the kernels, one program after another, on the CPU: the same
functions, but for the table of NF4, which is read there and not picked by instructions. Graphs are recorded on a card
alone.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from assistant.decoder.cuda.memory import Memory
from assistant.engine import AdapterFiles, Sampling
from assistant.local import LocalEngine
from tests.assistant.decoder.test_decoder import build
from tests.assistant.test_local import answer, dialogue, save_adapter

ON_A_CARD = torch.cuda.is_available()
if not ON_A_CARD:
    # Read when the kernels are.
    os.environ["TRITON_INTERPRET"] = "1"

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
    *([pytest.mark.gpu] if ON_A_CARD else []),
]

OFF = 0.1
"""How far logits may be from float32's: activations are rounded to bfloat16, which large random weights amplify."""

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3, with norms of heads of another size": (
        "Qwen3",
        {"hidden_size": 128, "head_dim": 64, "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "Qwen2, with biases": (
        "Qwen2",
        {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1},
    ),
    "Llama, three heads to a key, an own head": (
        "Llama",
        {
            "hidden_size": 192,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "num_hidden_layers": 1,
            "tie_word_embeddings": False,
        },
    ),
}


SIZES = (1, 8, 16, 128) if ON_A_CARD else (1, 8, 16)
"""Rows of the passes: the interpreter computes each row of the largest, wanted or not."""


@dataclass(frozen=True)
class Case:
    """A model, what computes it here, two versions, and logits by transformers in float32."""

    engine: LocalEngine
    runner: Any
    adapters: list[AdapterFiles]
    ids: list[int]
    expected: dict[int | None, Any]
    """By version: (tokens, vocabulary)."""


@pytest.fixture(scope="module", autouse=True)
def interpreted() -> Iterator[None]:
    """Triton's interpreter with numpy of today, which makes no number of an array of one."""
    if ON_A_CARD:
        yield
        return
    from triton.runtime import interpreter

    before = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        before(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch
    yield
    interpreter._patch_lang_tensor = before


class Card(Memory):
    """Says that `left` bytes are free, and gives no more to one tensor than `gives`, which others have left of it."""

    def __init__(self, left: int, gives: int | None = None) -> None:
        super().__init__(torch.device("cuda" if ON_A_CARD else "cpu"))
        self.left, self.gives = left, left if gives is None else gives

    def free(self) -> int:
        return self.left

    def zeros(self, *sizes: int, dtype: torch.dtype) -> torch.Tensor:
        if math.prod(sizes) * dtype.itemsize > self.gives:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().zeros(*sizes, dtype=dtype)


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One of KINDS. Its weights are read before it computes: a product on some CPUs packs them anew."""
    from peft import PeftModel

    from assistant.decoder.cuda import weights
    from assistant.decoder.cuda.runner import CudaRunner
    from assistant.loading import quantised

    kind, more = KINDS[request.param]
    folder = tmp_path_factory.mktemp("card")
    files = build(kind, folder / "model", **more)
    adapters = [save_adapter(files.path, folder / f"v{seed}", seed) for seed in (1, 2)]
    engine = LocalEngine(files, weights="unpacked")
    model = quantised(files, "cuda" if ON_A_CARD else "cpu")
    card = None if ON_A_CARD else Card(2**30)
    runner = CudaRunner(weights.read(model), blocks=12, sizes=SIZES, records=ON_A_CARD, card=card)
    ids = [(11 * i * i + 5) % 120 for i in range(24)]
    exact = unpacked(model)
    expected = {None: _logits(exact, ids)}
    for version, adapter in enumerate(adapters):
        with_it = PeftModel.from_pretrained(exact, str(adapter.path)).eval()
        expected[version] = _logits(with_it, ids)
        exact = with_it.unload()
    return Case(engine, runner, adapters, ids, expected)


def unpacked(model: Any) -> Any:
    """The same weights in float32 on the CPU: what is right, they say. Quantised there they would be others: on a card
    they are rounded to bfloat16 first.
    """
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        held = {
            name: dequantize_4bit(p.data, p.quant_state) if getattr(p, "quant_state", None) else p.data
            for name, p in model.named_parameters()
        }
        config = copy.deepcopy(model.config)
        del config.quantization_config
        exact = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        missing, unknown = exact.load_state_dict({name: p.float().cpu() for name, p in held.items()}, strict=False)
    assert not unknown and set(missing) <= {"lm_head.weight"}
    return exact.eval()


def _logits(model: Any, ids: Sequence[int]) -> Any:
    """(tokens, vocabulary), by transformers."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].float().numpy()


def rows(case: Case, version: int | None, start: int, end: int, blocks: Sequence[int]) -> list[Any]:
    """Of the case's tokens, all wanted."""
    from assistant.decoder.rows import Row

    adapter = None if version is None else case.runner.adapter(case.adapters[version].path)
    return [Row(case.ids[i], i, list(blocks), adapter, True) for i in range(start, end)]


def off(found: Any, expected: Any) -> float:
    """The length of the difference, over that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def found_in_pieces(case: Case, version: int | None, of: int) -> Any:
    """(tokens, vocabulary): the case's logits, `of` tokens at a time."""
    pieces = [
        case.runner.logits(rows(case, version, start, min(24, start + of), [5, 2])).cpu().numpy().copy()
        for start in range(0, 24, of)
    ]
    return np.concatenate(pieces)


def forget(case: Case) -> None:
    """All that was read, and what passes work on."""
    case.runner.forget()
    case.runner.reserve(12)


def test_logits_are_those_of_transformers(case: Case) -> None:
    """With an adapter, by the digits: a prompt that is cut inside a block and read on from there."""
    assert off(found_in_pieces(case, 0, 7), case.expected[0]) <= OFF


def test_many_rows_give_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """By weights that are unpacked first, as passes of more than 64 rows have it."""
    if ON_A_CARD:
        monkeypatch.setattr(case.runner, "_sizes", (128,))
    else:
        monkeypatch.setattr("assistant.decoder.cuda.forward.FEW", 8)
        forget(case)
    assert off(found_in_pieces(case, 0, 12), case.expected[0]) <= OFF
    forget(case)


def test_versions_in_one_pass_are_kept_apart(case: Case) -> None:
    """The base and two versions, one row each, each after what it has read itself."""
    parts = [(None, [5, 2]), (0, [0, 1]), (1, [3, 4])]
    for version, blocks in parts:
        for start in (0, 12):
            case.runner.logits(rows(case, version, start, min(23, start + 12), blocks))
    last = [row for version, blocks in parts for row in rows(case, version, 23, 24, blocks)]
    found = case.runner.logits(last).cpu().numpy()
    for place, (version, _) in enumerate(parts):
        assert off(found[place], case.expected[version][23]) <= OFF
        others = [other for other, _ in parts if other != version]
        assert all(off(found[place], case.expected[other][23]) > OFF for other in others)


def test_a_block_that_is_copied_serves(case: Case) -> None:
    """Its reader goes on from it as from the one that was read."""
    case.runner.logits(rows(case, None, 0, 16, [5, 2]))
    case.runner.copy(5, 9)
    found = case.runner.logits(rows(case, None, 16, 24, [9, 7])).cpu().numpy()
    assert off(found, case.expected[None][16:]) <= OFF


def test_the_likeliest_is_chosen_and_others_are_drawn(case: Case) -> None:
    """Greedily the largest logit; a nucleus of nothing is the same; a hot draw follows its dice."""
    from assistant.decoder.rows import Pick

    given = rows(case, None, 0, 4, [5, 2])
    dice = [np.random.default_rng(seed) for seed in (1, 1)]
    greedy = case.runner.next_tokens(given, [Pick(Sampling(4), dice[0])] * 4)
    assert greedy == [[token] for token in case.runner.logits(given).argmax(-1).tolist()]
    cold = Sampling(4, temperature=1.0, top_p=1e-320)
    assert case.runner.next_tokens(given, [Pick(cold, dice[0])] * 4) == greedy
    hot = Sampling(4, temperature=3.0)
    drawn = [case.runner.next_tokens(given, [Pick(hot, np.random.default_rng(seed))] * 4) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_passes_that_are_begun_ahead_are_those_one_by_one(case: Case) -> None:
    """Three tokens of each of two conversations, at different places."""
    from assistant.decoder.rows import Pick, Row

    greedy = Pick(Sampling(4), np.random.default_rng(0))
    at = {(3, 4): 14, (5, 2): 3}
    for blocks in at:
        case.runner.logits(rows(case, None, 0, 12, blocks))
        case.runner.logits(rows(case, None, 12, 16, blocks))
    begun = [Row(case.ids[place], place, list(blocks), None, True) for blocks, place in at.items()]
    ahead = case.runner.next_tokens(begun, [greedy] * 2, 3)
    last, said = begun, [[], []]
    for _ in range(3):
        found = case.runner.next_tokens(last, [greedy] * 2)
        last = [Row(token, row.position + 1, row.blocks, None, True) for row, (token,) in zip(last, found, strict=True)]
        said = [[*before, token] for before, (token,) in zip(said, found, strict=True)]
    assert ahead == said


def test_draws_are_those_of_the_decoder_on_a_cpu() -> None:
    """The same dice, the same token, for flat logits and for steep ones."""
    from assistant.decoder.choice import choose
    from assistant.decoder.cuda.drawing import draw

    random = np.random.default_rng(3)
    for spread in (0.01, 1.0, 6.0):
        logits = (random.standard_normal((40, 3000)) * spread).astype(np.float32)
        samplings = [Sampling(1, temperature=0.3 + i / 20, top_p=(i + 1) / 40) for i in range(40)]
        seeds = range(40)
        expected = [
            choose(row, sampling, np.random.default_rng(seed))
            for row, sampling, seed in zip(logits, samplings, seeds, strict=True)
        ]
        found = draw(
            torch.from_numpy(logits),
            [sampling.temperature for sampling in samplings],
            [sampling.top_p for sampling in samplings],
            [np.random.default_rng(seed).random() for seed in seeds],
        )
        assert sum(a != b for a, b in zip(found, expected, strict=True)) <= 1, "float32's last bit decides one at most"


def test_what_was_read_is_forgotten_and_read_anew(case: Case) -> None:
    """The memory goes back, and the next pass is as the first."""
    before = case.runner.logits(rows(case, None, 0, 4, [5, 2])).cpu().numpy().copy()
    case.runner.forget()
    assert case.runner._room is None
    assert case.runner.reserve(12) == 12
    assert np.array_equal(case.runner.logits(rows(case, None, 0, 4, [5, 2])).cpu().numpy(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not ON_A_CARD, reason="there is no CUDA device")
def test_the_engine_answers_by_it(case: Case) -> None:
    """As the page has it: warm, many at once, with versions; the words are transformers' where these are sure."""
    with closing(case.engine) as engine:
        assert engine.warm() is None
        assert engine.capabilities.at_once > 1
        decoder: Any = engine._decoder
        for version in (None, *case.adapters):
            asked = [dialogue(i, i + 3) for i in range(9)]
            alone = [answer(engine, prompt, version, tokens=20) for prompt in asked]
            requests = [decoder.begin(engine.tokens(p), Sampling(20), version, Event()) for p in asked]
            together = [engine.tokenizer.decode(list(r), skip_special_tokens=True).strip() for r in requests]
            assert sum(a != b for a, b in zip(alone, together, strict=True)) <= 1


def test_an_adapter_of_a_higher_rank_takes_nothing_from_others(case: Case, tmp_path: Path) -> None:
    """What was read before it came is read no more: others go on from there."""
    from assistant.decoder.rows import Row

    case.runner.logits(rows(case, 0, 0, 12, [5, 2]))
    case.runner.logits(rows(case, 0, 12, 16, [5, 2]))
    higher = save_adapter(case.engine.files.path, tmp_path, 3, rank=20)
    case.runner.logits([Row(7, 0, [8, 9], case.runner.adapter(higher.path), True)])
    found = case.runner.logits(rows(case, 0, 16, 24, [5, 2])).cpu().numpy()
    assert off(found, case.expected[0][16:]) <= OFF


def test_a_room_that_finds_no_memory_is_made_anew(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks then is told, and the next one is answered."""
    from assistant.decoder.cuda import runner

    before = case.runner.logits(rows(case, None, 0, 4, [5, 2])).cpu().numpy().copy()
    case.runner.forget()
    with monkeypatch.context() as broken:
        broken.setattr(runner, "Room", lambda **_: [][0])
        with pytest.raises(IndexError):
            case.runner.reserve(12)
    assert case.runner.reserve(12) == 12
    assert np.array_equal(case.runner.logits(rows(case, None, 0, 4, [5, 2])).cpu().numpy(), before)


def test_blocks_are_as_many_as_the_card_gives(case: Case) -> None:
    """After each time that they were forgotten, by what is free then; and the same is computed by few of them."""
    from assistant.decoder.cuda.runner import CudaRunner

    model = case.runner.model
    block = CudaRunner.block_bytes(model)
    card = Card(2**30)
    runner = CudaRunner(model, blocks=4000, sizes=SIZES[:1], records=ON_A_CARD, card=card)
    few = replace(case, runner=runner)
    assert runner.reserve(2) == 4000
    expected = runner.logits(rows(few, 0, 0, 1, [5, 2])).cpu().numpy().copy()
    runner.forget()
    card.left = 3000 * 2 * block
    assert runner.reserve(2) == 3000
    runner.forget()
    card.gives = 800 * block // 2
    assert runner.reserve(2) == 750, "a tensor of 751, and so is none of 1,501"
    assert runner.reserve(700) == 750, "they are there: nothing is made anew"
    assert np.array_equal(runner.logits(rows(few, 0, 0, 1, [5, 2])).cpu().numpy(), expected)
    card.gives = 0
    with pytest.raises(torch.OutOfMemoryError, match="which one prompt needs, can't be had"):
        runner.reserve(751)
    card.gives = 2**30
    assert runner.reserve(751) == 3000
    assert np.array_equal(runner.logits(rows(few, 0, 0, 1, [5, 2])).cpu().numpy(), expected)
