"""A transformers model → its weights as the products want them.

Nothing is rounded: bitsandbytes' four bits and scales are found again in the unpacked values, and what does not come
out to the bit is refused. The head alone is held twice, as eight bits to search with and as it is to decide (see
`assistant.decoder.choice`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assistant.decoder.compiled import jit
from assistant.decoder.shape import BLOCK, FUSED, NF4, PARTS, NotPacked, Shape, base_of, rotations, shape_of
from assistant.decoder.vectors import LANES

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
Packed = NDArray[np.int32]


@dataclass(frozen=True)
class Matrix:
    """Rows in panels of sixteen: `weights` (panels, columns / 8 or / 4, 16) and `scales` (panels, columns / 64, 16)."""

    weights: Packed
    scales: Floats

    @property
    def panels(self) -> int:
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class PackedModel(Shape):
    """A model as the products want it.

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


def pack(model: Any) -> PackedModel:
    """Read a transformers model, loaded, with or without PEFT's layers in it. Raises: NotPacked."""
    import torch

    with torch.inference_mode():
        try:
            return _pack(model)
        except AttributeError as error:
            raise NotPacked(f"not built like Llama: {error}") from error


def _pack(model: Any) -> PackedModel:
    shape = shape_of(model)
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    size, heads, kv_heads = shape.head_size, shape.heads, shape.kv_heads
    if shape.hidden % BLOCK or shape.inner % BLOCK or (heads * size) % BLOCK or size % LANES:
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
        if given[0] is not None:
            biases.append(np.concatenate([bias for bias in given[:3] if bias is not None]))
    exact_head = _floats(head.weight)
    packed_head, off = _int8(exact_head)
    cos, sin = map(_floats, rotations(decoder.rotary_emb, shape, "cpu"))
    return PackedModel(
        **asdict(shape),
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


def _linear(layer: Any) -> tuple[Floats, Floats | None]:
    """Weights and bias of a linear layer, out of whatever wraps it."""
    layer = base_of(layer)
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
