"""The compiled pass: tokens of any conversations → logits. A row is one token of one conversation at one position.

Rows of an answer under way and rows of a prompt that is being read are the same here; each attends to what its
conversation's blocks hold, itself included. Threads take the work of each phase in tickets and go on when all of them
are done: who comes late finds none left, so that a thread that the machine does not run delays nobody.

Sources: attention with grouped heads (arXiv 2305.13245), rotations (2104.09864), LoRA (2106.09685), blocks of keys and
values (2309.06180), several adapters in one batch (2310.18547).
"""

# numba reads the functions below as they are written, without types of ours. All that they are given is int64,
# addresses of C-contiguous arrays among them, and one float: arrays would make compiling three times as long.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import NamedTuple

from assistant.decoder.compiled import jit
from assistant.decoder.vectors import (
    float_product,
    float_product_added,
    gate,
    get,
    int8_product,
    nf4_product,
    norm,
    number,
    pause,
    put,
    read,
    softmax,
    take,
)

TOKENS = 16
"""Of a block of keys and values: the lanes of a vector."""

AT_ONCE = 4
"""Panels that a thread takes at a time."""

PHASES = 9
"""Of a layer: all of one is done before the next begins."""

COUNTERS = 8
"""int64 between two counters: a cache line, so that threads don't wait for each other's."""


class Team(NamedTuple):
    """How threads work together: their number, and the address of the counters, (phases, 2, COUNTERS) int64: of each
    phase the next ticket, and how many are done.
    """

    size: int
    counters: int


