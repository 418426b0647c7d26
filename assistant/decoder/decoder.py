"""The decoder of our own behind three calls: make one, begin an answer, close it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from assistant.adapters import check_adapter
from assistant.decoder.batcher import Batcher, Request
from assistant.decoder.blocks import TOKENS
from assistant.decoder.compiled import one_process
from assistant.decoder.packing import pack
from assistant.decoder.rows import Row, Runs
from assistant.decoder.runner import Runner
from assistant.decoder.shape import NotPacked
from assistant.engine import AdapterFiles, Sampling

Alone = Callable[[None], AbstractContextManager[Any]]
"""(None) → the base, for the caller alone while the context lasts: what a runner is compared with."""

ROWS = 32
"""Of a pass: what a thread computes in about a twentieth of a second, so that nobody waits long for a long prompt."""

KEPT_BYTES = 2**30
"""For keys and values at most: 23,000 tokens of the embedded model. A machine with less than four times that free gives
a quarter of what it has.
"""

ADAPTERS_KEPT = 4
"""Versions that are kept packed beside those that answer."""

KEPT_BYTES_OF_A_CARD = 2**34
"""For keys and values on a card at most; of one with less than twice that free, half of it."""

LOGITS_OFF = 1e-4
"""How far logits may be from those of transformers, relative to the largest: float32 sums in another order."""

LOGITS_OFF_ON_A_CARD = 0.15
"""The same on a card, as the length of the difference: both round to bfloat16 between their sums, transformers more
often than we. Tiny models with large weights are a tenth off; one that computes something else is off by its length.
"""


class Decoder:
    """Answers from a transformers model's weights, many at once. Making one takes seconds: it compiles and compares.

    Args:
        model: loaded; with PEFT's layers in it or without. Only its weights are read.
        alone: the model, while nobody else computes with it.
        ends: the tokens that end an answer.
        at_once: answers that are computed together.

    Raises: NotPacked: this model or machine is none for it, and why.
    """

    def __init__(self, model: Any, ends: Sequence[int], *, at_once: int, alone: Alone) -> None:
        self._runner = (_on_a_card if model.device.type == "cuda" else _on_a_cpu)(model, alone)
        self._model = self._runner.model
        self._batcher = Batcher(self._runner, most=at_once)
        self._ends = frozenset(ends)
        self._adapters: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._packing = threading.Lock()

    def begin(
        self, ids: Sequence[int], sampling: Sampling, adapter: AdapterFiles | None, stop: threading.Event
    ) -> Request | None:
        """An answer to a prompt of `ids`; None: it must be computed elsewhere.

        Raises: ModelUnavailable: the adapter's files are missing or not the ones that were published.
        """
        longest = len(ids) + sampling.max_tokens
        if not ids or max(ids) >= self._model.vocabulary or not self._batcher.fits(longest):
            return None
        try:
            packed = None if adapter is None else self._packed(adapter)
        except NotPacked:
            return None
        root = None if adapter is None else adapter.sha256
        request = Request(ids, sampling, packed, root, self._ends, stop)
        self._batcher.submit(request)
        return request

    @property
    def under_way(self) -> tuple[int, int]:
        """Answers that are computed, and that wait."""
        return self._batcher.under_way

    def forget(self) -> None:
        """Give back the memory of what was read, as soon as nothing is under way."""
        self._batcher.forget()

    def close(self) -> None:
        """End the threads; answers under way end where they are."""
        self._batcher.close()
        self._runner.close()

    def _packed(self, adapter: AdapterFiles) -> Any:
        """By its weights: two versions can have the same. Packed in the asker's thread, while others are answered."""
        found = self._known(adapter.sha256)
        if found is None:
            # One at a time; who asks for a version that is packed already does not wait for it.
            with self._packing:
                found = self._known(adapter.sha256)
                if found is None:
                    check_adapter(adapter)
                    try:
                        found = self._runner.adapter(adapter.path)
                    except NotPacked as error:
                        # Kept too: many prompts with it are refused at once, and not one by one.
                        found = error
                    with self._lock:
                        self._adapters[adapter.sha256] = found
                        while len(self._adapters) > ADAPTERS_KEPT:
                            self._adapters.popitem(last=False)
        if isinstance(found, NotPacked):
            raise found
        return found

    def _known(self, sha256: str) -> Any:
        with self._lock:
            if sha256 in self._adapters:
                self._adapters.move_to_end(sha256)
            return self._adapters.get(sha256)


def _on_a_cpu(model: Any, alone: Alone) -> Runs:
    with one_process():
        packed = pack(model)
        blocks = max(2, min(KEPT_BYTES, _free_bytes() // 4) // Runner.block_bytes(packed))
        runner = Runner(packed, blocks=blocks, rows=ROWS, threads=_threads())
        # Once beforehand: compiling takes seconds, in which nobody shall wait for the model.
        runner.run([Row(0, 0, (0,), None, True)])

    def found(rows: Sequence[Row]) -> Any:
        _, hidden = runner.run(rows)
        return hidden @ packed.exact_head.T

    _compare(runner, found, alone, _largest, LOGITS_OFF)
    return runner


def _on_a_card(model: Any, alone: Alone) -> Runs:
    from assistant.decoder.cuda.runner import CudaRunner
    from assistant.decoder.cuda.weights import read

    packed = read(model)
    blocks = max(2, KEPT_BYTES_OF_A_CARD // CudaRunner.block_bytes(packed))
    runner = CudaRunner(packed, blocks=blocks, alone=partial(alone, None))
    _compare(runner, lambda rows: runner.logits(rows).cpu().numpy(), alone, np.linalg.norm, LOGITS_OFF_ON_A_CARD)
    return runner


def _largest(numbers: Any) -> Any:
    return np.abs(numbers).max()


def _compare(
    runner: Runs,
    logits: Callable[[Sequence[Row]], Any],
    alone: Alone,
    size: Callable[[Any], Any],
    most: float,
) -> None:
    """Raises: NotPacked: its logits are further than `most` off those of transformers, over a few tokens of any text.

    Args:
        size: of logits, and of how they differ.
    """
    import torch

    shape = runner.model
    ids = [(7 * i * i + 3) % shape.vocabulary for i in range(min(TOKENS + 4, shape.positions))]
    with alone(None) as model, torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu().numpy()
    found = logits([Row(token, place, [0, 1], None, True) for place, token in enumerate(ids)])
    off = float(size(found - expected) / size(expected))
    if not off <= most:
        runner.close()
        raise NotPacked(f"its logits are {off:.1e} off those of transformers")


def _threads() -> int:
    """As many as torch takes, and no more than this process may run on."""
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), allowed))


def _free_bytes() -> int:
    """Of memory; plenty where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 4 * KEPT_BYTES
