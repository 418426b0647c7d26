"""The kernels of a pass, in Triton: products with NF4 weights as bitsandbytes holds them, attention over blocks, and
what stands between them.

A row is one token of one conversation. Activations that are multiplied stand *split*: the even columns, then the odd
ones, as the two halves of NF4's bytes do, so that nothing has to be put in order. What a product leaves is float32, in
as many parts as its columns were shared among; whoever reads it next adds them up. Sums are made in the same order
every time: the same rows in a pass of the same size give the same bits.

Sources: NF4 (arXiv 2305.14314), table look-up by byte permutation (as in FLUTE, 2407.10960), split columns (Stream-K,
2301.03598), attention (FlashDecoding; 2205.14135) over blocks (2309.06180), LoRA of several versions in one batch
(2310.18547), rotations (2104.09864).
"""

# Triton reads the functions below as they are written: without types of ours, and with names for constants.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import os
import struct

import triton
import triton.language as tl

from assistant.decoder.shape import NF4

TOKENS = tl.constexpr(16)
"""Of a block of keys and values."""


def bfloat16_bits(value: float) -> int:
    """The sixteen bits of the bfloat16 nearest to `value`."""
    bits: int = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def _of_bits(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return value


def _best_stretch() -> float:
    """A factor for the sixteen values with which bfloat16 rounds them least; the scales are divided by it."""

    def off(stretch: float) -> float:
        return max(abs(_of_bits(bfloat16_bits(v * stretch)) / (v * stretch) - 1) for v in NF4 if v)

    return min((1 + i / 4096 for i in range(4096)), key=off)


STRETCH = _best_stretch()
"""Rounding then takes half of what it takes from the values as they are: 0.16 % at most, and not 0.31 %."""

CODES = tuple(bfloat16_bits(value * STRETCH) for value in NF4)

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Whether Triton computes on a CPU, for tests: it knows no assembly there."""


def _look_up() -> str:
    """PTX that turns four bytes into the bfloat16 of their four high digits and of their four low ones.

    A byte of the result is picked from sixteen by a digit: its three low bits pick from either half of the table, its
    highest bit picks the half. High and low bytes of the values are picked apart and put together at the end.
    """
    tables = [[CODES[i] >> shift & 255 for i in range(16)] for shift in (8, 0)]
    words = [f"0x{sum(table[4 * w + i] << 8 * i for i in range(4)):08X}" for table in tables for w in range(4)]
    lines = [
        ".reg .b32 low, half, r0, r1, a0, a1, b0, b1;",
        "and.b32 low, $4, 0x77777777;",
        "shr.b32 half, $4, 1;",
        "lop3.b32 half, half, 0x44444444, 0x32103210, 0xEA;",
    ]
    for which in "01":
        for name, table in zip("ab", (words[:4], words[4:]), strict=True):
            lines += [
                f"prmt.b32 r0, {table[0]}, {table[1]}, low;",
                f"prmt.b32 r1, {table[2]}, {table[3]}, low;",
                f"prmt.b32 {name}{which}, r0, r1, half;",
            ]
        lines += ["shr.b32 low, low, 16;", "shr.b32 half, half, 16;"] if which == "0" else []
    lines += [
        "prmt.b32 $0, b0, a0, 0x7351;",
        "prmt.b32 $1, b1, a1, 0x7351;",
        "prmt.b32 $2, b0, a0, 0x6240;",
        "prmt.b32 $3, b1, a1, 0x6240;",
    ]
    return "{ " + " ".join(lines) + " }"


LOOK_UP = tl.constexpr(_look_up())


@triton.jit
def nf4(digits, codes):
    """The values, times `STRETCH`, of the high and of the low digits of bytes.

    `codes`: (16,) bfloat16, the values themselves, for Triton's interpreter.
    """
    if INTERPRETED:
        high, low = tl.load(codes + (digits >> 4).to(tl.int32)), tl.load(codes + (digits & 15).to(tl.int32))
    else:
        high, low = tl.inline_asm_elementwise(
            LOOK_UP, "=r,=r,=r,=r,r", [digits], dtype=(tl.bfloat16, tl.bfloat16), is_pure=True, pack=4
        )
    return high, low


@triton.jit
def dot(a, b, sums):
    """Let a b, of bfloat16, be added to `sums`, in float32."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, sums)


@triton.jit(do_not_specialize=["rows", "slices"])
def product(
    x, digits, scales, codes, out, rows, half, total, slices,
    ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Let out[slice] = x W' for a slice of the columns.

    Args:
        x: (rows, 2 half) bfloat16, split.
        digits: (total, half) bytes; scales: (half / 32, total) float32, divided by `STRETCH`.
        out: (slices or more, rows, total) float32.
    """
    place, slice_ = tl.program_id(0), tl.program_id(1)
    n = place * WIDE + tl.arange(0, WIDE)
    m = tl.arange(0, ROWS)
    byte = tl.arange(0, 32)
    is_row = m < rows
    sums = tl.zeros([WIDE, ROWS], tl.float32)
    # Two blocks of 64 columns a round.
    each = tl.cdiv(half // 32, 2 * slices) * 2
    begin = slice_ * each
    end = min(begin + each, half // 32)
    of = digits + n[:, None] * half + byte[None, :]
    even = x + m[None, :] * (2 * half) + byte[:, None]
    odd = even + half
    # Triton fetches ahead what is multiplied; the scales we must.
    next_scale = tl.load(scales + begin * total + n, mask=begin < end, other=0.0)
    next_other = tl.load(scales + (begin + 1) * total + n, mask=begin + 1 < end, other=0.0)
    for at in range(begin, end, 2):
        scale, other = next_scale, next_other
        next_scale = tl.load(scales + (at + 2) * total + n, mask=at + 2 < end, other=0.0)
        next_other = tl.load(scales + (at + 3) * total + n, mask=at + 3 < end, other=0.0)
        for i in tl.static_range(2):
            there = at + i < end
            w = tl.load(of + (at + i) * 32, mask=there, other=0)
            x_even = tl.load(even + (at + i) * 32, mask=is_row[None, :] & there, other=0.0)
            x_odd = tl.load(odd + (at + i) * 32, mask=is_row[None, :] & there, other=0.0)
            w_even, w_odd = nf4(w, codes)
            of_block = dot(w_even, x_even, tl.zeros([WIDE, ROWS], tl.float32))
            of_block = dot(w_odd, x_odd, of_block)
            sums += of_block * (scale if i == 0 else other)[:, None]
    into = out + slice_.to(tl.int64) * rows * total + m[None, :] * total + n[:, None]
    tl.store(into, sums, mask=is_row[None, :])


@triton.jit(do_not_specialize=["rows", "first", "second"])
def lift(
    low, high, slots, used, out, rows, total, first, second,
    ROWS: tl.constexpr, PARTS: tl.constexpr, RANK: tl.constexpr, SLOTS: tl.constexpr, LOW_PARTS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Let out (rows, total) float32 = B A x of each row's adapter, 0 where it has none.

    Args:
        low: (LOW_PARTS, used, rows, PARTS * RANK) float32: A x. high: (total, SLOTS, RANK) bfloat16: B.
        slots: (rows,) whose adapter a row has, or -1. used: how many slots are, and which.
        first, second: where the second and the third part begin.
    """
    begin = tl.program_id(0) * WIDE
    n, m, r = begin + tl.arange(0, WIDE), tl.arange(0, ROWS), tl.arange(0, RANK)
    is_row = m < rows
    sums = tl.zeros([WIDE, ROWS], tl.float32)
    part = (begin >= first).to(tl.int32) + (begin >= second).to(tl.int32)
    slot_of = tl.load(slots + m, mask=is_row, other=-1)
    many = tl.load(used)
    for i in range(many):
        slot = tl.load(used + 1 + i)
        mine = (is_row & (slot_of == slot))[None, :]
        reduced = tl.zeros([RANK, ROWS], tl.float32)
        for j in tl.static_range(LOW_PARTS):
            at_row = ((j * many + i) * rows + m[None, :]) * (PARTS * RANK)
            reduced += tl.load(low + at_row + part * RANK + r[:, None], mask=mine, other=0.0)
        b = tl.load(high + (n[:, None] * SLOTS + slot) * RANK + r[None, :])
        sums = dot(b, reduced.to(tl.bfloat16), sums)
    tl.store(out + m[None, :] * total + n[:, None], sums, mask=is_row[None, :])


@triton.jit(do_not_specialize=["rows"])
def reduce(
    x, a, slots, used, low, rows, columns,
    ROWS: tl.constexpr, RANKS: tl.constexpr, LOW_PARTS: tl.constexpr, DEEP: tl.constexpr,
):  # fmt: skip
    """Let low = A x for the adapters in use. `a` (slots, RANKS, columns) bfloat16, split; `low` as `lift` reads it.

    A program takes one share of the columns for sixteen of the rows of A, and all rows of the pass.
    """
    share, tile, i = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    many = tl.load(used)
    if i < many:
        slot = tl.load(used + 1 + i).to(tl.int64)
        m, k = tl.arange(0, ROWS), tl.arange(0, DEEP)
        r = tile * 16 + tl.arange(0, 16)
        is_row = m < rows
        mine = is_row & (tl.load(slots + m, mask=is_row, other=-1) == slot)
        sums = tl.zeros([ROWS, 16], tl.float32)
        each = tl.cdiv(tl.cdiv(columns, LOW_PARTS), DEEP) * DEEP
        for at in range(share * each, min(share * each + each, columns), DEEP):
            column = at + k
            of_x = tl.load(
                x + m[:, None] * columns + column[None, :], mask=mine[:, None] & (column < columns)[None, :], other=0.0
            )
            of_a = tl.load(
                a + (slot * RANKS + r[None, :]) * columns + column[:, None], mask=(column < columns)[:, None], other=0.0
            )
            sums = dot(of_x, of_a, sums)
        into = low + ((share * many + i) * rows + m[:, None]) * RANKS + r[None, :]
        tl.store(into, sums, mask=is_row[:, None])


@triton.jit
def unpack(digits, scales, codes, out, half, total, WIDE: tl.constexpr):
    """Let out (total, 2 half) bfloat16, split, be the weights. One block of 64 columns of `WIDE` rows a program."""
    n, byte, at = tl.program_id(0) * WIDE + tl.arange(0, WIDE), tl.arange(0, 32), tl.program_id(1)
    of = n[:, None].to(tl.int64) * half + at * 32 + byte[None, :]
    high, low = nf4(tl.load(digits + of), codes)
    scale = tl.load(scales + at * total + n)[:, None]
    into = out + n[:, None].to(tl.int64) * (2 * half) + at * 32 + byte[None, :]
    tl.store(into, (high.to(tl.float32) * scale).to(tl.bfloat16))
    tl.store(into + half, (low.to(tl.float32) * scale).to(tl.bfloat16))


@triton.jit(do_not_specialize=["rows"])
def add_and_norm(residual, added, weight, out, rows, hidden, eps, SLICES: tl.constexpr, HIDDEN: tl.constexpr):
    """Let residual += added (SLICES, rows, hidden), all float32, and out = its norm, bfloat16, split. A row each."""
    row, i = tl.program_id(0), tl.arange(0, HIDDEN)
    there = i < hidden
    x = tl.load(residual + row * hidden + i, mask=there, other=0.0)
    for part in tl.static_range(SLICES):
        x += tl.load(added + (part * rows + row) * hidden + i, mask=there, other=0.0)
    if SLICES > 0:
        tl.store(residual + row * hidden + i, x, mask=there)
    x *= tl.rsqrt(tl.sum(x * x) / hidden + eps) * tl.load(weight + i, mask=there, other=0.0)
    tl.store(out + row * hidden + i % 2 * (hidden // 2) + i // 2, x.to(tl.bfloat16), mask=there)


@triton.jit(do_not_specialize=["rows"])
def turn(
    qkv, biases, head_norms, cos, sin, positions, places, tables, width, queries, keys, values,
    rows, heads, kv_heads, eps,
    SIZE: tl.constexpr, HALF: tl.constexpr, SLICES: tl.constexpr, BIASED: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """Finish a head of a row: biases, norms, rotation; queries (rows, heads, SIZE) aside, the rest into its block.

    `keys`, `values` (blocks, kv_heads, TOKENS, SIZE) bfloat16. `HALF` is half a head, made a power of two.
    """
    row, head = tl.program_id(0), tl.program_id(1)
    all_heads = heads + 2 * kv_heads
    i = tl.arange(0, HALF)
    there = i < SIZE // 2
    a, b = tl.zeros([HALF], tl.float32), tl.zeros([HALF], tl.float32)
    for part in tl.static_range(SLICES):
        of = qkv + ((part * rows + row) * all_heads + head) * SIZE + i
        a += tl.load(of, mask=there, other=0.0)
        b += tl.load(of + SIZE // 2, mask=there, other=0.0)
    if BIASED:
        a += tl.load(biases + head * SIZE + i, mask=there, other=0.0)
        b += tl.load(biases + head * SIZE + SIZE // 2 + i, mask=there, other=0.0)
    position = tl.load(positions + row)
    if head < heads + kv_heads:
        if NORMED:
            by = head_norms + (head >= heads).to(tl.int32) * SIZE + i
            share = tl.rsqrt((tl.sum(a * a) + tl.sum(b * b)) / SIZE + eps)
            a *= share * tl.load(by, mask=there, other=0.0)
            b *= share * tl.load(by + SIZE // 2, mask=there, other=0.0)
        c = tl.load(cos + position * (SIZE // 2) + i, mask=there, other=0.0)
        s = tl.load(sin + position * (SIZE // 2) + i, mask=there, other=0.0)
        a, b = a * c - b * s, b * c + a * s
    if head < heads:
        into = queries + (row * heads + head) * SIZE + i
        tl.store(into, a.to(tl.bfloat16), mask=there)
        tl.store(into + SIZE // 2, b.to(tl.bfloat16), mask=there)
    else:
        group = (head - heads) % kv_heads
        block = tl.load(tables + tl.load(places + row) * width + position // TOKENS).to(tl.int64)
        at = ((block * kv_heads + group) * TOKENS + position % TOKENS) * SIZE + i
        if head < heads + kv_heads:
            tl.store(keys + at, a.to(tl.bfloat16), mask=there)
            tl.store(keys + at + SIZE // 2, b.to(tl.bfloat16), mask=there)
        else:
            tl.store(values + at, a.to(tl.bfloat16), mask=there)
            tl.store(values + at + SIZE // 2, b.to(tl.bfloat16), mask=there)


@triton.jit(do_not_specialize=["share_of"])
def attend(
    queries, keys, values, positions, places, tables, width, mixed, weights, heads, kv_heads, share_of,
    SIZE: tl.constexpr, PADDED: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr, DEEP: tl.constexpr,
):  # fmt: skip
    """Attention of the heads of a row that share keys, over one of SPLITS shares of what stands before it.

    Let mixed (rows, heads, SPLITS, SIZE) float32 be its values, and weights (rows, heads, SPLITS) the logarithm of the
    sum that they were divided by. `share_of` is the number of heads that share, GROUP as a power of two, 16 at least;
    PADDED is SIZE as one.
    """
    row, group, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    seen = tl.load(positions + row) + 1
    table = tables + tl.load(places + row) * width
    each = tl.cdiv(tl.cdiv(seen, SPLITS), DEEP) * DEEP
    begin = split * each
    end = min(begin + each, seen)
    g, i, t = tl.arange(0, GROUP), tl.arange(0, PADDED), tl.arange(0, DEEP)
    own = (g < share_of)[:, None] & (i < SIZE)[None, :]
    head = row * heads + group * share_of + g
    query = tl.load(queries + head[:, None] * SIZE + i[None, :], mask=own, other=0.0)
    # In powers of two, which the hardware has.
    scale = 1.4426950408889634 / tl.sqrt(1.0 * SIZE)
    most = tl.full([GROUP], -1e30, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    sums = tl.zeros([GROUP, PADDED], tl.float32)
    for at in range(begin, end, DEEP):
        token = at + t
        there = token < end
        block = tl.load(table + token // TOKENS, mask=there, other=0).to(tl.int64)
        of = ((block * kv_heads + group) * TOKENS + token % TOKENS)[:, None] * SIZE + i[None, :]
        mask = there[:, None] & (i < SIZE)[None, :]
        key = tl.load(keys + of, mask=mask, other=0.0)
        scores = tl.where(there[None, :], dot(query, tl.trans(key), tl.zeros([GROUP, DEEP], tl.float32)) * scale, -1e30)
        higher = tl.maximum(most, tl.max(scores, 1))
        by = tl.exp2(most - higher)
        shares = tl.exp2(scores - higher[:, None])
        value = tl.load(values + of, mask=mask, other=0.0)
        total = total * by + tl.sum(shares, 1)
        sums = dot(shares.to(tl.bfloat16), value, sums * by[:, None])
        most = higher
    into = (head * SPLITS + split)[:, None] * SIZE + i[None, :]
    tl.store(mixed + into, sums / tl.maximum(total, 1e-30)[:, None], mask=own)
    # A share with nothing in it weighs nothing.
    tl.store(weights + head * SPLITS + split, most + tl.log2(tl.maximum(total, 1e-30)), mask=g < share_of)


@triton.jit
def mix(mixed, weights, out, heads, SIZE: tl.constexpr, PADDED: tl.constexpr, SPLITS: tl.constexpr):
    """Let out (rows, heads * SIZE) bfloat16, split, be the shares of `attend` put together. A head of a row each."""
    row, head = tl.program_id(0), tl.program_id(1)
    i, s = tl.arange(0, PADDED), tl.arange(0, SPLITS)
    at = (row * heads + head) * SPLITS
    weight = tl.load(weights + at + s)
    share = tl.exp2(weight - tl.max(weight))
    there = (i < SIZE)[None, :]
    parts = tl.load(mixed + (at + s)[:, None] * SIZE + i[None, :], mask=there, other=0.0)
    x = tl.sum(parts * share[:, None], 0) / tl.sum(share)
    column = head * SIZE + i
    width = heads * SIZE
    tl.store(out + row * width + column % 2 * (width // 2) + column // 2, x.to(tl.bfloat16), mask=i < SIZE)


@triton.jit(do_not_specialize=["rows"])
def gate(wide, out, rows, inner, SLICES: tl.constexpr, AT_ONCE: tl.constexpr):
    """Let out (rows, inner) bfloat16, split, = silu(gate) * up, of wide (SLICES, rows, 2 inner) float32."""
    row = tl.program_id(0)
    i = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = i < inner
    a, b = tl.zeros([AT_ONCE], tl.float32), tl.zeros([AT_ONCE], tl.float32)
    for part in tl.static_range(SLICES):
        of = wide + (part * rows + row).to(tl.int64) * 2 * inner + i
        a += tl.load(of, mask=there, other=0.0)
        b += tl.load(of + inner, mask=there, other=0.0)
    x = a * tl.sigmoid(a) * b
    tl.store(out + row * inner + i % 2 * (inner // 2) + i // 2, x.to(tl.bfloat16), mask=there)
