"""One pass: tokens of any conversations → the likeliest next token of those that are wanted. `forward` is the story.

A pass is made for a number of rows; fewer are filled up with rows that write where nobody reads. Few rows are
multiplied by the digits themselves, so that a pass costs little more than reading them once; for many the weights are
unpacked first, a matrix at a time, and multiplied by the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.decoder.cuda import kernels
from assistant.decoder.cuda.adapters import SLOTS, Slots
from assistant.decoder.cuda.weights import TILE, CudaModel, Matrix

if TYPE_CHECKING:
    import torch

FEW = 64
"""Rows up to which a pass multiplies by the digits."""

WANTED = 64
"""Tokens that a pass finds at most."""

SHARES = 8
"""Into which a product with A has its columns shared."""


@dataclass(frozen=True)
class Room:
    """What a pass works on: tensors on the device, big enough for `rows` rows. Inputs are int32.

    Attributes:
        tokens, positions, places, slots: (rows,): a row's token, its position, whose blocks it has, its adapter or -1.
        wanted: (WANTED,): the rows after which a token is wanted.
        used: (1 + SLOTS,): how many adapters there are, and in which slots.
        tables: (conversations, width): the blocks of each.
        keys, values: (layers, blocks, kv heads, 16, head size) bfloat16.
        chosen: (WANTED,) int64, and logits (WANTED, vocabulary) float32: what comes out.
        multiprocessors: of the card.
    """

    rows: int
    tokens: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    slots: torch.Tensor
    wanted: torch.Tensor
    used: torch.Tensor
    tables: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    residual: torch.Tensor
    normed: torch.Tensor
    queries: torch.Tensor
    mixed: torch.Tensor
    weights: torch.Tensor
    attended: torch.Tensor
    narrow: torch.Tensor
    sums: torch.Tensor
    low: torch.Tensor
    unpacked: torch.Tensor
    codes: torch.Tensor
    chosen: torch.Tensor
    logits: torch.Tensor
    multiprocessors: int
    streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None
    """The one that a pass is on, and one beside it; None where there are none."""

    @contextmanager
    def beside(self) -> Iterator[None]:
        """What is begun in here goes on beside what is begun after it, until `join`."""
        import torch

        if self.streams is None:
            yield
            return
        own, other = self.streams
        other.wait_stream(own)
        with torch.cuda.stream(other):
            yield

    def join(self) -> None:
        """Go on when what is beside is done."""
        if self.streams:
            own, other = self.streams
            own.wait_stream(other)


def forward(model: CudaModel, slots: Slots, room: Room, rows: int) -> None:
    """Compute `rows` rows of `room`: its keys and values, `logits` and `chosen`. Nothing waits for the card."""
    import torch

    residual = room.residual[:rows]
    residual.copy_(torch.index_select(model.embedding, 0, room.tokens[:rows]))
    slices = 0
    for layer in range(model.depth):
        _norm(model, room, rows, model.norms[layer, 0], slices)
        slices = _multiply(model, slots, room, rows, layer, 0, room.normed)
        _attend(model, room, rows, layer, slices)
        slices = _multiply(model, slots, room, rows, layer, 1, room.attended)
        _norm(model, room, rows, model.norms[layer, 1], slices)
        slices = _multiply(model, slots, room, rows, layer, 2, room.normed)
        kernels.gate[rows, _whole(model.inner, 1024)](
            room.sums, room.narrow, rows, model.inner, SLICES=slices, AT_ONCE=1024
        )
        slices = _multiply(model, slots, room, rows, layer, 3, room.narrow)
    _norm(model, room, rows, model.final_norm, slices)
    wanted = min(rows, WANTED)
    picked = torch.index_select(room.normed.view(-1)[: rows * model.hidden].view(rows, -1), 0, room.wanted[:wanted])
    in_order = picked.view(wanted, 2, -1).transpose(1, 2).reshape(wanted, -1)
    matmul(in_order.to(model.head.dtype), model.head, room.logits[:wanted])
    torch.argmax(room.logits[:wanted], -1, out=room.chosen[:wanted])


def splits_of(model: CudaModel, rows: int, multiprocessors: int) -> int:
    """Shares of the tokens before a row that are attended to beside each other: as many as keep a card busy."""
    programs, splits = rows * model.kv_heads, 1
    while splits < 16 and programs * splits * 2 <= 2 * multiprocessors:
        splits *= 2
    return splits


def slices_of(matrix: Matrix, rows: int, multiprocessors: int) -> int:
    """Shares of a matrix's columns that are multiplied beside each other: more for few rows, whose sums are small."""
    programs = multiprocessors * (16 if rows <= 8 else 4)
    return max(1, min(16, matrix.columns // COLUMNS, round(programs / (matrix.rows // TILE))))


COLUMNS = 512
"""Of a share at least."""


def matmul(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
    """Let out = x weightᵀ, summed in float32 and left so."""
    import torch

    if x.is_cuda:
        torch.mm(x, weight.T, out_dtype=torch.float32, out=out)
    else:
        # Where tests run: no CPU product leaves float32 of less.
        out.copy_(x.float() @ weight.float().T)


def _whole(size: int, of: int) -> int:
    return -(-size // of)


def _power(size: int) -> int:
    """The next power of two."""
    return 1 << (size - 1).bit_length()


def _norm(model: CudaModel, room: Room, rows: int, by: torch.Tensor, slices: int) -> None:
    kernels.add_and_norm[rows,](
        *(room.residual, room.sums, by, room.normed, rows, model.hidden, model.eps),
        SLICES=slices,
        HIDDEN=_power(model.hidden),
        # A row has a multiprocessor to itself.
        num_warps=16,
    )


def _multiply(model: CudaModel, slots: Slots, room: Room, rows: int, layer: int, which: int, x: torch.Tensor) -> int:
    """Let `room.sums` be the product of a layer's matrix, adapters included; returns in how many slices."""
    matrix = model.layers[layer][which]
    low, high = slots.low[layer][which], slots.high[layer][which]
    return (_few if rows <= FEW else _many)(room, rows, matrix, x, low, high)


def _few(room: Room, rows: int, matrix: Matrix, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> int:
    slices = slices_of(matrix, rows, room.multiprocessors)
    # Adapters beside the matrix: theirs are too small to keep a card busy.
    with room.beside():
        _adapters(room, rows, matrix, x, low, high, room.sums[slices * rows * matrix.rows :])
    kernels.product[matrix.rows // TILE, slices](
        *(x, matrix.digits, matrix.scales, room.codes, room.sums),
        *(rows, matrix.columns // 2, matrix.rows, slices),
        ROWS=max(8, _power(rows)),
        WIDE=TILE,
        # Measured on an H200: below sixteen rows two warps, of whose products none waits for the other's.
        num_warps=2 if rows <= 8 else 4,
        num_stages=3,
    )
    room.join()
    return slices + 1


def _adapters(
    room: Room, rows: int, matrix: Matrix, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, out: torch.Tensor
) -> None:
    """Let `out` be what the adapters of the rows add to the product."""
    ranks, padded = low.shape[1], max(16, _power(rows))
    kernels.reduce[SHARES, ranks // 16, SLOTS](
        *(x, low, room.slots, room.used, room.low, rows, matrix.columns),
        ROWS=padded,
        RANKS=ranks,
        LOW_PARTS=SHARES,
        DEEP=128,
    )
    kernels.lift[matrix.rows // TILE,](
        *(room.low, high, room.slots, room.used, out, rows, matrix.rows, *matrix.begins),
        ROWS=padded,
        PARTS=len(matrix.parts),
        RANK=high.shape[2],
        SLOTS=SLOTS,
        LOW_PARTS=SHARES,
        WIDE=TILE,
    )


def _many(room: Room, rows: int, matrix: Matrix, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> int:
    """The same, by the library: the weights' product, and that of all adapters behind each other."""
    import torch

    columns, total = matrix.columns, matrix.rows
    given = x.view(-1)[: rows * columns].view(rows, columns)
    weights = room.unpacked[: total * columns].view(total, columns)
    kernels.unpack[total // TILE, columns // 64](
        matrix.digits, matrix.scales, room.codes, weights, columns // 2, total, WIDE=TILE
    )
    base, added = room.sums.view(-1)[: 2 * rows * total].view(2, rows, total)
    matmul(given, weights, base)
    reduced = torch.empty((rows, SLOTS * low.shape[1]), dtype=torch.float32, device=x.device)
    matmul(given, low.view(-1, columns), reduced)
    own = room.slots[:rows, None] == torch.arange(SLOTS, device=x.device)
    ranks = torch.where(own[..., None], reduced.view(rows, SLOTS, -1), 0.0).to(torch.bfloat16)
    begin, rank = 0, high.shape[2]
    for i, size in enumerate(matrix.parts):
        of_part = ranks[..., i * rank : (i + 1) * rank].reshape(rows, -1)
        product = torch.empty((rows, size), dtype=torch.float32, device=x.device)
        matmul(of_part, high[begin : begin + size].view(size, -1), product)
        added[:, begin : begin + size] = product
        begin += size
    return 2


def _attend(model: CudaModel, room: Room, rows: int, layer: int, slices: int) -> None:
    size, heads, kv_heads = model.head_size, model.heads, model.kv_heads
    width = room.tables.shape[1]
    keys, values = room.keys[layer], room.values[layer]
    nothing = room.codes
    biases = nothing if model.biases is None else model.biases[layer]
    norms = nothing if model.head_norms is None else model.head_norms[layer]
    kernels.turn[rows, heads + 2 * kv_heads](
        *(room.sums, biases, norms, model.cos, model.sin, room.positions, room.places, room.tables, width),
        *(room.queries, keys, values, rows, heads, kv_heads, model.eps),
        SIZE=size,
        HALF=_power(size // 2),
        SLICES=slices,
        BIASED=model.biases is not None,
        NORMED=model.head_norms is not None,
        num_warps=1,
    )
    splits = splits_of(model, rows, room.multiprocessors)
    shapes: dict[str, Any] = {"SIZE": size, "PADDED": _power(size), "SPLITS": splits}
    kernels.attend[rows, kv_heads, splits](
        *(room.queries, keys, values, room.positions, room.places, room.tables, width, room.mixed, room.weights),
        *(heads, kv_heads, heads // kv_heads),
        **shapes,
        GROUP=max(16, _power(heads // kv_heads)),
        DEEP=64,
    )
    kernels.mix[rows, heads](room.mixed, room.weights, room.attended, heads, **shapes, num_warps=1)
