"""What rows begin with, computed once, for each kind of model that the field trains today."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from assistant.prefix import key_values, may_share, shared


@pytest.mark.parametrize(
    ("rows", "most", "count"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2, 2),
        ([[1, 2, 3], [1, 5, 4], [1, 2, 3, 9]], 2, 1),
        ([[7, 8, 9, 9]], 3, 3),
        ([[1], [2]], 0, 0),
    ],
)
def test_shared(rows: list[list[int]], most: int, count: int) -> None:
    """As far as all rows are the same, and no further than asked."""
    assert shared(rows, most=most) == count


TINY: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**TINY),
    "qwen3": lambda: transformers.Qwen3Config(**TINY),
    "gemma3": lambda: transformers.Gemma3TextConfig(**TINY, sliding_window=16),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_behind_a_prefix_are_whole_rows(kind: str) -> None:
    """The logits of two padded rows behind a prefix computed once are those of the rows alone, gradients included."""
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=torch.float32).eval()
    rows = [[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 9, 20]]
    common = shared(rows, most=5)
    assert common == 5
    ids = torch.tensor([rows[0][common:], [0, 0, 20]])
    mask = torch.tensor([[1] * 8, [1, 1, 1, 1, 1, 0, 0, 1]])
    together = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1)[:, common:],
        past_key_values=key_values(model, torch.tensor(rows[0][:common]), len(rows)),
    ).logits[:, -1]
    alone = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    weight = model.get_input_embeddings().weight
    (ours,), (theirs,) = (torch.autograd.grad(logits.square().sum(), weight) for logits in (together, alone))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_window_is_not_filled_with_padding() -> None:
    """Rows longer than what a model attends to share nothing; others do, and those of models without a window."""
    gemma, llama = (transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]()) for kind in ("gemma3", "llama"))
    assert may_share(gemma, 16)
    assert not may_share(gemma, 17)
    assert may_share(llama, 100_000)


@pytest.mark.parametrize("kind", ["conv", "linear_attention"])
def test_a_state_is_not_parted(kind: str) -> None:
    """Models with layers that hand on a state share nothing."""
    llama = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]())
    llama.config.layer_types = ["full_attention", "full_attention"]
    assert may_share(llama, 10)
    llama.config.layer_types = ["full_attention", kind]
    assert not may_share(llama, 10)


def test_nothing_shared_needs_no_cache() -> None:
    """An empty prefix asks the model nothing."""
    assert key_values(None, torch.tensor([], dtype=torch.long), 2) is None