class Sizes(NamedTuple):
    """In floats; see `PackedModel`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    eps: float


class Weights(NamedTuple):
    """Addresses. `matrices` (layers, 4, 3) and `head` (3,) are int64: address of panels, of scales, number of panels.
    The rest: see `PackedModel`, with 0 for what a model does not have.
    """

    matrices: int
    head: int
    norms: int
    final_norm: int
    head_norms: int
    biases: int
    embedding: int
    cos: int
    sin: int


class Batch(NamedTuple):
    """What is computed: addresses of arrays of int64, and how many there are.

    Attributes:
        rows: (many, 4): token, position, place in `tables`, place of its logits or -1.
        tables: (conversations, width): the blocks of each.
        groups: (grouped, 3): first row, number of rows, adapter or -1.
        loras: (adapters, layers, 4, 4): see `PackedAdapter.table`.
    """

    rows: int
    many: int
    tables: int
    width: int
    groups: int
    grouped: int
    loras: int


class Room(NamedTuple):
    """What is written: addresses of arrays of floats.

    `keys` (blocks, layers, kv heads, head size, TOKENS), `values` (blocks, layers, kv heads, head size / 16, TOKENS,
    16); then one row for each of the batch: `residual`, `normed`, `added` and `picked` (hidden), `qkv`, `attended`,
    `wide` (2 inner), `narrow` (inner), `low` (low_width), `logits` (logits_width); and `scores` (threads, heads that
    share, scores_width).
    """

    keys: int
    values: int
    residual: int
    normed: int
    qkv: int
    attended: int
    added: int
    wide: int
    narrow: int
    low: int
    low_width: int
    scores: int
    scores_width: int
    picked: int
    logits: int
    logits_width: int


@jit
def begin(team, phase, tickets):
    """The next ticket of a phase, or -1 where there is none left and all are done."""
    ticket = take((team.counters + phase * 128,))
    if ticket < tickets:
        return ticket
    spins = 0
    while read((team.counters + phase * 128 + 64,)) < tickets:
        spins += 1
        pause((spins,))
    return -1


@jit
def end(team, phase):
    """The ticket is done."""
    take((team.counters + phase * 128 + 64,))


@jit
def lora_of(batch, sizes, group, layer, which):
    """(first row, number of rows, address of A, of B, rank of a part, panels of A) of a group; no rows: no adapter."""
    first = number((batch.groups, group * 3))
    rows = number((batch.groups, group * 3 + 1))
    lora = number((batch.groups, group * 3 + 2))
    if lora < 0:
        return first, 0, 0, 0, 0, 0
    of = ((lora * sizes.layers + layer) * 4 + which) * 4
    a, b = number((batch.loras, of)), number((batch.loras, of + 1))
    rank, panels = number((batch.loras, of + 2)), number((batch.loras, of + 3))
    return first, rows if panels else 0, a, b, rank, panels


@jit
def product(team, phase, sizes, weights, batch, room, layer, which, columns, x, y, y_width):
    """Let y = W x for all rows, and `room.low` = A x for those with an adapter; `which` matrix of the layer it is."""
    matrix = (layer * 4 + which) * 3
    digits, scales = number((weights.matrices, matrix)), number((weights.matrices, matrix + 1))
    panels = number((weights.matrices, matrix + 2))
    own = (panels + AT_ONCE - 1) // AT_ONCE
    tickets = own
    for group in range(batch.grouped):
        _, rows, _, _, _, of_lora = lora_of(batch, sizes, group, layer, which)
        tickets += of_lora if rows else 0
    while True:
        ticket = begin(team, phase, tickets)
        if ticket < 0:
            return
        if ticket < own:
            for panel in range(ticket * AT_ONCE, min(panels, (ticket + 1) * AT_ONCE)):
                of, by = digits + panel * columns * 8, scales + panel * columns
                nf4_product(of, by, x, columns, y + panel * 64, y_width, columns // 64, batch.many)
        else:
            reduce_to_lora(ticket - own, sizes, batch, room, layer, which, columns, x)
        end(team, phase)


@jit
def reduce_to_lora(ticket, sizes, batch, room, layer, which, columns, x):
    """One panel of A x, of whichever adapter the ticket is for."""
    for group in range(batch.grouped):
        first, rows, a, _, _, panels = lora_of(batch, sizes, group, layer, which)
        if rows == 0:
            continue
        if ticket < panels:
            into = room.low + first * room.low_width * 4 + ticket * 64
            of = a + ticket * columns * 64
            float_product(of, 0, x + first * columns * 4, columns, into, room.low_width, columns // 4, rows)
            return
        ticket -= panels


@jit
def add_lora(panel, part, sizes, batch, room, layer, which, y, y_width):
    """Let y += B A x in one panel of a matrix, for the rows with an adapter."""
    for group in range(batch.grouped):
        first, rows, _, b, rank, _ = lora_of(batch, sizes, group, layer, which)
        if rows == 0:
            continue
        low = room.low + (first * room.low_width + part * rank) * 4
        into = y + first * y_width * 4 + panel * 64
        float_product_added(b + panel * rank * 64, 0, low, room.low_width, into, y_width, rank // 4, rows)


@jit
def add_lora_to_row(row, sizes, batch, room, layer, which):
    """The same for one row of `room.added`, in all panels of a matrix of one part."""
    for group in range(batch.grouped):
        first, rows, _, b, rank, _ = lora_of(batch, sizes, group, layer, which)
        if row < first or row >= first + rows:
            continue
        low, into = room.low + row * room.low_width * 4, room.added + row * sizes.hidden * 4
        for panel in range(sizes.hidden // 16):
            float_product_added(b + panel * rank * 64, 0, low, 0, into + panel * 64, 0, rank // 4, 1)


@jit
def norm_row(row, by, sizes, room):
    """Norm a row for the product that comes next."""
    at = row * sizes.hidden * 4
    norm((room.residual + at, by, room.normed + at, sizes.hidden, sizes.eps))


@jit
def embed(team, phase, sizes, weights, batch, room):
    """Tokens into rows, normed for the first layer."""
    while True:
        row = begin(team, phase, batch.many)
        if row < 0:
            return
        token = number((batch.rows, row * 4))
        for i in range(sizes.hidden):
            put((room.residual, row * sizes.hidden + i, get((weights.embedding, token * sizes.hidden + i))))
        norm_row(row, weights.norms, sizes, room)
        end(team, phase)


@jit
def turn(team, phase, sizes, weights, batch, room, layer, width):
    """Finish queries, keys and values: adapters, biases, norms, rotations; and store keys and values."""
    panels, size = sizes.head_size // 16, sizes.head_size
    while True:
        head = begin(team, phase, sizes.heads + 2 * sizes.kv_heads)
        if head < 0:
            return
        part = 0 if head < sizes.heads else 1 if head < sizes.heads + sizes.kv_heads else 2
        for panel in range(head * panels, (head + 1) * panels):
            add_lora(panel, part, sizes, batch, room, layer, 0, room.qkv, width)
        for row in range(batch.many):
            at, position = room.qkv + (row * width + head * size) * 4, number((batch.rows, row * 4 + 1))
            if weights.biases:
                for i in range(size):
                    put((at, i, get((at, i)) + get((weights.biases, layer * width + head * size + i))))
            if part < 2:
                if weights.head_norms:
                    norm((at, weights.head_norms + (layer * 2 + part) * size * 4, at, size, sizes.eps))
                turn_head(at, position, weights, size // 2)
            if part > 0:
                store(at, row, position, head - sizes.heads, sizes, batch, room, layer)
        end(team, phase)


@jit
def turn_head(at, position, weights, half):
    """Rotate a head to its position, pairs being half a head apart, as transformers has them."""
    for i in range(half):
        a, b = get((at, i)), get((at, half + i))
        cos, sin = get((weights.cos, position * half + i)), get((weights.sin, position * half + i))
        put((at, i, a * cos - b * sin))
        put((at, half + i, b * cos + a * sin))


@jit
def place_of(block, layer, group, sizes):
    """Bytes from the first block to a head of keys or values in one."""
    return ((block * sizes.layers + layer) * sizes.kv_heads + group) * sizes.head_size * TOKENS * 4


@jit
def store(at, row, position, group, sizes, batch, room, layer):
    """Keep a head's key or value: keys by number, then token; values in panels of 16 numbers, by token."""
    table = number((batch.rows, row * 4 + 2))
    block, token = number((batch.tables, table * batch.width + position // TOKENS)), position % TOKENS
    if group < sizes.kv_heads:
        keys = room.keys + place_of(block, layer, group, sizes)
        for i in range(sizes.head_size):
            put((keys, i * TOKENS + token, get((at, i))))
    else:
        values = room.values + place_of(block, layer, group - sizes.kv_heads, sizes)
        for i in range(sizes.head_size):
            put((values, (i // 16 * TOKENS + token) * 16 + i % 16, get((at, i))))


@jit
def attend(team, phase, rank, sizes, batch, room, layer, width):
    """Attention of each row's heads over all that stands before it."""
    while True:
        item = begin(team, phase, batch.many * sizes.kv_heads)
        if item < 0:
            return
        attend_group(item // sizes.kv_heads, item % sizes.kv_heads, rank, sizes, batch, room, layer, width)
        end(team, phase)


@jit
def attend_group(row, group, rank, sizes, batch, room, layer, width):
    """The heads of a row that share a head of keys and values."""
    size, shared = sizes.head_size, sizes.heads // sizes.kv_heads
    seen, table = number((batch.rows, row * 4 + 1)) + 1, number((batch.rows, row * 4 + 2)) * batch.width
    blocks, stride = (seen + TOKENS - 1) // TOKENS, room.scores_width
    scores = room.scores + rank * shared * stride * 4
    query = room.qkv + (row * width + group * shared * size) * 4
    out = room.attended + (row * sizes.heads + group * shared) * size * 4
    for b in range(blocks):
        keys = room.keys + place_of(number((batch.tables, table + b)), layer, group, sizes)
        float_product(keys, 0, query, size, scores + b * TOKENS * 4, stride, size // 4, shared)
    for h in range(shared):
        softmax((scores + h * stride * 4, seen, size**-0.5))
    for i in range(shared * size):
        put((out, i, 0.0))
    for b in range(blocks):
        values = room.values + place_of(number((batch.tables, table + b)), layer, group, sizes)
        for panel in range(size // 16):
            of = values + panel * TOKENS * 64
            float_product_added(of, 0, scores + b * TOKENS * 4, stride, out + panel * 64, size, TOKENS // 4, shared)


@jit
def add(team, phase, by, sizes, batch, room, layer, which):
    """Add what a half of a layer has computed to each row, norm it by the weights at `by`, and keep what is wanted."""
    while True:
        row = begin(team, phase, batch.many)
        if row < 0:
            return
        add_lora_to_row(row, sizes, batch, room, layer, which)
        first = row * sizes.hidden
        for i in range(first, first + sizes.hidden):
            put((room.residual, i, get((room.residual, i)) + get((room.added, i))))
        norm_row(row, by, sizes, room)
        wanted = number((batch.rows, row * 4 + 3))
        if wanted >= 0:
            for i in range(sizes.hidden):
                put((room.picked, wanted * sizes.hidden + i, get((room.normed, first + i))))
        end(team, phase)


@jit
def shut(team, phase, sizes, batch, room, layer):
    """The gates of the MLP."""
    gates, inner = sizes.inner // 16, sizes.inner
    while True:
        first = begin(team, phase, (gates + AT_ONCE - 1) // AT_ONCE) * AT_ONCE
        if first < 0:
            return
        last = min(gates, first + AT_ONCE)
        for panel in range(first, last):
            add_lora(panel, 0, sizes, batch, room, layer, 2, room.wide, 2 * inner)
            add_lora(gates + panel, 1, sizes, batch, room, layer, 2, room.wide, 2 * inner)
        for row in range(batch.many):
            at = room.wide + (row * 2 * inner + first * 16) * 4
            gate((at, at + inner * 4, room.narrow + (row * inner + first * 16) * 4, (last - first) * 16))
        end(team, phase)


@jit
def score(team, phase, sizes, weights, batch, room):
    """Logits of the wanted rows, by the head in eight bits."""
    wanted = 0
    for row in range(batch.many):
        wanted += number((batch.rows, row * 4 + 3)) >= 0
    hidden, panels, chunk = sizes.hidden, number((weights.head, 2)), 4 * AT_ONCE
    digits, scales = number((weights.head, 0)), number((weights.head, 1))
    while wanted:
        first = begin(team, phase, (panels + chunk - 1) // chunk) * chunk
        if first < 0:
            return
        for panel in range(first, min(panels, first + chunk)):
            of, by, into = digits + panel * hidden * 16, scales + panel * hidden, room.logits + panel * 64
            int8_product(of, by, room.picked, hidden, into, room.logits_width, hidden // 64, wanted)
        end(team, phase)


@jit
def forward(rank, team, sizes, weights, batch, room):
    """One pass, as thread `rank` of the team, whose counters all stand at zero."""
    hidden, inner, layers = sizes.hidden, sizes.inner, sizes.layers
    attended, qkv = sizes.heads * sizes.head_size, (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size
    embed(team, 0, sizes, weights, batch, room)
    for layer in range(layers):
        phase = 1 + layer * PHASES
        product(team, phase, sizes, weights, batch, room, layer, 0, hidden, room.normed, room.qkv, qkv)
        turn(team, phase + 1, sizes, weights, batch, room, layer, qkv)
        attend(team, phase + 2, rank, sizes, batch, room, layer, qkv)
        product(team, phase + 3, sizes, weights, batch, room, layer, 1, attended, room.attended, room.added, hidden)
        add(team, phase + 4, weights.norms + (layer * 2 + 1) * hidden * 4, sizes, batch, room, layer, 1)
        product(team, phase + 5, sizes, weights, batch, room, layer, 2, hidden, room.normed, room.wide, 2 * inner)
        shut(team, phase + 6, sizes, batch, room, layer)
        product(team, phase + 7, sizes, weights, batch, room, layer, 3, inner, room.narrow, room.added, hidden)
        following = weights.norms + (layer * 2 + 2) * hidden * 4 if layer + 1 < layers else weights.final_norm
        add(team, phase + 8, following, sizes, batch, room, layer, 3)
    score(team, 1 + layers * PHASES, sizes, weights, batch, room)
