"""The decoder of our own beside transformers and PEFT, which say what is right: tiny random models, real NF4."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from assistant.decoder import why_not
from assistant.engine import AdapterFiles, Sampling
from assistant.local import LocalEngine
from assistant.models import ModelFiles, resolve, sha256_of
from memory.errors import ModelUnavailable
from memory.records import Message
from tests.assistant.test_local import (
    PROMPTS,
    TEMPLATE,
    After,
    answer,
    dialogue,
    flip_a_bit,
    pieces,
    save_adapter,
    save_model,
)

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def decoder_of(engine: LocalEngine) -> Any:
    """What answers in it."""
    assert engine._decoder is not None
    return engine._decoder


def hidden_of(engine: LocalEngine, ids: Sequence[int], adapter: AdapterFiles | None, chunk: int) -> Any:
    """(tokens, hidden) by the decoder's own pass, `chunk` tokens at a time: what the head is given."""
    from assistant.decoder.runner import Row, Runner

    decoder = decoder_of(engine)
    model = decoder._model
    packed = None if adapter is None else decoder._packed(adapter)
    runner = Runner(model, blocks=8, rows=chunk, threads=1)
    blocks, found = [5, 2, 7, 0], []
    for start in range(0, len(ids), chunk):
        rows = [Row(ids[i], i, blocks, packed, True) for i in range(start, min(len(ids), start + chunk))]
        _, hidden = runner.run(rows)
        found.append(hidden.copy())
    return np.concatenate(found)


def logits(engine: LocalEngine, ids: Sequence[int], adapter: AdapterFiles | None, chunk: int) -> Any:
    """(tokens, vocabulary), with the head as it is."""
    return hidden_of(engine, ids, adapter, chunk) @ decoder_of(engine)._model.exact_head.T


def expected_logits(engine: LocalEngine, ids: Sequence[int], adapter: AdapterFiles | None) -> Any:
    """The same by transformers and PEFT."""
    import torch

    with engine.using(adapter) as model, torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].numpy()


LOGITS_OFF = 1e-5
"""How far logits may be from transformers', relative to the largest: float32 sums in another order."""


# ---------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("chunk", [1, 5, 32])
@pytest.mark.parametrize("version", [None, 0])
def test_logits_are_those_of_transformers(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles], version: int | None, chunk: int
) -> None:
    """With an adapter on and without, however the prompt is cut."""
    adapter = None if version is None else adapters[version]
    ids = warm.tokens(PROMPTS[2])
    expected = expected_logits(plain, ids, adapter)
    off = np.abs(logits(warm, ids, adapter, chunk) - expected).max() / np.abs(expected).max()
    assert off <= LOGITS_OFF


def test_cutting_a_prompt_changes_no_bit(warm: LocalEngine, adapters: list[AdapterFiles]) -> None:
    """One by one, or many at a time: each row is summed in the same order."""
    ids = warm.tokens(PROMPTS[2])
    one, many = (hidden_of(warm, ids, adapters[0], chunk) for chunk in (1, 32))
    assert np.array_equal(one, many)


def test_what_was_no_number_harms_nobody_else(warm: LocalEngine) -> None:
    """An answer whose keys and values ran over leaves them in its blocks, which others fill again only in part."""
    from assistant.decoder.runner import Row, Runner

    runner = Runner(decoder_of(warm)._model, blocks=8, rows=32, threads=1)
    rows = [Row(token, i, [5, 2], None, True) for i, token in enumerate(warm.tokens(PROMPTS[2])[:20])]
    expected = runner.run(rows)[1].copy()
    runner._keys[:] = np.nan
    runner._values[:] = np.nan
    assert np.array_equal(runner.run(rows)[1], expected)


def test_answers_are_those_of_transformers(warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles]) -> None:
    """Greedily, token for token, with every version."""
    for version in (None, *adapters):
        for prompt in PROMPTS:
            assert answer(warm, prompt, version) == answer(plain, prompt, version)


