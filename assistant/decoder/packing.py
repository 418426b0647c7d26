"""A transformers model → its weights as the products want them.

Nothing is rounded: bitsandbytes' four bits and scales are found again in the unpacked values, and what does not come
out to the bit is refused. The head alone is held twice, as eight bits to search with and as it is to decide (see
`assistant.decoder.choice`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assistant.decoder.compiled import jit
from assistant.decoder.vectors import BLOCK, LANES, NF4

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
Packed = NDArray[np.int32]

PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, in the order in which they are fused: q, k, v; o; gate, up; down."""

FUSED = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""What is one product: a matrix of several parts below each other."""

LONGEST = 32768
"""Positions that are prepared at most."""


class NotPacked(Exception):
    """The model can't be computed here; the text says why, for a log."""


@dataclass(frozen=True)
class Matrix:
    """Rows in panels of sixteen: `weights` (panels, columns / 8 or / 4, 16) and `scales` (panels, columns / 64, 16)."""

    weights: Packed
    scales: Floats

    @property
    def panels(self) -> int:
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class PackedModel:
    """A decoder-only model of Llama's kind. Sizes are in floats.

    Attributes:
        layers: for each layer the four matrices of `FUSED`.
        norms: (layers, 2, hidden): before attention, and before the MLP.
        head_norms: (layers, 2, head size): of queries and of keys; (0, 2, head size) where there are none (Qwen3 has).
        biases: (layers, queries + keys + values); (0, …) where there are none (Qwen2 has).
        head: eight bits, its rows filled up to whole panels.
        exact_head: (vocabulary, hidden), the model's own.
        head_off: the largest Euclidean norm of a row's rounding error in `head`.
        cos, sin: (positions, head size / 2).
    """

    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    eps: float
    layers: tuple[tuple[Matrix, ...], ...]
    norms: Floats
    final_norm: Floats
    head_norms: Floats
    biases: Floats
    embedding: Floats
    head: Matrix
    exact_head: Floats
    head_off: float
    cos: Floats
    sin: Floats

    @property
    def positions(self) -> int:
        """Most tokens of a conversation."""
        return int(self.cos.shape[0])

    def rows_of(self, part: str) -> int:
        """How many rows a part has."""
        kv = self.kv_heads * self.head_size
        sizes = {"q_proj": self.heads * self.head_size, "k_proj": kv, "v_proj": kv}
        return sizes.get(part, self.inner if part in ("gate_proj", "up_proj") else self.hidden)

    def columns_of(self, part: str) -> int:
        """How many columns a part has."""
        return {"o_proj": self.heads * self.head_size, "down_proj": self.inner}.get(part, self.hidden)


def pack(model: Any) -> PackedModel:
    """Read a transformers model, loaded, with or without PEFT's layers in it. Raises: NotPacked."""
    import torch

    with torch.inference_mode():
        try:
            return _pack(model)
        except AttributeError as error:
            raise NotPacked(f"not built like Llama: {error}") from error


def _pack(model: Any) -> PackedModel:
    config = model.config.get_text_config()
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    positions = min(config.max_position_embeddings, LONGEST)
    _refuse_what_is_different(model, config, decoder, positions)
    first = decoder.layers[0].self_attn
    size = int(first.head_dim)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    if hidden % BLOCK or inner % BLOCK or (heads * size) % BLOCK or size % LANES:
        raise NotPacked(f"its sizes are no multiples of {BLOCK} ({LANES} for a head)")
    layers, norms, head_norms, biases = [], [], [], []
    for layer in decoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        parts = {name: _linear(getattr(attention if name[0] in "qkvo" else mlp, name)) for name in PARTS}
        layers.append(tuple(_nf4(np.concatenate([parts[name][0] for name in fused])) for fused in FUSED))
        norms.append([_floats(layer.input_layernorm.weight), _floats(layer.post_attention_layernorm.weight)])
        if hasattr(attention, "q_norm"):
            head_norms.append([_floats(attention.q_norm.weight), _floats(attention.k_norm.weight)])
        given = [parts[name][1] for name in PARTS]
        if any(bias is not None for bias in given[3:]):
            raise NotPacked("a layer after attention has a bias")
        if given[0] is not None:
            biases.append(np.concatenate([bias for bias in given[:3] if bias is not None]))
    exact_head = _floats(head.weight)
    packed_head, off = _int8(exact_head)
    cos, sin = _rotations(decoder.rotary_emb, positions, size)
    return PackedModel(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        inner=inner,
        vocabulary=exact_head.shape[0],
        eps=float(config.rms_norm_eps),
        layers=tuple(layers),
        norms=np.array(norms, np.float32),
        final_norm=_floats(decoder.norm.weight),
        head_norms=np.array(head_norms, np.float32).reshape(len(head_norms), 2, size),
        biases=np.array(biases, np.float32).reshape(len(biases), (heads + 2 * kv_heads) * size),
        embedding=_floats(decoder.embed_tokens.weight),
        head=packed_head,
        exact_head=exact_head,
        head_off=off,
        cos=cos,
        sin=sin,
    )


