"""Weights from a folder into a model that computes: bitsandbytes NF4 with double quantisation.

NF4 weights are held *packed* (4 bits, unpacked again in every product) or *unpacked* once into float: the very same
values either way, so the answers are the same. `auto` keeps them packed on a GPU and unpacks them on a CPU, where that
is up to three times faster.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from assistant import unpacked
from assistant.models import ModelFiles
from assistant.rendering import read_tokenizer
from memory.errors import ModelUnavailable

Weights = Literal["auto", "packed", "unpacked"]


def load(files: ModelFiles, weights: Weights, copies: Path | None) -> tuple[Any, Any]:
    """Tokenizer and model, quantised and placed, ready to compute. Raises: ModelUnavailable."""
    import torch
    import transformers
    from safetensors import SafetensorError

    fetch_no_kernels()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    on_cpu = not torch.cuda.is_available()
    try:
        tokenizer = read_tokenizer(files.path)
        if not on_cpu or weights == "packed":
            model = quantised(files, "cpu" if on_cpu else "cuda")
            _compute_exactly(model)
        else:
            model = _from_copy(files, copies) if copies else None
            if model is None:
                model = quantised(files, "cpu")
                _unpack(model)
                if copies:
                    unpacked.keep(model, files, copies)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"the weights of {files.model_id} can't be loaded from {files.path}: {text[0]}"
        ) from error
    model.eval()
    return tokenizer, model


def rounds(model: Any) -> bool:
    """Whether its weights can be rounded to bfloat16: plain floats, on a CPU."""
    import torch

    packed = getattr(model, "is_quantized", False)
    return model.device.type == "cpu" and not packed and model.dtype == torch.float32


def fetch_no_kernels() -> None:
    """Where the package `kernels` is installed, bitsandbytes fetches one from the hub as it is imported, and where it
    is not it says so. Nobody asked for either: the kernel is for the bfloat16 path that is switched off here.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def _from_copy(files: ModelFiles, copies: Path) -> Any:
    """The model as an earlier start unpacked it, or None: a copy that can't be read is none."""
    import torch
    import transformers

    copy = unpacked.find(files, copies)
    try:
        return copy and transformers.AutoModelForCausalLM.from_pretrained(
            str(copy), dtype=torch.float32, local_files_only=True
        )
    except Exception:
        # Whatever a damaged file leads transformers to: the weights that it was made of are there, and read instead.
        logging.getLogger(__name__).warning("the copy %s can't be read: unpacking again", copy, exc_info=True)
        return None


def quantised(files: ModelFiles, device: str) -> Any:
    """The model in NF4 with double quantisation on `device`."""
    import torch
    import transformers

    # On a CPU, NF4 computes well in float32 and terribly in bfloat16.
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    quantisation = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(files.path), dtype=dtype, quantization_config=quantisation, device_map={"": device}, local_files_only=True
    )


def _linears4bit(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """(parent, name in it, module) of every NF4 layer."""
    from bitsandbytes.nn import Linear4bit

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear4bit):
                yield parent, name, child


def _compute_exactly(model: Any) -> None:
    """Keep bitsandbytes from its AVX512-bf16 kernel: it rounds to bfloat16, so that a server on such a CPU would give
    other answers than those that passed the exam, and it lets no gradient through.
    """
    for _, _, layer in _linears4bit(model):
        layer.support_avx512bf16_for_cpu = False


def _unpacked(layer: Any) -> Any:
    """A plain linear layer with the values of a packed one. It must not have computed yet: on CPUs with AVX512-bf16 a
    first product repacks the weights, and unpacking them after that gives garbage.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    values = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)
    plain.weight = torch.nn.Parameter(values, requires_grad=False)
    if layer.bias is not None:
        plain.bias = torch.nn.Parameter(layer.bias.data.to(layer.compute_dtype), requires_grad=False)
    return plain


def _unpack(model: Any) -> None:
    """Replace every packed layer by a plain one with the same values; the model no longer says it is quantised."""
    for parent, name, layer in _linears4bit(model):
        setattr(parent, name, _unpacked(layer))
    model.hf_quantizer = None
    model.is_loaded_in_4bit = model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