def build(kind: str, folder: Path, **more: Any) -> ModelFiles:
    """A random model of another family, with the tokenizer of the tiny Llama."""
    import torch
    import transformers

    files = save_model(folder, TEMPLATE)
    sizes: dict[str, Any] = {
        "vocab_size": 125,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "eos_token_id": 1,
        "bos_token_id": None,
        "pad_token_id": 1,
    }
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**(sizes | more))
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Fresh models have norms of ones and biases of zeros, which would hide that they are not read.
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return files


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2, with biases": ("Qwen2", {}),
    "Qwen3, with norms of heads of another size": ("Qwen3", {"head_dim": 32}),
    "Mistral": ("Mistral", {"sliding_window": None}),
    "Llama 3, with rotations stretched, an own head, one key for all": (
        "Llama",
        {
            "num_key_value_heads": 1,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_other_families_compute_the_same(name: str, tmp_path: Path) -> None:
    """Whatever is like Llama, read from its modules."""
    kind, more = KINDS[name]
    files = build(kind, tmp_path / "model", **more)
    engine = LocalEngine(files, weights="unpacked")
    adapter = save_adapter(files.path, tmp_path / "v1", 1)
    assert engine.warm() is None
    with closing(engine):
        ids = engine.tokens(PROMPTS[2])
        for version in (None, adapter):
            expected = expected_logits(engine, ids, version)
            off = np.abs(logits(engine, ids, version, 16) - expected).max() / np.abs(expected).max()
            assert off <= LOGITS_OFF


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("Gemma", {"head_dim": 16}, "models of the kind 'gemma' are not known here"),
        ("Llama", {"hidden_act": "gelu"}, "the activation 'gelu' is not known here"),
        ("Llama", {"mlp_bias": True}, "a layer after attention has a bias"),
        ("Llama", {"intermediate_size": 96}, "no multiples of 64"),
        ("Mistral", {"sliding_window": 32}, "a window of the last tokens"),
    ],
)
def test_what_it_can_not_compute_it_refuses(kind: str, more: dict[str, Any], told: str, tmp_path: Path) -> None:
    """With the reason; answers come from transformers then."""
    engine = LocalEngine(build(kind, tmp_path, **more), weights="unpacked")
    reason = engine.warm()
    assert reason is not None
    assert told in reason
    assert len(answer(engine, PROMPTS[0]).split()) == 12
    assert engine.capabilities.at_once == 1


def test_an_adapter_that_only_peft_computes_is_left_to_it(
    warm: LocalEngine, plain: LocalEngine, tiny: ModelFiles, tmp_path: Path
) -> None:
    """DoRA: another arithmetic. The answer is the same as ever."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny.path)
    config = LoraConfig(r=4, use_dora=True, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(tmp_path)
    version = AdapterFiles("v9", sha256_of(tmp_path / "adapter_model.safetensors"), tmp_path)
    assert decoder_of(warm).begin([5], Sampling(1), version, Event()) is None
    assert answer(warm, PROMPTS[0], version) == answer(plain, PROMPTS[0], version)


def test_ranks_and_targets_of_any_kind(warm: LocalEngine, plain: LocalEngine, tiny: ModelFiles, tmp_path: Path) -> None:
    """Few layers' parts, a rank over sixteen, strength by its square root: expected tokens are PEFT's."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny.path)
    config = LoraConfig(
        r=20,
        use_rslora=True,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "down_proj"],
        layers_to_transform=[1],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(base, config).save_pretrained(tmp_path)
    version = AdapterFiles("v8", sha256_of(tmp_path / "adapter_model.safetensors"), tmp_path)
    request = decoder_of(warm).begin(warm.tokens(PROMPTS[0]), Sampling(12), version, Event())
    assert request is not None
    expected = answer(plain, PROMPTS[0], version)
    assert warm.tokenizer.decode(list(request), skip_special_tokens=True) == expected != answer(plain, PROMPTS[0])


# ---------------------------------------------------------------------- many at once


def test_together_everybody_gets_what_he_gets_alone(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles]
) -> None:
    """Different prompts, lengths and versions in one batch, greedy ones and drawn ones."""
    asked = [(prompt, version) for prompt in PROMPTS for version in (None, *adapters)]
    alone = [answer(plain, prompt, version, tokens=9 + i) for i, (prompt, version) in enumerate(asked)]
    drawn = answer(warm, PROMPTS[0], temperature=2.0, seed=5, tokens=30)
    with ThreadPoolExecutor(17) as threads:
        hot = threads.submit(lambda: answer(warm, PROMPTS[0], temperature=2.0, seed=5, tokens=30))
        together = list(threads.map(lambda i: answer(warm, *asked[i], tokens=9 + i), range(len(asked))))
    assert together == alone
    assert hot.result() == drawn