def _refuse_what_is_different(model: Any, config: Any, decoder: Any, positions: int) -> None:
    """Raises: NotPacked where the arithmetic is not the one that `forward` has."""
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
    if model.get_output_embeddings().bias is not None:
        raise NotPacked("its head has a bias")


def _linear(layer: Any) -> tuple[Floats, Floats | None]:
    """Weights and bias of a linear layer, out of whatever wraps it."""
    layer = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    weight = layer.weight
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, weight.quant_state)
    return _floats(weight), None if layer.bias is None else _floats(layer.bias)


def _floats(tensor: torch.Tensor) -> Floats:
    """As numpy sees it: the same memory where it is float32 already."""
    found: Floats = np.ascontiguousarray(tensor.detach().float().cpu().numpy())
    return found


def _nf4(values: Floats) -> Matrix:
    """The four bits and the scales that `values` (rows, columns) were unpacked from. Raises: NotPacked."""
    rows, columns = values.shape
    if rows % LANES:
        raise NotPacked(f"a matrix of {rows} rows is not made of panels of {LANES}")
    weights = np.zeros((rows // LANES, columns // 8, LANES), np.int32)
    scales = np.empty((rows // LANES, columns // BLOCK, LANES), np.float32)
    code = np.array(NF4, np.float32)
    if not _find_nf4(values, code, (code[1:] + code[:-1]) / 2, weights, scales):
        raise NotPacked("its weights are not NF4 in blocks of 64")
    return Matrix(weights, scales)


@jit
def _find_nf4(values, code, middles, weights, scales):  # type: ignore[no-untyped-def] # numba's
    """Fill `weights` and `scales`, and tell whether they stand for `values` to the bit.

    Quantising made the largest of a block plus or minus 1 times its scale, and unpacking multiplied by it.
    """
    rows, columns = values.shape
    for row in range(rows):
        panel, lane = row // 16, row % 16
        for block in range(columns // 64):
            scale = np.float32(0)
            for column in range(block * 64, block * 64 + 64):
                scale = max(scale, abs(values[row, column]))
            scales[panel, block, lane] = scale
            share = np.float32(1) / scale if scale > 0 else np.float32(0)
            for column in range(block * 64, block * 64 + 64):
                x = values[row, column] * share
                digit = 8 if x > middles[7] else 0
                digit += 4 if x > middles[digit + 3] else 0
                digit += 2 if x > middles[digit + 1] else 0
                digit += 1 if x > middles[digit] else 0
                if code[digit] * scale != values[row, column]:
                    return False
                weights[panel, column // 8, lane] |= digit << (4 * (column % 8))
    return True


def _int8(values: Floats) -> tuple[Matrix, float]:
    """Rounded to eight bits in blocks of 64 columns, and the largest norm of what was rounded off a row."""
    rows, columns = values.shape
    panels = -(-rows // LANES)
    weights = np.zeros((panels, columns // 4, LANES), np.int32)
    scales = np.zeros((panels, columns // BLOCK, LANES), np.float32)
    return Matrix(weights, scales), float(_round_to_int8(values, weights, scales))


@jit
def _round_to_int8(values, weights, scales):  # type: ignore[no-untyped-def] # numba's
    rows, columns = values.shape
    worst = np.float32(0)
    for row in range(rows):
        panel, lane = row // 16, row % 16
        off = np.float32(0)
        for block in range(columns // 64):
            scale = np.float32(1e-30)
            for column in range(block * 64, block * 64 + 64):
                scale = max(scale, abs(values[row, column]))
            scale /= np.float32(127)
            scales[panel, block, lane] = scale
            for column in range(block * 64, block * 64 + 64):
                digit = np.int32(np.rint(values[row, column] / scale))
                off += (digit * scale - values[row, column]) ** 2
                weights[panel, column // 4, lane] |= (digit & 255) << (8 * (column % 4))
        worst = max(worst, off)
    return np.sqrt(worst)


def _rotations(rotary: Any, positions: int, size: int) -> tuple[Floats, Floats]:
    """Cos and sin of each position and pair, as the model's own module computes them."""
    import torch

    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), torch.arange(positions)[None])
    half = size // 2
    if cos.shape[-1] != size or not torch.equal(cos[..., :half], cos[..., half:]):
        raise NotPacked("it rotates a part of each head only")
    return _floats(cos[0, :, :half]), _floats(sin[0, :, :half])
