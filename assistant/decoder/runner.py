"""The compiled pass with all that it works on: weights, blocks, room to compute in, threads that share the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assistant.decoder.choice import choose, sharpen
from assistant.decoder.forward import COUNTERS, PHASES, TOKENS, Batch, Room, Sizes, Team, Weights, forward
from assistant.decoder.lora import PackedAdapter, pack_adapter
from assistant.decoder.packing import Floats, Matrix, PackedModel
from assistant.decoder.rows import Pick, Row
from assistant.decoder.vectors import LANES


class Runner:
    """Computes rows. For one thread at a time.

    Args:
        blocks: how many blocks of keys and values there are.
        rows: most rows of a pass.
        threads: that share the work.
    """

    ahead = 1

    def __init__(self, model: PackedModel, *, blocks: int, rows: int, threads: int) -> None:
        self.model, self.rows, self.threads = model, rows, threads
        m, layers = model, len(model.layers)
        self._sizes = Sizes(layers, m.hidden, m.heads, m.kv_heads, m.head_size, m.inner, m.eps)
        self._matrices = np.array([[_table(matrix) for matrix in layer] for layer in m.layers], np.int64)
        self._head = np.array(_table(m.head), np.int64)
        of_model = (m.norms, m.final_norm, m.head_norms, m.biases, m.embedding, m.cos, m.sin)
        self._weights = Weights(*map(_address, (self._matrices, self._head, *of_model)))
        self.blocks = blocks
        self.forget()
        self._no_lora = np.zeros((1, layers, 4, 4), np.int64)
        self._longest = self._widest = 0
        self._buffers: tuple[Floats, ...] = ()
        self._helpers = [_Helper(rank, self._part) for rank in range(1, threads)]

    @staticmethod
    def block_bytes(model: PackedModel) -> int:
        """Of keys and values, what a block takes."""
        return 2 * len(model.layers) * model.kv_heads * model.head_size * TOKENS * 4

    def next_tokens(self, rows: Sequence[Row], picks: Sequence[Pick], passes: int = 1) -> list[list[int]]:
        """The token after each wanted row. Passes are one: what lies between them is nothing beside them here."""
        tokens = []
        logits, hidden = self.run(rows)
        for of_row, given, pick in zip(logits, hidden, picks, strict=True):
            sharpen(of_row, given, self.model, pick.sampling)
            tokens.append([choose(of_row, pick.sampling, pick.dice)])
        return tokens

    def adapter(self, folder: Path) -> PackedAdapter:
        """Read an adapter. Raises: NotPacked."""
        return pack_adapter(folder, self.model)

    def run(self, rows: Sequence[Row]) -> tuple[Floats, Floats]:
        """Logits (wanted rows, vocabulary) by the head in eight bits, and what the head was given (wanted rows,
        hidden).

        Both are overwritten by the next pass.
        """
        conversations = list({id(row.blocks): row.blocks for row in rows}.values())
        places = {id(blocks): place for place, blocks in enumerate(conversations)}
        adapters = list({id(row.adapter): row.adapter for row in rows if row.adapter is not None}.values())
        loras = {id(adapter): place for place, adapter in enumerate(adapters)}
        table = np.empty((len(rows), 4), np.int64)
        groups: list[list[int]] = []
        wanted = 0
        for i, row in enumerate(rows):
            if row.position % TOKENS == 0:
                # What an answer has left there is multiplied by nothing, which is something where it is no number.
                self._values[row.blocks[row.position // TOKENS]] = 0
            table[i] = row.token, row.position, places[id(row.blocks)], wanted if row.wanted else -1
            wanted += row.wanted
            lora = loras.get(id(row.adapter), -1)
            if groups and groups[-1][2] == lora:
                groups[-1][1] += 1
            else:
                groups.append([i, 1, lora])
        tables = np.zeros((len(conversations), max(map(len, conversations))), np.int64)
        for place, blocks in enumerate(conversations):
            tables[place, : len(blocks)] = blocks
        grouped = np.array(groups, np.int64)
        of_loras = np.stack([adapter.table for adapter in adapters]) if adapters else self._no_lora
        self._make_room(tables.shape[1] * TOKENS, max((adapter.widest for adapter in adapters), default=0))
        # Of this pass alone: a helper that comes too late for it finds all done, however many passes later that is.
        counters = np.zeros((len(self.model.layers) * PHASES + 2, 2, COUNTERS), np.int64)
        batch = Batch(
            *(_address(table), len(rows), _address(tables), tables.shape[1]),
            *(_address(grouped), len(groups), _address(of_loras)),
        )
        job = _Job(
            Team(self.threads, _address(counters)), batch, self._room(), (counters, table, tables, grouped, of_loras)
        )
        for helper in self._helpers:
            helper.go(job)
        self._part(0, job)
        *_, picked, logits = self._buffers
        return logits[:wanted, : self.model.vocabulary], picked[:wanted]

    def forget(self) -> None:
        """Give the memory of all keys and values back. Not while a pass is under way."""
        m = self.model
        each = (self.blocks, len(m.layers), m.kv_heads)
        # Zeros that nobody has touched take no memory yet.
        self._keys = np.zeros((*each, m.head_size, TOKENS), np.float32)
        self._values = np.zeros((*each, m.head_size // LANES, TOKENS, LANES), np.float32)

    def reserve(self, at_least: int) -> int:
        """See `Runs.reserve`: all blocks always are, for the system gives memory where it is written to."""
        return self.blocks

    def copy(self, block: int, to: int) -> None:
        """Let block `to` hold what `block` does."""
        self._keys[to] = self._keys[block]
        self._values[to] = self._values[block]

    def close(self) -> None:
        """End the threads."""
        for helper in self._helpers:
            helper.end()

    def _part(self, rank: int, job: _Job) -> None:
        forward(rank, job.team, self._sizes, self._weights, job.batch, job.room)

    def _make_room(self, longest: int, widest: int) -> None:
        """Buffers for conversations of up to `longest` tokens and adapters of `widest` floats."""
        if self._buffers and longest <= self._longest and widest <= self._widest:
            return
        self._longest, self._widest = max(longest, 2 * self._longest), max(widest, self._widest, LANES)
        m, rows = self.model, self.rows
        heads = m.heads * m.head_size
        widths = (m.hidden, m.hidden, heads + 2 * m.kv_heads * m.head_size, heads, m.hidden, 2 * m.inner, m.inner)
        self._buffers = (
            *(np.zeros((rows, width), np.float32) for width in (*widths, self._widest)),
            np.zeros((self.threads, m.heads // m.kv_heads, self._longest), np.float32),
            np.zeros((rows, m.hidden), np.float32),
            np.zeros((rows, m.head.panels * LANES), np.float32),
        )

    def _room(self) -> Room:
        residual, normed, qkv, attended, added, wide, narrow, low, scores, picked, logits = map(_address, self._buffers)
        return Room(
            keys=_address(self._keys),
            values=_address(self._values),
            residual=residual,
            normed=normed,
            qkv=qkv,
            attended=attended,
            added=added,
            wide=wide,
            narrow=narrow,
            low=low,
            low_width=self._widest,
            scores=scores,
            scores_width=self._longest,
            picked=picked,
            logits=logits,
            logits_width=self.model.head.panels * LANES,
        )


def _address(array: Any) -> int:
    """Where an array begins; 0 for one without anything in it."""
    return int(array.ctypes.data) if array.size else 0


def _table(matrix: Matrix) -> tuple[int, int, int]:
    return _address(matrix.weights), _address(matrix.scales), matrix.panels


@dataclass(frozen=True)
class _Job:
    """A pass, as threads are given it, with the arrays that its addresses are of."""

    team: Team
    batch: Batch
    room: Room
    kept: tuple[Any, ...]


class _Helper:
    """A thread that does its part of a pass if it is there in time, and sleeps between them."""

    def __init__(self, rank: int, part: Callable[[int, _Job], None]) -> None:
        self._rank, self._part = rank, part
        self._wake = threading.Semaphore(0)
        self._job: _Job | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"decoder {rank}", daemon=True)
        self._thread.start()

    def go(self, job: _Job) -> None:
        """Take part, unless it has not come back from an earlier pass yet."""
        if self._job is None:
            self._job = job
            self._wake.release()

    def end(self) -> None:
        self._ended = True
        self._wake.release()
        self._thread.join()

    def _work(self) -> None:
        while True:
            self._wake.acquire()
            if self._ended or self._job is None:
                return
            self._part(self._rank, self._job)
            self._job = None