def test_passes_that_are_begun_ahead_change_no_answer(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at a time, as a card has it: ends are kept to, a second turn finds what was read, blocks come back."""
    from assistant.decoder.rows import Row

    decoder = decoder_of(warm)
    one_pass = decoder._runner.next_tokens
    asked_for = []

    def ahead(rows: Sequence[Row], picks: Sequence[Any], passes: int = 1) -> list[list[int]]:
        asked_for.append(passes)
        found = one_pass(rows, picks)
        for _ in range(passes - 1):
            pairs = zip(rows, found, strict=True)
            rows = [replace(row, token=said[-1], position=row.position + 1) for row, said in pairs]
            found = [[*said, *more] for said, more in zip(found, one_pass(rows, picks), strict=True)]
        return found

    monkeypatch.setattr(decoder._runner, "next_tokens", ahead)
    monkeypatch.setattr(decoder._runner, "ahead", 3, raising=False)
    asked = [(prompt, version) for prompt in PROMPTS for version in (None, *adapters)]
    alone = [answer(plain, prompt, version, tokens=9 + i) for i, (prompt, version) in enumerate(asked)]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda i: answer(warm, *asked[i], tokens=9 + i), range(len(asked))))
    assert together == alone
    assert set(asked_for) == {1, 2, 3}
    second: list[Message] = [*PROMPTS[0], {"role": "assistant", "content": alone[0]}, *dialogue(3)]
    assert answer(warm, second, tokens=10) == answer(plain, second, tokens=10)
    assert decoder._batcher._blocks.available == decoder._batcher._blocks.count, "no room is lost"


def test_more_than_fit_wait_for_their_turn(warm: LocalEngine, plain: LocalEngine) -> None:
    """Who comes when all places are taken is answered as soon as one is free; nobody is lost."""
    decoder_of(warm)._batcher._most = 2
    with ThreadPoolExecutor(9) as threads:
        said = list(threads.map(lambda i: answer(warm, dialogue(i), tokens=10), range(9)))
    assert said == [answer(plain, dialogue(i), tokens=10) for i in range(9)]


def test_who_has_little_to_read_does_not_wait_for_who_has_much(warm: LocalEngine) -> None:
    """Nor is the long prompt put off: it has half of what room there is, until it is read."""
    from assistant.decoder.batcher import Request

    batcher = decoder_of(warm)._batcher
    batcher.close()
    long, *short = (
        Request([5 + i] * tokens, Sampling(4), None, None, frozenset(), Event())
        for i, tokens in enumerate([200, 20, 20, 20])
    )
    batcher._waiting.extend([long, *short])
    batcher._join()
    reads = []
    for _ in range(2):
        rows = batcher._schedule()
        reads.append([sum(request is one for one, _ in rows) for request in (long, *short)])
        for request, row in rows:
            request.computed = row.position + 1
        assert len(rows) == batcher._runner.rows
    assert all(read[0] > batcher._runner.rows // 3 for read in reads)
    assert sum(read[1] for read in reads) == 20, "the first of the short ones is through in two passes"


def test_a_stop_frees_the_place_at_once(warm: LocalEngine) -> None:
    """Within half a second of it, with 15 others under way; theirs go on."""
    decoder = decoder_of(warm)
    ids = warm.tokens(PROMPTS[0])
    stops = [Event() for _ in range(16)]
    requests = [decoder.begin(ids, Sampling(400), None, stop) for stop in stops]
    first = iter(requests[0])
    next(first)
    stops[0].set()
    began = time.monotonic()
    list(first)
    assert time.monotonic() - began < 0.5
    assert decoder.under_way[0] + decoder.under_way[1] == 15
    for stop in stops:
        stop.set()
    for request in requests[1:]:
        list(request)
    assert decoder.under_way == (0, 0)
    assert decoder._batcher._blocks.available == decoder._batcher._blocks.count, "no room is lost"


def test_a_prompt_is_not_read_to_its_end_for_who_has_given_up(
    warm: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass reads some tens of its tokens, and after the stop there is none."""
    runner, stop, passes = decoder_of(warm)._runner, Event(), []
    run = runner.run

    def counted(rows: Sequence[Any]) -> Any:
        passes.append(len(rows))
        if len(passes) == 2:
            stop.set()
        return run(rows)

    monkeypatch.setattr(runner, "run", counted)
    (only,) = warm.generate(dialogue(*range(100)), Sampling(8), adapter=None, stop=stop)
    assert (only.text, only.finish, only.prompt_tokens, only.answer_tokens) == ("", "stopped", 103, 0)
    assert passes == [runner.rows] * 2


def test_stop_ends_with_the_token_under_way(warm: LocalEngine, plain: LocalEngine) -> None:
    """No further one is computed, and what was said by then has come."""
    *words, last = warm.generate(PROMPTS[0], Sampling(400), adapter=None, stop=After(1 + 5))
    assert (last.finish, last.answer_tokens) == ("stopped", 6)
    assert "".join(piece.text for piece in words).split() == answer(plain, PROMPTS[0]).split()[:6]


def test_a_stop_before_the_start_computes_nothing(warm: LocalEngine) -> None:
    """Whoever waited for a place and gave up."""
    stop = Event()
    stop.set()
    (only,) = warm.generate(PROMPTS[0], Sampling(400), adapter=None, stop=stop)
    assert (only.text, only.finish, only.answer_tokens) == ("", "stopped", 0)


def test_an_answer_that_ends_stops_nothing(warm: LocalEngine) -> None:
    """Whoever asks twice with one stop, as a blind comparison does, is heard twice."""
    stop = Event()
    for _ in range(2):
        said = list(warm.generate(PROMPTS[0], Sampling(4), adapter=None, stop=stop))
        assert said[-1].answer_tokens > 0
        assert not stop.is_set()


def test_a_reader_that_leaves_frees_its_place(warm: LocalEngine) -> None:
    """The iterator is closed, and the next pass is without it."""
    stop = Event()
    with closing(warm.generate(PROMPTS[0], Sampling(400), adapter=None, stop=stop)) as answering:  # type: ignore[type-var]
        next(answering)
    assert stop.is_set()
    deadline = time.monotonic() + 1
    while decoder_of(warm).under_way != (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_counts_and_ends(warm: LocalEngine, plain: LocalEngine) -> None:
    """The last piece says what transformers' says, whether the model ends by itself or is cut off."""
    for prompt, tokens in ((PROMPTS[0], 9), (PROMPTS[3], 40)):
        assert pieces(warm, prompt, tokens=tokens)[-1] == pieces(plain, prompt, tokens=tokens)[-1]


def test_an_end_token_ends_the_answer(warm: LocalEngine) -> None:
    """It is counted out, and not said."""
    decoder = decoder_of(warm)
    whole = list(decoder.begin(warm.tokens(PROMPTS[0]), Sampling(12), None, Event()))
    decoder._ends = frozenset([whole[4]])
    cut = list(decoder.begin(warm.tokens(PROMPTS[0]), Sampling(12), None, Event()))
    assert cut == whole[: whole.index(whole[4]) + 1]


def test_the_same_seed_draws_the_same(warm: LocalEngine) -> None:
    """Another one draws another answer; a nucleus of nothing is the likeliest token."""
    drawn = [answer(warm, PROMPTS[0], temperature=2.0, seed=seed, tokens=30) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert answer(warm, PROMPTS[0], temperature=1.0, top_p=1e-320, seed=1) == answer(warm, PROMPTS[0])


def test_what_does_not_fit_is_left_to_transformers(warm: LocalEngine) -> None:
    """More tokens than the model has positions; nothing at all."""
    decoder = decoder_of(warm)
    assert decoder.begin([5] * 500, Sampling(13), None, Event()) is None
    assert decoder.begin([5] * 500, Sampling(12), None, Event()) is not None
    assert decoder.begin([], Sampling(12), None, Event()) is None
    assert decoder.begin([4000], Sampling(12), None, Event()) is None


def test_a_pass_that_fails_is_told_to_those_in_it(warm: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next question is answered as if nothing had been."""
    expected = answer(warm, PROMPTS[0])

    def fail(_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(decoder_of(warm)._runner, "run", fail)
        with pytest.raises(MemoryError, match="no room"):
            answer(warm, PROMPTS[0])
    assert answer(warm, PROMPTS[0]) == expected


def test_closed_it_answers_by_transformers(warm: LocalEngine) -> None:
    """What was under way ends where it is."""
    expected = answer(warm, PROMPTS[0])
    request = decoder_of(warm).begin(warm.tokens(PROMPTS[0]), Sampling(400), None, Event())
    assert request is not None
    next(iter(request))
    warm.close()
    assert len(list(request)) < 400
    assert answer(warm, PROMPTS[0]) == expected


# ---------------------------------------------------------------------- exams


def test_many_prompts_get_the_answers_that_serve(
    tiny: ModelFiles, plain: LocalEngine, adapters: list[AdapterFiles]
) -> None:
    """More than there is room for at once, with every version, by an engine that nobody has warmed: transformers' own
    answers, whatever else is asked and in whatever order.
    """
    asked = [*PROMPTS, *(dialogue(i % 7, i % 5, i, system="word9 word8 word7") for i in range(40))]
    with closing(LocalEngine(tiny, weights="packed")) as engine:
        for version in (None, adapters[0]):
            expected = dict(plain.complete(asked, max_tokens=9, adapter=version))
            assert dict(engine.complete(asked, max_tokens=9, adapter=version)) == expected
            few = dict(engine.complete(asked[20::-3], max_tokens=9, adapter=version))
            assert [few[i] for i in range(len(few))] == [expected[i] for i in range(20, -1, -3)]
        assert engine.capabilities.at_once > 1, "the decoder has answered"


def test_of_many_prompts_those_too_long_for_it_come_from_transformers(warm: LocalEngine, plain: LocalEngine) -> None:
    """One of three is as long as the model's context; the others are the decoder's."""
    asked = [PROMPTS[0], dialogue(*(i % 120 for i in range(500))), PROMPTS[1]]
    said = list(warm.complete(asked, max_tokens=12, adapter=None))
    assert [place for place, _ in said][-1] == 1
    assert dict(said) == {i: answer(plain, prompt) for i, prompt in enumerate(asked)}


def test_closed_while_many_are_answered_the_rest_come_from_transformers(warm: LocalEngine, plain: LocalEngine) -> None:
    """No half answer is taken for a whole one."""
    asked = [dialogue(i) for i in range(40)]
    said = warm.complete(asked, max_tokens=30, adapter=None)
    first = next(said)
    warm.close()
    assert dict([first, *said]) == dict(plain.complete(asked, max_tokens=30, adapter=None))


def test_who_has_enough_of_many_answers_frees_their_places(warm: LocalEngine) -> None:
    """The others are computed no further."""
    with closing(warm.complete([dialogue(i) for i in range(40)], max_tokens=100, adapter=None)) as said:  # type: ignore[type-var]
        next(said)
    deadline = time.monotonic() + 10
    while decoder_of(warm).under_way != (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_refusal_is_remembered(tiny: ModelFiles, plain: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exams of a model that it can't compute don't try it again and again."""
    from assistant.decoder.shape import NotPacked

    tried = []

    def refuse(_: Any) -> None:
        tried.append(1)
        raise NotPacked("no model for it")

    monkeypatch.setattr("assistant.decoder.decoder.pack", refuse)
    engine = LocalEngine(tiny, weights="unpacked")
    for _ in range(3):
        assert dict(engine.complete(PROMPTS[:1], max_tokens=4, adapter=None)) == {
            0: answer(plain, PROMPTS[0], tokens=4)
        }
    assert (engine.warm(), len(tried)) == ("no model for it", 1)


# ---------------------------------------------------------------------- versions


def test_an_answer_ends_with_the_version_it_began_with(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles]
) -> None:
    """Eight users ask without a pause while versions change under them: none fails, and none is a mixture."""
    expected = {version.version: answer(plain, PROMPTS[0], version, tokens=40) for version in adapters}
    active, over = [adapters[0]], Event()
    said: list[tuple[str, str]] = []

    def user() -> None:
        while not over.is_set():
            version = active[0]
            said.append((version.version, answer(warm, PROMPTS[0], version, tokens=40)))

    with ThreadPoolExecutor(8) as threads:
        users = [threads.submit(user) for _ in range(8)]
        for version in adapters:
            active[0] = version
            deadline = time.monotonic() + 30
            while version.version not in {name for name, _ in list(said)} and time.monotonic() < deadline:
                time.sleep(0.005)
        over.set()
        for found in users:
            found.result()
    assert {version for version, _ in said} == set(expected)
    assert all(expected[version] == text for version, text in said)


def test_a_damaged_adapter_is_told(
    warm: LocalEngine, adapters: list[AdapterFiles], tiny: ModelFiles, tmp_path: Path
) -> None:
    """In the same words as ever, and others are answered on."""
    version = save_adapter(tiny.path, tmp_path, 7)
    flip_a_bit(tmp_path)
    with pytest.raises(ModelUnavailable, match="adapter v7 is damaged"):
        answer(warm, PROMPTS[0], version)
    assert answer(warm, PROMPTS[0], adapters[0])


def test_an_adapter_of_another_model_is_told(warm: LocalEngine, tmp_path: Path) -> None:
    """PEFT says so, to whom it is left."""
    foreign = save_adapter(save_model(tmp_path / "other", TEMPLATE, hidden=128).path, tmp_path / "v4", 4)
    with pytest.raises(ModelUnavailable, match="adapter v4 does not go with tiny"):
        answer(warm, PROMPTS[0], foreign)


def test_few_versions_are_kept(warm: LocalEngine, adapters: list[AdapterFiles]) -> None:
    """By their weights: the same ones under another name are no other version."""
    for version in [*adapters, replace(adapters[0], version="candidate at 0.75")]:
        answer(warm, PROMPTS[0], version, tokens=2)
    assert len(decoder_of(warm)._adapters) == 3


def test_it_warms_up_under_an_adapter_while_transformers_answers(
    tiny: ModelFiles, plain: LocalEngine, adapters: list[AdapterFiles]
) -> None:
    """Loading begins it; who asks meanwhile is answered, and PEFT's layers in the model change nothing."""
    engine = LocalEngine(tiny, weights="unpacked", warms=True)
    with closing(engine):
        expected = answer(plain, PROMPTS[0], adapters[0])
        deadline = time.monotonic() + 60
        while engine._decoder is None:
            assert answer(engine, PROMPTS[0], adapters[0]) == expected
            assert time.monotonic() < deadline
        assert engine.capabilities.at_once > 1
        assert answer(engine, PROMPTS[0], adapters[0]) == expected
        assert answer(engine, PROMPTS[0]) == answer(plain, PROMPTS[0])
    assert engine.warm() == "it was closed"


def test_whatever_fails_while_it_warms_up_answers_come(
    tiny: ModelFiles, plain: LocalEngine, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """Told in the log."""
    monkeypatch.setattr("assistant.decoder.decoder.pack", lambda _: [][0])
    engine = LocalEngine(tiny, weights="unpacked", warms=True)
    assert answer(engine, PROMPTS[0]) == answer(plain, PROMPTS[0])
    deadline = time.monotonic() + 10
    while "could not be made ready" not in logged.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_other_logits_than_transformers_are_refused(tiny: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """It compares itself before it serves."""
    monkeypatch.setattr("assistant.decoder.decoder.LOGITS_OFF", 0.0)
    reason = LocalEngine(tiny, weights="unpacked").warm()
    assert reason is not None
    assert "off those of transformers" in reason


# ---------------------------------------------------------------------- what was read before


def test_a_second_turn_computes_only_what_is_new(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full blocks of the turns before are found again; another version reads for itself; the answers are the same."""
    computed: list[int] = []
    decoder = decoder_of(warm)
    run = decoder._runner.run

    def counting(rows: Sequence[Any]) -> Any:
        computed.extend(row.position for row in rows)
        return run(rows)

    monkeypatch.setattr(decoder._runner, "run", counting)
    first: list[Message] = dialogue(*range(100))
    said = answer(warm, first, adapters[0], tokens=20)
    second: list[Message] = [*first, {"role": "assistant", "content": said}, *dialogue(3)]
    for version, read_anew in ((adapters[0], False), (adapters[0], False), (adapters[1], True), (None, True)):
        computed.clear()
        assert answer(warm, second, version, tokens=10) == answer(plain, second, version, tokens=10)
        known = len(warm.tokens(first)) // 16 * 16
        assert (min(computed) >= known) != read_anew


def test_those_who_begin_alike_share(warm: LocalEngine) -> None:
    """The same system message is held once, by all who come while or after it is read."""
    decoder = decoder_of(warm)
    blocks = decoder._batcher._blocks
    system = " ".join(f"word{i}" for i in range(64))
    answer(warm, dialogue(1, system=system), tokens=4)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: answer(warm, dialogue(i, system=system), tokens=4), range(4)))
    assert len(blocks._keys) <= 64 // 16 + 2


def test_who_come_at_once_and_begin_alike_read_it_once(warm: LocalEngine, adapters: list[AdapterFiles]) -> None:
    """Of what they share, whole blocks are computed by one of them; each version reads for itself."""
    decoder = decoder_of(warm)
    computed: list[int] = []
    run = decoder._runner.run
    decoder._runner.run = lambda rows: computed.extend(row.position for row in rows) or run(rows)
    system = " ".join(f"word{i}" for i in range(90))
    asked = [dialogue(i, system=system) for i in range(20)]
    for versions, adapter in enumerate((None, adapters[0]), start=1):
        said = dict(warm.complete(asked, max_tokens=3, adapter=adapter))
        assert [computed.count(position) for position in range(80)] == [versions] * 80
        assert said == {i: answer(warm, prompt, adapter, tokens=3) for i, prompt in enumerate(asked)}


def test_the_beginning_of_a_block_is_copied(
    warm: LocalEngine, plain: LocalEngine, adapters: list[AdapterFiles]
) -> None:
    """Of prompts that differ in their last words alone, the later ones compute those alone; with the same answers."""
    decoder = decoder_of(warm)
    computed: list[int] = []
    run = decoder._runner.run
    decoder._runner.run = lambda rows: computed.extend(row.position for row in rows) or run(rows)
    asked = [dialogue(*range(26), last) for last in (50, 40, 60, 40)]
    tokens = len(warm.tokens(asked[0]))
    for version in (None, adapters[0]):
        first = []
        for prompt in asked:
            computed.clear()
            assert answer(warm, prompt, version, tokens=9) == answer(plain, prompt, version, tokens=9)
            first.append(min(computed))
        other_word, last_token = tokens - 3, tokens - 1
        assert first == [0, other_word, other_word, last_token]


def test_training_gets_the_memory_of_what_was_read(warm: LocalEngine) -> None:
    """It is read anew afterwards, with the same answers."""
    asked = [dialogue(*range(i, i + 40)) for i in range(40)]
    before = dict(warm.complete(asked, max_tokens=9, adapter=None))
    keys = decoder_of(warm)._runner._keys
    with warm.base():
        assert dict(warm.complete(asked, max_tokens=9, adapter=None)) == before
    assert decoder_of(warm)._runner._keys is not keys


class Scarce:
    """A runner whose memory others have, too: of `there` blocks it takes `free`, or what one prompt needs."""

    ahead = 1

    def __init__(self, runner: Any, *, free: int, there: int) -> None:
        self._runner, self.free, self.there, self.taken = runner, free, there, list[int]()
        self.model, self.rows, self.blocks = runner.model, runner.rows, runner.blocks
        self._kept = 0
        self.breaks = False

    def reserve(self, at_least: int) -> int:
        if not self._kept or self._kept < at_least:
            self._kept = 0
            if at_least > self.there:
                raise RuntimeError("CUDA out of memory: one prompt needs more")
            self._kept = max(at_least, self.free)
            self.taken.append(self._kept)
        return self._kept

    def next_tokens(self, rows: Sequence[Any], picks: Sequence[Any], passes: int = 1) -> list[list[int]]:
        assert all(block < self._kept for row in rows for block in row.blocks)
        if self.breaks:
            self.breaks = False
            self.forget()
            raise RuntimeError("CUDA out of memory")
        found: list[list[int]] = self._runner.next_tokens(rows, picks, passes)
        return found

    def adapter(self, folder: Path) -> Any:
        return self._runner.adapter(folder)

    def copy(self, block: int, to: int) -> None:
        assert max(block, to) < self._kept
        self._runner.copy(block, to)

    def forget(self) -> None:
        self._kept = 0
        self._runner.forget()

    def close(self) -> None:
        self._runner.close()


@pytest.fixture
def scarce(warm: LocalEngine) -> Iterator[tuple[Scarce, Any]]:
    """A runner of seven blocks, 64 at most, and the batcher over it."""
    from assistant.decoder.batcher import Batcher
    from assistant.decoder.runner import Runner

    runner = Scarce(Runner(decoder_of(warm)._model, blocks=64, rows=32, threads=1), free=7, there=20)
    with closing(Batcher(runner, most=8)) as batcher:
        yield runner, batcher


def ask(batcher: Any, engine: LocalEngine, prompt: Sequence[Message], tokens: int = 9, ends: Sequence[int] = ()) -> Any:
    """A request that is submitted, if it fits."""
    from assistant.decoder.batcher import Request

    stops = frozenset([*engine.end_ids, *ends])
    request = Request(engine.tokens(prompt), Sampling(tokens), None, None, stops, Event())
    assert batcher.fits(request.longest)
    batcher.submit(request)
    return request


def said(engine: LocalEngine, request: Any) -> str:
    """What it comes to. Raises: what went wrong."""
    return engine.tokenizer.decode(list(request), skip_special_tokens=True).strip()


def test_few_blocks_give_the_same_answers(warm: LocalEngine, scarce: tuple[Scarce, Any]) -> None:
    """Nobody waits for what never comes: one who needs more than there are has them made, once nobody else is there."""
    runner, batcher = scarce
    asked = [dialogue(*range(i, i + n)) for i, n in enumerate((40, 3, 200, 50, 9, 40, 201, 12))]
    requests = [ask(batcher, warm, prompt) for prompt in asked]
    assert [said(warm, request) for request in requests] == [answer(warm, prompt, tokens=9) for prompt in asked]
    assert runner.taken == [7, 14]


def test_after_a_training_blocks_are_those_that_there_is_room_for(
    warm: LocalEngine, scarce: tuple[Scarce, Any]
) -> None:
    """Fewer, where the card has filled up meanwhile; more, where it has emptied."""
    runner, batcher = scarce
    expected = answer(warm, PROMPTS[0], tokens=9)
    for free in (7, 4, 12):
        runner.free = free
        batcher.forget()
        assert said(warm, ask(batcher, warm, PROMPTS[0])) == expected
    assert runner.taken == [7, 7, 4, 12]


def test_who_needs_more_than_there_is_is_told_and_the_next_is_answered(
    warm: LocalEngine, scarce: tuple[Scarce, Any]
) -> None:
    """At once, and not for ever."""
    _, batcher = scarce
    requests = [ask(batcher, warm, prompt) for prompt in (dialogue(*range(400)), PROMPTS[0])]
    with pytest.raises(RuntimeError, match="out of memory: one prompt needs more"):
        list(requests[0])
    assert said(warm, requests[1]) == answer(warm, PROMPTS[0], tokens=9)


def test_a_short_answer_comes_however_long_it_might_have_been(warm: LocalEngine, scarce: tuple[Scarce, Any]) -> None:
    """Where there is not memory for all that it may say, it says what there is room for, at least half of what there
    could have been, and ends as one that was cut off; one that ends before that is whole.
    """
    runner, batcher = scarce
    prompt = len(warm.tokens(PROMPTS[0]))
    room = runner.there * 16 - prompt
    expected = list(ask(batcher, warm, PROMPTS[0], tokens=room))
    assert len(expected) == room
    said = list(ask(batcher, warm, PROMPTS[0], tokens=400))
    assert said == expected[: runner.taken[-1] * 16 - prompt]
    assert len(said) >= room // 2
    whole = ask(batcher, warm, PROMPTS[0], tokens=400, ends=expected[4:5])
    assert list(whole) == expected[: expected.index(expected[4]) + 1]


def test_what_was_read_before_a_pass_failed_is_not_gone_on_from(warm: LocalEngine, scarce: tuple[Scarce, Any]) -> None:
    """A card that was out of memory has given it back: what lay in it is read anew."""
    runner, batcher = scarce
    asked = dialogue(*range(60))
    expected = answer(warm, asked, tokens=9)
    assert said(warm, ask(batcher, warm, asked)) == expected
    runner.breaks = True
    with pytest.raises(RuntimeError, match="out of memory"):
        list(ask(batcher, warm, asked))
    assert said(warm, ask(batcher, warm, asked)) == expected


def test_a_card_that_can_not_even_be_given_back_is_told_of_by_each_question(
    warm: LocalEngine, scarce: tuple[Scarce, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an illegal access CUDA refuses whatever comes: nobody waits for ever, and nothing is tried in circles."""
    runner, batcher = scarce
    tries: list[str] = []

    def refuse(*_: Any) -> Any:
        tries.append("")
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert said(warm, ask(batcher, warm, PROMPTS[0])) == answer(warm, PROMPTS[0], tokens=9)
    with monkeypatch.context() as broken:
        for name in ("next_tokens", "forget", "reserve"):
            broken.setattr(runner, name, refuse)
        for prompt in PROMPTS[:2]:
            request = ask(batcher, warm, prompt)
            told = request.tokens.get(timeout=10)
            assert "illegal" in str(told)
        time.sleep(0.2)
        assert len(tries) < 9
    assert said(warm, ask(batcher, warm, PROMPTS[0])) == answer(warm, PROMPTS[0], tokens=9)


# ---------------------------------------------------------------------- several threads, other machines


def test_threads_share_the_work_and_change_no_bit(warm: LocalEngine, adapters: list[AdapterFiles]) -> None:
    """Three of them, though there may be fewer cores."""
    from assistant.decoder.runner import Row, Runner

    decoder = decoder_of(warm)
    packed = decoder._packed(adapters[0])
    ids = warm.tokens(PROMPTS[2])
    found = []
    for threads in (1, 3):
        runner = Runner(decoder._model, blocks=4, rows=32, threads=threads)
        rows = [Row(token, i, (0, 1, 2), packed if i < 20 else None, True) for i, token in enumerate(ids[:32])]
        for _ in range(3):
            scores, _ = runner.run(rows)
        found.append(scores.copy())
        runner.close()
    assert np.array_equal(*found)


def test_a_thread_that_never_runs_delays_nobody(warm: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that comes passes later: it finds all done, and changes nothing."""
    from assistant.decoder import runner as module

    decoder = decoder_of(warm)
    late = Event()

    class Late(module._Helper):
        def _work(self) -> None:
            late.wait()
            super()._work()

    monkeypatch.setattr(module, "_Helper", Late)
    rows = [module.Row(token, i, (0, 1), None, True) for i, token in enumerate(warm.tokens(PROMPTS[0]))]
    runner = module.Runner(decoder._model, blocks=4, rows=32, threads=3)
    expected = runner.run(rows)[0].copy()
    runner.run(rows[:2])
    late.set()
    for _ in range(20):
        assert np.array_equal(runner.run(rows)[0], expected)
    runner.close()


def test_a_cpu_without_avx512_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way to look a digit up, compiled here and run here."""
    import llvmlite.binding as llvm
    import numba

    from assistant.decoder import vectors

    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"avx2": True, "fma": True})
    one = vectors._panel(1, vectors._nf4, group=8, scaled=True, add=False)

    @numba.njit
    def product(panel, scales, x, y, blocks):  # type: ignore[no-untyped-def]
        one((panel, scales, x, 0, y, 0, blocks))

    digits = np.arange(16 * 64, dtype=np.int64).reshape(16, 64) * 7 % 16
    packed = np.zeros((8, 16), np.int32)
    for k in range(8):
        packed |= (digits.reshape(16, 8, 8)[:, :, k].T << (4 * k)).astype(np.int32)
    scales = np.linspace(0.5, 2, 16, dtype=np.float32)
    x, y = np.linspace(-1, 1, 64, dtype=np.float32), np.zeros(16, np.float32)
    product(packed.ctypes.data, scales.ctypes.data, x.ctypes.data, y.ctypes.data, 1)
    expected = (np.array(vectors.NF4, np.float32)[digits] * scales[:, None]) @ x
    assert np.abs(y - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("machine", "features", "told"),
    [
        ("aarch64", {"avx2": True, "fma": True}, "x86-64"),
        ("x86_64", {"avx2": False, "fma": True}, "AVX2"),
        ("x86_64", {"avx2": True, "fma": True}, None),
    ],
)
def test_machines_that_can_not_are_told(
    monkeypatch: pytest.MonkeyPatch, machine: str, features: dict[str, bool], told: str | None
) -> None:
    """Before anything heavy is imported."""
    import llvmlite.binding as llvm

    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    reason = why_not()
    assert (told is None) == (reason is None)
    assert told is None or told in str(reason)


# ---------------------------------------------------------------------- the real one


@pytest.mark.model
def test_the_real_model_says_the_same(models_dir: Path, tmp_path: Path) -> None:
    """Greedy answers of 32 tokens to four questions at once, with an adapter on and without: transformers' own."""
    engine = LocalEngine(resolve("embedded", models_dir), copies=models_dir / "unpacked")
    reference = LocalEngine(engine.files, copies=models_dir / "unpacked")
    adapter = save_adapter(engine.files.path, tmp_path, 1)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    # Random matrices at full strength would drown the model.
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 0.02}))
    questions = ["What is the capital of France?", "Write a story about a fox.", "List five animals.", "Who are you?"]
    prompts: list[list[Message]] = [[{"role": "user", "content": question}] for question in questions]
    with closing(engine):
        assert engine.warm() is None
        for version in (None, adapter):
            with ThreadPoolExecutor(4) as threads:
                said = list(threads.map(lambda p, v=version: answer(engine, p, v, tokens=32), prompts))
            assert said == [answer(reference, prompt, version, tokens=32) for prompt in prompts]
