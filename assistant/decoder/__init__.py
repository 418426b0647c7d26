"""A decoder of our own: the very NF4 values, and answers of many users computed together.

`transformers` reads the model; this reads its weights out of the modules and computes the tokens of all answers under
way in one pass over the weights: on a CPU in float32, on a card in bfloat16 with sums in float32. What it can't read
(another architecture, another machine) it refuses with a reason, and transformers serves.

    shape.py      what a model must look like
    blocks.py     keys and values in blocks of sixteen tokens, found again by what was read
    rows.py       what a pass is made of, and what computes one
    batcher.py    who is computed next: join, step, leave
    decoder.py    all of it behind three calls
    cuda/         passes on an NVIDIA card

On a CPU:

    compiled.py   where compiled code is kept
    vectors.py    products of packed weights, in LLVM instructions that numba compiles on the machine
    packing.py    a transformers model → its weights as the products want them, or why not
    lora.py       an adapter's folder → the same
    forward.py    tokens of any conversations → their logits: the compiled pass
    choice.py     logits → the next token
    runner.py     the pass with its weights, blocks and threads
"""

from __future__ import annotations

import platform
import sys


def why_not(device: str = "cpu") -> str | None:
    """Why this machine can't run it on such a device (torch's kinds), or None where it can."""
    if device == "cuda":
        from assistant.decoder import cuda

        return cuda.why_not()
    if sys.platform == "win32" or platform.machine().lower() not in {"x86_64", "amd64"}:
        return "the decoder of our own is made for x86-64, under Linux or macOS"
    try:
        import llvmlite.binding as llvm
        import numba  # noqa: F401 - whether it is there
    except ImportError as error:
        return f"the decoder of our own needs numba ({error})"
    features = llvm.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        return "the decoder of our own needs a CPU with AVX2 and FMA"
    return None
