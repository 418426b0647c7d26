"""Passes recorded once as CUDA graphs and played again: a pass costs a process one call, and not five hundred.

What a pass reads that changes (rows, tables of blocks, which adapters) stands in memory of its own, which is filled
before each. A graph is recorded for some numbers of rows; a pass takes the smallest that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.decoder.blocks import TOKENS
from assistant.decoder.cuda import forward as passes
from assistant.decoder.cuda import kernels, memory
from assistant.decoder.cuda.adapters import LANES, SLOTS, CudaAdapter, Slots, read
from assistant.decoder.cuda.drawing import draw
from assistant.decoder.cuda.forward import SHARES, WANTED, Room, forward, slices_of, splits_of
from assistant.decoder.cuda.weights import CudaModel
from assistant.decoder.rows import Pick, Row

if TYPE_CHECKING:
    import torch

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Rows of the recorded passes."""

CONVERSATIONS = 64
"""Whose blocks can be told of at once."""

Alone = Callable[[], AbstractContextManager[Any]]


class CudaRunner:
    """Computes rows on the model's device.

    Args:
        blocks: how many blocks of keys and values there are at most.
        sizes: rows of the passes, ascending.
        records: whether passes are recorded; where not (on a CPU, in tests), each is computed as it is written.
        alone: while it lasts nobody else computes on the card: what others draw would break the first recording. (Of
            later ones nobody is beside it: all who can be are answered by it.)
        card: whose memory is taken; None: the device's own.
    """

    ahead = 4

    def __init__(
        self,
        model: CudaModel,
        *,
        blocks: int,
        sizes: Sequence[int] = SIZES,
        records: bool = True,
        alone: Alone = nullcontext,
        card: memory.Memory | None = None,
    ) -> None:
        import torch

        self.model, self.blocks, self.rows, self._sizes = model, blocks, sizes[-1], tuple(sizes)
        self._records = records
        self._device = model.head.device
        self._memory = card or memory.Memory(self._device)
        cuda: Any = torch.cuda
        self._stream: Any = cuda.Stream(self._device) if records else None
        self._beside: Any = cuda.Stream(self._device) if records else None
        self._slots = Slots(model, LANES)
        self._graphs: dict[int, Any] = {}
        self._room: Room | None = None
        self._held: tuple[torch.Tensor, torch.Tensor] | None = None
        """Keys and values, (layers, blocks and one, kv heads, 16, head size) each; they outlive a room."""
        self._copied: Any = cuda.Event() if records else None
        self._told: dict[int, tuple[int, list[int]]] = {}
        if self._stream:
            self._stream.wait_stream(cuda.current_stream(self._device))
        self._reserve(2, alone)

    @staticmethod
    def block_bytes(model: CudaModel) -> int:
        """Of keys and values, what a block takes."""
        return 2 * model.depth * model.kv_heads * model.head_size * TOKENS * 2

    def adapter(self, folder: Path) -> CudaAdapter:
        """Read an adapter onto the device. Raises: NotPacked."""
        return read(folder, self.model)

    def next_tokens(self, rows: Sequence[Row], picks: Sequence[Pick], passes: int = 1) -> list[list[int]]:
        """The tokens after each wanted row."""
        found: list[list[int]] = []
        left = iter(picks)
        with self._on_stream():
            for part in _passes(rows):
                own = list(islice(left, sum(row.wanted for row in part)))
                found += self._pass(part, own, passes)
        return found

    def logits(self, rows: Sequence[Row]) -> torch.Tensor:
        """(wanted rows, vocabulary) float32, for comparing; the next pass overwrites it."""
        with self._on_stream():
            self._compute(rows)
            assert self._room is not None  # noqa: S101 - it has just been computed in
            found = self._room.logits[: sum(row.wanted for row in rows)]
        if self._stream:
            self._stream.synchronize()
        return found

    def reserve(self, at_least: int) -> int:
        """See `Runs.reserve`."""
        if self._reserved < at_least or not self._reserved:
            self._reserve(at_least, nullcontext)
        return self._reserved

    def _reserve(self, at_least: int, alone: Alone) -> None:
        """By what is free once all that was made before is given back."""

        def make(blocks: int) -> None:
            with self._on_stream():
                self._prepare(blocks, alone)

        self.forget()
        block = self.block_bytes(self.model)
        memory.reserve(make, self._memory.free(), block, at_least=at_least, at_most=self.blocks)

    @property
    def _reserved(self) -> int:
        """Blocks that there are: one more is nobody's."""
        return self._held[0].shape[1] - 1 if self._held else 0

    def copy(self, block: int, to: int) -> None:
        """Let block `to` hold what `block` does."""
        if self._held:
            with self._on_stream():
                for held in self._held:
                    held[:, to].copy_(held[:, block])

    def forget(self) -> None:
        """Give the memory back, of what was read and of the passes."""
        import torch

        self._drop()
        self._held = None
        if self._records:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Give all memory back."""
        self.forget()

    def _drop(self) -> None:
        """What was recorded, and what it works on, but for keys and values."""
        self._graphs.clear()
        self._room = None
        self._told.clear()

    # ------------------------------------------------------------------ a pass

    def _pass(self, rows: Sequence[Row], picks: Sequence[Pick], passes: int) -> list[list[int]]:
        import torch

        room, many = self._compute(rows), len(picks)
        chosen = [room.chosen[:many].clone()] if passes > 1 else [room.chosen[:many]]
        for _ in range(passes - 1):
            # A row's token is the one that has just been chosen for it; nobody here has seen it yet.
            room.tokens[:many].copy_(chosen[-1])
            room.positions[:many] += 1
            self._play(self._size_of(many))
            chosen.append(room.chosen[:many].clone())
        tokens: list[list[int]] = torch.stack(chosen, 1).tolist()
        drawn = [i for i, pick in enumerate(picks) if not pick.sampling.greedy]
        if drawn:
            given = [picks[i] for i in drawn]
            others = draw(
                room.logits[drawn],
                [pick.sampling.temperature for pick in given],
                [pick.sampling.top_p for pick in given],
                [pick.dice.random() for pick in given],
            )
            for i, token in zip(drawn, others, strict=True):
                tokens[i] = [token]
        return tokens

    def _size_of(self, rows: int) -> int:
        """Of the pass that holds so many rows."""
        return next(size for size in self._sizes if size >= rows)

    def _compute(self, rows: Sequence[Row]) -> Room:
        """Tell a pass its rows, and begin it."""
        adapters = list({id(row.adapter): row.adapter for row in rows if row.adapter is not None}.values())
        self._fit([adapter.rank for adapter in adapters])
        if self._room is None:
            self._prepare(self._reserved)
        slots = self._slots.hold(adapters)
        of = {id(adapter): slot for adapter, slot in zip(adapters, slots, strict=True)}
        places = self._tell({id(row.blocks): row.blocks for row in rows})
        if self._copied:
            # A pass that nobody waited for may not have been given its rows yet.
            self._copied.synchronize()
        told = self._told_numpy
        told[:] = 0
        # Rows that fill a pass up write into the last table's block, which nobody has.
        told[2], told[3] = CONVERSATIONS, -1
        many = len(rows)
        told[0, :many] = [row.token for row in rows]
        told[1, :many] = [row.position for row in rows]
        told[2, :many] = [places[id(row.blocks)] for row in rows]
        told[3, :many] = [of.get(id(row.adapter), -1) for row in rows]
        wanted = [i for i, row in enumerate(rows) if row.wanted]
        told[4, : len(wanted)] = wanted
        told[5, : 1 + len(slots)] = [len(slots), *slots]
        self._given.copy_(self._given_host, non_blocking=True)
        if self._copied:
            self._copied.record()
        self._play(self._size_of(many))
        assert self._room is not None  # noqa: S101 - prepared above
        return self._room

    def _play(self, size: int) -> None:
        assert self._room is not None  # noqa: S101 - who plays has prepared
        if not self._records:
            forward(self.model, self._slots, self._room, size)
        else:
            self._graphs[size].replay()

    def _tell(self, conversations: dict[int, Sequence[int]]) -> dict[int, int]:
        """Where the device holds the blocks of each conversation: told where they are new or have changed."""
        import torch

        assert self._room is not None  # noqa: S101 - who tells has prepared
        for gone in [key for key in self._told if key not in conversations]:
            if len(self._told) + len(conversations) > CONVERSATIONS:
                del self._told[gone]
        free = sorted(set(range(CONVERSATIONS)) - {place for place, _ in self._told.values()}, reverse=True)
        for key, blocks in conversations.items():
            place, known = self._told.get(key, (-1, None))
            if known == blocks:
                continue
            place = place if place >= 0 else free.pop()
            self._told[key] = place, list(blocks)
            self._room.tables[place, : len(blocks)] = torch.tensor(blocks, dtype=torch.int32).to(self._device)
        return {key: self._told[key][0] for key in conversations}

    # ------------------------------------------------------------------ what passes work on

    def _fit(self, ranks: Sequence[int]) -> None:
        """Room for adapters of such ranks; what was recorded for smaller ones is recorded anew."""
        if max(ranks, default=0) > self._slots.rank:
            self._drop()
            self._slots = Slots(self.model, max(ranks))

    def _prepare(self, blocks: int, alone: Alone = nullcontext) -> None:
        """Make the room, with so many blocks where there are none yet, and record the passes: the largest first, whose
        memory the others share. All, or nothing.
        """
        try:
            self._room = room = self._make_room(blocks)
            if not self._records:
                return
            for size in reversed(self._sizes):
                # Once as it is: kernels are compiled, and libraries take what memory they want.
                forward(self.model, self._slots, room, size)
            self._stream.synchronize()
            with alone():
                self._record(room)
        except BaseException:
            self.forget()
            raise

    def _record(self, room: Room) -> None:
        import torch

        pool = None
        for size in reversed(self._sizes):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                forward(self.model, self._slots, room, size)
            self._graphs[size] = graph
            pool = pool or graph.pool()

    def _make_room(self, blocks: int) -> Room:
        import torch

        m, rows = self.model, self.rows
        device = self._device

        def room(*sizes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return self._memory.zeros(*sizes, dtype=dtype)

        processors = torch.cuda.get_device_properties(device).multi_processor_count if self._records else 4
        heads = m.heads * m.head_size
        matrices = m.layers[0]
        few = min(rows, passes.FEW)
        many = rows if rows > passes.FEW else 0
        sums = max(
            max((slices_of(matrix, size, processors) + 1) * size if size <= few else 2 * many for size in self._sizes)
            * matrix.rows
            for matrix in matrices
        )
        splits = max(size * splits_of(m, size, processors) for size in self._sizes)
        ranks = max(len(matrix.parts) for matrix in matrices) * self._slots.rank
        held = (m.depth, blocks + 1, m.kv_heads, TOKENS, m.head_size)
        if self._held is None:
            self._held = room(*held, dtype=torch.bfloat16), room(*held, dtype=torch.bfloat16)
        keys, values = self._held
        codes = torch.tensor(kernels.CODES, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).to(device)
        self._given = torch.zeros((6, max(rows, WANTED)), dtype=torch.int32, device=device)
        self._given_host = torch.zeros_like(self._given, device="cpu", pin_memory=self._records)
        self._told_numpy = self._given_host.numpy()
        tables = room(CONVERSATIONS + 1, -(-m.positions // TOKENS), dtype=torch.int32)
        tables[CONVERSATIONS] = blocks
        bfloat16 = torch.bfloat16
        tokens, positions, places, slots, wanted, used = self._given
        return Room(
            rows=rows,
            tokens=tokens,
            positions=positions,
            places=places,
            slots=slots,
            wanted=wanted,
            used=used,
            tables=tables,
            keys=keys,
            values=values,
            residual=room(rows, m.hidden),
            normed=room(rows, m.hidden, dtype=bfloat16),
            queries=room(rows, heads, dtype=bfloat16),
            mixed=room(splits, heads),
            weights=room(splits, m.heads),
            attended=room(rows, heads, dtype=bfloat16),
            narrow=room(rows, m.inner, dtype=bfloat16),
            sums=room(sums),
            low=room(SHARES * SLOTS * few * ranks),
            unpacked=room(max(matrix.rows * matrix.columns for matrix in matrices) if many else 0, dtype=bfloat16),
            codes=codes,
            chosen=room(WANTED, dtype=torch.int64),
            logits=room(WANTED, m.vocabulary),
            multiprocessors=processors,
            streams=(self._stream, self._beside) if self._records else None,
        )

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        import torch

        with torch.inference_mode():
            if self._stream is None:
                yield
            else:
                with torch.cuda.stream(self._stream):
                    yield


def _passes(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in passes of at most SLOTS adapters and WANTED wanted tokens, in order."""
    part: list[Row] = []
    adapters: set[int] = set()
    wanted = 0
    for row in rows:
        its = {id(row.adapter)} - {id(None)}
        if len(adapters | its) > SLOTS or wanted + row.wanted > WANTED:
            yield part
            part, adapters, wanted = [], set(), 0
        part.append(row)
        adapters |= its
        wanted += row.wanted
    yield part
