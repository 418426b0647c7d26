"""The decoder of our own for NVIDIA cards: the model's own NF4 weights, one recorded graph of kernels a pass.

kernels.py    products, attention and what stands between them, in Triton
weights.py    a transformers model → its weights as the kernels read them, without a second copy
adapters.py   adapters in slots, side by side
forward.py    tokens of any conversations → the likeliest next ones: one pass of kernels
memory.py     how many blocks of keys and values there is memory for
drawing.py    logits → a token, where one is drawn
runner.py     passes recorded as CUDA graphs, with what they work on
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec


def why_not() -> str | None:
    """Why no card here can run it, or None where one can. Asked before anything heavy is imported."""
    import torch

    if find_spec("triton") is None:
        return "the decoder of our own needs Triton, which comes with torch's builds for NVIDIA cards"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "the decoder of our own needs gcc or clang, with which Triton makes itself ready"
    if torch.version.hip or torch.cuda.get_device_capability() < (8, 0):
        return "the decoder of our own needs an NVIDIA card of the Ampere generation or later"
    return None
