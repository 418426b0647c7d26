"""The decoder of our own behind three calls: make one, begin an answer, close it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from assistant.adapters import check_adapter
from assistant.decoder.batcher import Batcher, Request
from assistant.decoder.blocks import TOKENS, Blocks
from assistant.decoder.compiled import one_process
from assistant.decoder.lora import PackedAdapter, pack_adapter
from assistant.decoder.packing import NotPacked, pack
from assistant.decoder.runner import Row, Runner
from assistant.engine import AdapterFiles, Sampling

ROWS = 32
"""Of a pass: what a thread computes in about a twentieth of a second, so that nobody waits long for a long prompt."""

KEPT_BYTES = 2**30
"""For keys and values at most: 23,000 tokens of the embedded model. A machine with less than four times that free gives
a quarter of what it has.
"""

ADAPTERS_KEPT = 4
"""Versions that are kept packed beside those that answer."""

LOGITS_OFF = 1e-4
"""How far logits may be from those of transformers, relative to the largest: float32 sums in another order."""


class Decoder:
    """Answers from a transformers model's weights, many at once. Making one takes seconds: it compiles and compares.

    Args:
        model: loaded; with PEFT's layers in it or without. Only its weights are read.
        alone: (None) → the base, for the caller alone while the context lasts: what it is compared with.
        ends: the tokens that end an answer.
        at_once: answers that are computed together.

    Raises: NotPacked: this model or machine is none for it, and why.
    """

    def __init__(
        self, model: Any, ends: Sequence[int], *, at_once: int, alone: Callable[[None], AbstractContextManager[Any]]
    ) -> None:
        if model.device.type != "cpu":
            raise NotPacked("the model is on a GPU")
        with one_process():
            self._model = pack(model)
            blocks = max(2, min(KEPT_BYTES, _free_bytes() // 4) // Runner.block_bytes(self._model))
            runner = Runner(self._model, blocks=blocks, rows=ROWS, threads=_threads())
            # Once beforehand: compiling takes seconds, in which nobody shall wait for the model.
            runner.run([Row(0, 0, (0,), None, True)])
        with alone(None) as base:
            off = _off(runner, base)
        if not off <= LOGITS_OFF:
            runner.close()
            raise NotPacked(f"its logits are {off:.1e} off those of transformers")
        self._runner = runner
        self._batcher = Batcher(runner, Blocks(blocks), most=at_once)
        self._ends = frozenset(ends)
        self._adapters: OrderedDict[str, PackedAdapter | NotPacked] = OrderedDict()
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

    def _packed(self, adapter: AdapterFiles) -> PackedAdapter:
        """By its weights: two versions can have the same. Packed in the asker's thread, while others are answered."""
        found = self._known(adapter.sha256)
        if found is None:
            # One at a time; who asks for a version that is packed already does not wait for it.
            with self._packing:
                found = self._known(adapter.sha256)
                if found is None:
                    check_adapter(adapter)
                    try:
                        found = pack_adapter(adapter.path, self._model)
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

    def _known(self, sha256: str) -> PackedAdapter | NotPacked | None:
        with self._lock:
            if sha256 in self._adapters:
                self._adapters.move_to_end(sha256)
            return self._adapters.get(sha256)


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


def _off(runner: Runner, model: Any) -> float:
    """How far the runner's logits are from the model's, relative to the largest, over a few tokens of any text."""
    import torch

    packed = runner.model
    ids = [(7 * i * i + 3) % packed.vocabulary for i in range(min(TOKENS + 4, packed.positions))]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).logits[0].float().numpy()
    _, hidden = runner.run([Row(token, place, (0, 1), None, True) for place, token in enumerate(ids)])
    found = hidden @ packed.exact_head.T
    return float(np.abs(found - expected).max() / np.abs(expected).max())
