"""How long a recorded pass of the decoder takes on this card, and what of it each kernel: `python tests/gpu/passes.py`.

Random weights in the shape of Qwen3-8B, made in the card's memory; no folder, no threads, no words: what is left of a
token's time in `nightschool bench-speed` is those. Run from the project's root.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from triton.testing import do_bench

sys.path.insert(0, str(Path(__file__).parents[2]))

from assistant.decoder.cuda.adapters import CudaAdapter
from assistant.decoder.cuda.runner import CudaRunner
from assistant.decoder.cuda.weights import CudaModel, Matrix
from assistant.decoder.rows import Pick, Row
from assistant.engine import Sampling

DEPTH, HIDDEN, HEADS, KV_HEADS, SIZE, INNER, VOCABULARY = 36, 4096, 32, 8, 128, 12288, 151936
POSITIONS, RANK, AT = 8192, 16, 500
"""AT: tokens before the rows of a pass."""


def say(line: str) -> None:
    """To who watches."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def random_model() -> CudaModel:
    """In NF4, with scales that keep numbers finite."""

    def matrix(parts: list[int], columns: int) -> Matrix:
        rows = sum(parts)
        digits = torch.randint(0, 256, (rows, columns // 2), dtype=torch.uint8, device="cuda")
        return Matrix(digits, torch.rand(columns // 64, rows, device="cuda") * 0.04 + 0.01, tuple(parts))

    wide = [HEADS * SIZE, KV_HEADS * SIZE, KV_HEADS * SIZE]
    layers = tuple(
        (
            matrix(wide, HIDDEN),
            matrix([HIDDEN], HEADS * SIZE),
            matrix([INNER, INNER], HIDDEN),
            matrix([HIDDEN], INNER),
        )
        for _ in range(DEPTH)
    )
    turns = torch.arange(POSITIONS, device="cuda")[:, None] * 1e6 ** (-torch.arange(64, device="cuda") / 64)
    table = torch.randn(VOCABULARY, HIDDEN, device="cuda", dtype=torch.bfloat16) * 0.02
    return CudaModel(
        *(DEPTH, HIDDEN, HEADS, KV_HEADS, SIZE, INNER, VOCABULARY, POSITIONS, 1e-6),
        layers=layers,
        norms=torch.ones(DEPTH, 2, HIDDEN, device="cuda"),
        final_norm=torch.ones(HIDDEN, device="cuda"),
        head_norms=torch.ones(DEPTH, 2, SIZE, device="cuda"),
        biases=None,
        embedding=table,
        head=table.clone(),
        cos=turns.cos().float(),
        sin=turns.sin().float(),
    )


def random_adapter(model: CudaModel) -> CudaAdapter:
    """On all matrices."""

    def noise(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, device="cuda").to(torch.bfloat16) * 0.02

    of_layers = [[(noise(len(m.parts) * RANK, m.columns), noise(m.rows, RANK)) for m in x] for x in model.layers]
    return CudaAdapter(tuple(map(tuple, of_layers)), RANK)


def copying() -> float:
    """Terabytes a second, read and written."""
    one = torch.empty(2**30, dtype=torch.float32, device="cuda")
    other = torch.empty_like(one)
    return float(2 * one.numel() * 4 / do_bench(lambda: other.copy_(one)) / 1e9)


def main() -> None:
    """A line for each size: milliseconds of the graph, of the call, and of the kernels that take most."""
    model = random_model()
    say(f"{torch.cuda.get_device_name()}, copies {copying():.2f} TB/s")
    began = time.perf_counter()
    runner = CudaRunner(model, blocks=2048)
    torch.cuda.synchronize()
    say(f"recorded in {time.perf_counter() - began:.1f} s")
    adapter = random_adapter(model)
    tables = [list(range(60 * i, 60 * i + 60)) for i in range(32)]
    stream: Any = runner._stream
    for size in (1, 8, 32, 512):
        each = min(size, 32)
        rows = [Row(7 + i, AT + i // each, tables[i % each], adapter, i < each) for i in range(size)]
        picks = [Pick(Sampling(8), np.random.default_rng(0))] * each
        for _ in range(3):
            runner.next_tokens(rows, picks)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        with torch.cuda.stream(stream):
            events[0].record()
            for _ in range(20):
                runner._play(size)
            events[1].record()
        torch.cuda.synchronize()
        graph = events[0].elapsed_time(events[1]) / 20
        began = time.perf_counter()
        for _ in range(20):
            runner.next_tokens(rows, picks)
        call = (time.perf_counter() - began) / 20 * 1e3
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            with torch.cuda.stream(stream):
                runner._play(size)
            torch.cuda.synchronize()
        most = sorted(profiled.key_averages(), key=lambda e: -e.device_time_total)[:8]
        kernels = ", ".join(f"{e.key[:24]} {e.device_time_total / 1e3:.2f}" for e in most)
        say(f"{size} rows: graph {graph:.2f} ms, call {call:.2f} ms, {size / call * 1e3:.0f} rows/s; {kernels}")


if __name__ == "__main__":
    main()
