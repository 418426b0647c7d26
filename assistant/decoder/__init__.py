"""A decoder of our own for CPUs: the very NF4 values, float32 arithmetic, and answers of many users computed together.

`transformers` reads the model; this reads its weights out of the modules, packs them four bits each, and computes the
tokens of all answers under way in one pass over the weights. What it can't read (another architecture, another machine)
it refuses with a reason, and transformers serves.

    compiled.py   where compiled code is kept
    vectors.py    products of packed weights, in LLVM instructions that numba compiles on the machine
    packing.py    a transformers model → its weights as the products want them, or why not
    lora.py       an adapter's folder → the same
    forward.py    tokens of any conversations → their logits: the compiled pass
    runner.py     the pass with its weights, blocks and threads
    blocks.py     keys and values in blocks of sixteen tokens, found again by what was read
    choice.py     logits → the next token
    batcher.py    who is computed next: join, step, leave
    decoder.py    all of it behind three calls
"""

from __future__ import annotations

import platform
import sys


def why_not() -> str | None:
    """Why this machine can't run it, or None where it can. Asked before anything heavy is imported."""
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
