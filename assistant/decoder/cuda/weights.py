"""A transformers model on a card → its weights as the kernels read them.

What is one product is fused by moving the layers' digits next to each other; the layers see their share of that, so
that transformers and the night go on with the very same memory. Scales alone are held twice, as bitsandbytes' nested
eight bits and as the float32 that they stand for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from assistant.decoder.cuda.kernels import STRETCH
from assistant.decoder.shape import BLOCK, FUSED, NotPacked, Shape, base_of, rotations, shape_of

if TYPE_CHECKING:
    import torch

TILE = 64
"""Rows of a matrix that a program computes; parts of a fused one are made of whole ones."""


@dataclass(frozen=True)
class Matrix:
    """NF4: `digits` (rows, columns / 2) uint8, `scales` (columns / 64, rows) float32, divided by `STRETCH`."""

    digits: torch.Tensor
    scales: torch.Tensor
    parts: tuple[int, ...]
    """Rows of each part."""

    @property
    def rows(self) -> int:
        return int(self.digits.shape[0])

    @property
    def columns(self) -> int:
        return 2 * int(self.digits.shape[1])

    @property
    def begins(self) -> tuple[int, int]:
        """Where the second and the third part begin; behind the last row where there is none."""
        first = self.parts[0] if len(self.parts) > 1 else self.rows
        second = first + self.parts[1] if len(self.parts) > 2 else self.rows
        return first, second


@dataclass(frozen=True)
class CudaModel(Shape):
    """Tensors on one device.

    Attributes:
        layers: for each layer the four matrices of `FUSED`.
        norms: (layers, 2, hidden) float32: before attention, and before the MLP. final_norm: (hidden,).
        head_norms: (layers, 2, head size) float32: of queries and of keys, or None (Qwen3 has them).
        biases: (layers, queries + keys + values) float32, or None (Qwen2 has them).
        embedding, head: (vocabulary, hidden), the model's own.
        cos, sin: (positions, head size / 2) float32.
    """

    layers: tuple[tuple[Matrix, ...], ...]
    norms: torch.Tensor
    final_norm: torch.Tensor
    head_norms: torch.Tensor | None
    biases: torch.Tensor | None
    embedding: torch.Tensor
    head: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor


def read(model: Any) -> CudaModel:
    """Read a transformers model, loaded, with or without PEFT's layers in it. Raises: NotPacked."""
    import torch

    with torch.inference_mode(mode=False), torch.no_grad():
        try:
            return _read(model)
        except AttributeError as error:
            raise NotPacked(f"not built like Llama: {error}") from error


def _read(model: Any) -> CudaModel:
    import torch

    shape = shape_of(model)
    if any(shape.rows_of(part) % TILE or shape.columns_of(part) % BLOCK for parts in FUSED for part in parts):
        raise NotPacked(f"its sizes are no multiples of {TILE}")
    if shape.head_size % 32:
        raise NotPacked(f"heads of {shape.head_size} are not known here")
    decoder = model.get_decoder()
    layers, norms, head_norms, biases = [], [], [], []
    for layer in decoder.layers:
        attention = layer.self_attn
        found = [
            [base_of(getattr(attention if name[0] in "qkvo" else layer.mlp, name)) for name in parts] for parts in FUSED
        ]
        layers.append(tuple(map(_fuse, found)))
        norms.append(torch.stack([layer.input_layernorm.weight, layer.post_attention_layernorm.weight]).float())
        if hasattr(attention, "q_norm"):
            head_norms.append(torch.stack([attention.q_norm.weight, attention.k_norm.weight]).float())
        if found[0][0].bias is not None:
            biases.append(torch.cat([part.bias for part in found[0]]).float())
    cos, sin = rotations(decoder.rotary_emb, shape, model.device)
    return CudaModel(
        **asdict(shape),
        layers=tuple(layers),
        norms=torch.stack(norms),
        final_norm=decoder.norm.weight.float(),
        head_norms=torch.stack(head_norms) if head_norms else None,
        biases=torch.stack(biases) if biases else None,
        embedding=decoder.embed_tokens.weight.detach(),
        head=model.get_output_embeddings().weight.detach(),
        cos=cos,
        sin=sin,
    )


def _fuse(parts: list[Any]) -> Matrix:
    """Layers that are multiplied by the same → one matrix, in whose memory their digits lie from now on."""
    import torch

    digits, scales = [], []
    for layer in parts:
        state = getattr(layer.weight, "quant_state", None)
        if state is None or state.quant_type != "nf4" or state.blocksize != BLOCK or layer.weight.dtype != torch.uint8:
            raise NotPacked("its weights are not NF4 in blocks of 64")
        digits.append(layer.weight.data.reshape(layer.out_features, layer.in_features // 2))
        scales.append(_scales(state).reshape(layer.out_features, layer.in_features // BLOCK))
    fused = torch.cat(digits) if len(digits) > 1 else digits[0]
    begin = 0
    for layer in parts if len(parts) > 1 else ():
        weight = layer.weight
        # Who computes with it meanwhile has the old memory or the new: they hold the same.
        weight.data = fused[begin : begin + layer.out_features].reshape(weight.shape)
        begin += layer.out_features
    together = (torch.cat(scales) / STRETCH).T.contiguous()
    return Matrix(fused, together, tuple(layer.out_features for layer in parts))


def _scales(state: Any) -> Any:
    """A quantised layer's scales, float32, out of bitsandbytes' second quantisation where there is one."""
    if not state.nested:
        return state.absmax.float()
    from bitsandbytes.functional import dequantize_blockwise

    return dequantize_blockwise(state.absmax, state.state2).float() + state.offset
