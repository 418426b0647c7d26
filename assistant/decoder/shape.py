"""What a transformers model must look like to be computed here, told from its config and its modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, in the order in which they are fused: q, k, v; o; gate, up; down."""

FUSED = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""What is one product: a matrix of several parts below each other."""

LONGEST = 32768
"""Positions that are prepared at most."""

BLOCK = 64
"""Columns that share a scale, in NF4 as bitsandbytes quantises."""

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""NormalFloat of 4 bits (QLoRA, arXiv 2305.14314, appendix E), as bitsandbytes has it."""


class NotPacked(Exception):
    """The model can't be computed here; the text says why, for a log."""


@dataclass(frozen=True)
class Shape:
    """A decoder-only model of Llama's kind. Sizes are in numbers, `positions` in tokens of a conversation."""

    depth: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    positions: int
    eps: float

    def rows_of(self, part: str) -> int:
        """How many rows a part has."""
        kv = self.kv_heads * self.head_size
        sizes = {"q_proj": self.heads * self.head_size, "k_proj": kv, "v_proj": kv}
        return sizes.get(part, self.inner if part in ("gate_proj", "up_proj") else self.hidden)

    def columns_of(self, part: str) -> int:
        """How many columns a part has."""
        return {"o_proj": self.heads * self.head_size, "down_proj": self.inner}.get(part, self.hidden)


def shape_of(model: Any) -> Shape:
    """Of a transformers model, loaded. Raises: NotPacked where its arithmetic is another than ours."""
    config, decoder, head = model.config.get_text_config(), model.get_decoder(), model.get_output_embeddings()
    positions = min(config.max_position_embeddings, LONGEST)
    kind = config.model_type
    if kind not in ("llama", "mistral", "qwen2", "qwen3"):
        raise NotPacked(f"models of the kind {kind!r} are not known here")
    if config.hidden_act != "silu":
        raise NotPacked(f"the activation {config.hidden_act!r} is not known here")
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None) or []
    if (window and window < positions) and ("sliding_attention" in types or not types):
        raise NotPacked("it attends to a window of the last tokens only")
    if decoder.rotary_emb.rope_type in ("dynamic", "longrope"):
        raise NotPacked("its rotations change with the length of the text")
    if head.bias is not None:
        raise NotPacked("its head has a bias")
    for layer in decoder.layers:
        if any(
            base_of(getattr(layer.self_attn if name == "o_proj" else layer.mlp, name)).bias is not None
            for name in PARTS[3:]
        ):
            raise NotPacked("a layer after attention has a bias")
    return Shape(
        depth=len(decoder.layers),
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=int(decoder.layers[0].self_attn.head_dim),
        inner=config.intermediate_size,
        vocabulary=head.weight.shape[0],
        positions=positions,
        eps=float(config.rms_norm_eps),
    )


def base_of(layer: Any) -> Any:
    """A linear layer, out of whatever wraps it."""
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def rotations(rotary: Any, shape: Shape, device: Any) -> tuple[Any, Any]:
    """Cos and sin (positions, head size / 2), float32 tensors, as the model's own module computes them.

    Raises: NotPacked: it rotates otherwise.
    """
    import torch

    places = torch.arange(shape.positions, device=device)[None]
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32, device=device), places)
    half = shape.head_size // 2
    if cos.shape[-1] != shape.head_size or not torch.equal(cos[..., :half], cos[..., half:]):
        raise NotPacked("it rotates a part of each head only")
    return cos[0, :, :half].float().contiguous(), sin[0, :, :half].float().contiguous()
