"""A step's layers in fewer pieces, for a base whose weights are packed: less to launch, less to keep.

On a GPU a night's step is a few hundred tokens. Its products take as long as handing thousands of small kernels to the
card does, and most of its memory is what each small piece keeps for its way back. So, while a night trains:

    a LoRA over an NF4 layer     one function: y = x Wᵀ + s (x Aᵀ) Bᵀ, in the base's arithmetic, A and B kept in float32
    the last layer of a SwiGLU   the same with x = silu(gate) · up, which is computed again on the way back
    an RMS norm                  torch's one kernel, which keeps its input alone

What each computes is what PEFT's and transformers' own pieces compute, up to rounding; nothing of it is left in the
model afterwards. Layers of other kinds stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class _Packed:
    """An NF4 weight and the LoRA over it. The scales of its blocks are held in float32 meanwhile: 0.4 bits more a
    weight, and two launches fewer each time.
    """

    def __init__(self, layer: Any, name: str) -> None:
        from bitsandbytes.functional import dequantize_blockwise

        base, state = layer.base_layer, layer.base_layer.weight.quant_state
        scales = dequantize_blockwise(state.absmax, state.state2) + state.offset if state.nested else state.absmax
        self._weight, self._scales, self._state = base.weight.data.view(-1, 1), scales.float(), state
        self.bias = None if base.bias is None else base.bias.data
        self.a, self.b = layer.lora_A[name].weight, layer.lora_B[name].weight
        self.strength = float(layer.scaling[name])

    def product(self, x: Tensor) -> Tensor:
        """X Wᵀ + bias, of (tokens, in), as the base itself computes it."""
        state = self._state
        y: Tensor = torch.ops.bitsandbytes.gemm_4bit.default(
            x, self._weight, state.shape, self._scales, state.blocksize, state.quant_type, bias=self.bias
        )
        return y

    def weight(self, dtype: torch.dtype) -> Tensor:
        """(out, in), as the base computes with it."""
        state = self._state
        values: Tensor = torch.ops.bitsandbytes.dequantize_4bit.default(
            self._weight, self._scales, state.blocksize, state.quant_type, state.shape, state.dtype
        )
        return values.to(dtype)


class _Product(torch.autograd.Function):
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ, where x is what came in, or silu(what came in) · up."""

    @staticmethod
    def forward(ctx: Any, came: Tensor, up: Tensor | None, a: Tensor, b: Tensor, layer: _Packed) -> Tensor:
        x = _flat(came if up is None else torch.nn.functional.silu(came) * up)
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = x @ a.t()
        y = layer.product(x).addmm_(low, b.t(), alpha=layer.strength)
        ctx.layer = layer
        ctx.save_for_backward(came, up, low, a, b)
        return y.view(*came.shape[:-1], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        came, up, low, a, b = ctx.saved_tensors
        layer: _Packed = ctx.layer
        grad = _flat(grad)
        opened = None if up is None else torch.nn.functional.silu(came)
        x = _flat(came if opened is None else opened * up)
        to_low = (grad @ b).mul_(layer.strength)
        to_a = (to_low.t() @ x).float()
        to_b = (grad.t() @ low).float().mul_(layer.strength)
        if not ctx.needs_input_grad[0]:
            return None, None, to_a, to_b, None
        to_x = grad @ layer.weight(grad.dtype)
        to_x = to_x.addmm_(to_low, a).view(came.shape)
        if opened is None:
            return to_x, None, to_a, to_b, None
        return torch.ops.aten.silu_backward(to_x * up, came), to_x * opened, to_a, to_b, None


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


@contextmanager
def fused(model: Any) -> Iterator[None]:
    """While the block runs, `model`, a PEFT model with one adapter, computes what it can in the pieces above."""
    changed: list[Any] = []

    def compute(module: Any, how: Callable[..., Tensor]) -> None:
        # On the module itself, before its class's: what is called stays the module, with its hooks.
        module.forward = how
        changed.append(module)

    try:
        products = {module: _Packed(module, _adapter(module)) for module in model.modules() if _is_packed(module)}
        for module, packed in products.items():
            compute(module, _product(packed))
        norms: dict[type, bool] = {}
        for module in model.modules():
            if _is_swiglu(module, products):
                compute(module, _swiglu(module, products[module.down_proj]))
            elif type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                kind = type(module)
                if kind not in norms:
                    norms[kind] = _is_plain(module)
                if norms[kind]:
                    compute(module, _norm(module))
        yield
    finally:
        for module in changed:
            del module.forward


def _product(packed: _Packed) -> Callable[..., Tensor]:
    return lambda x: _Product.apply(x, None, packed.a, packed.b, packed)  # type: ignore[no-untyped-call]


def _swiglu(module: Any, down: _Packed) -> Callable[..., Tensor]:
    return lambda x: _Product.apply(  # type: ignore[no-untyped-call]
        module.gate_proj(x), module.up_proj(x), down.a, down.b, down
    )


def _norm(module: Any) -> Callable[..., Tensor]:
    weight, epsilon = module.weight, module.variance_epsilon
    return lambda x: torch.nn.functional.rms_norm(x, weight.shape, weight, epsilon)


def _adapter(layer: Any) -> str:
    (name,) = layer.active_adapters
    return str(name)


def _is_packed(module: Any) -> bool:
    """Whether it is a plain LoRA, without dropout, on an NF4 layer."""
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or not isinstance(module.base_layer, Linear4bit):
        return False
    name = _adapter(module)
    dropout = module.lora_dropout[name]
    shape = module.base_layer.weight.quant_state.shape
    return (
        not module.lora_variant.get(name)
        and (isinstance(dropout, torch.nn.Identity) or dropout.p == 0)
        and module.lora_A[name].weight.shape[1] == shape[1]
        and module.base_layer.compute_dtype == module.base_layer.weight.quant_state.dtype
    )


def _is_swiglu(module: Any, products: dict[Any, _Packed]) -> bool:
    """Whether it is down(silu(gate(x)) · up(x)) and nothing more, as in Llama, Mistral and Qwen."""
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if {name for name, _ in module.named_children()} != set(parts) or module.down_proj not in products:
        return False
    gate = torch.linspace(-3, 3, 13)
    return torch.equal(module.act_fn(gate), torch.nn.functional.silu(gate))


def _is_plain(norm: Any) -> bool:
    """Whether a norm computes x / rms(x) · weight: some weigh by 1 + weight."""
    weight = norm.weight
    with torch.no_grad():
        x = torch.linspace(-2, 3, 4 * weight.numel(), device=weight.device).view(4, -1).to(weight.dtype)
        return torch.allclose(
            norm(x), torch.nn.functional.rms_norm(x, weight.shape, weight, norm.variance_epsilon), rtol=2e-2, atol=1e-3
        )
