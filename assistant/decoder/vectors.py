"""What the decoder computes with: products of packed weights sixteen rows at a time, and the few functions around them.

Each is written once as LLVM instructions on vectors of sixteen float32 and compiled by numba for the machine it runs
on; no compiler is needed there. Arguments are addresses (int64) and strides in floats, as tables hold them.

Sixteen rows of a matrix make a *panel*: lane i of a vector belongs to row i, so that sums never cross lanes. Every
input row is summed in the same order, whatever other rows are computed with it: what is answered alone and what is
answered in a batch agree to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from assistant.decoder.compiled import jit
from assistant.decoder.shape import BLOCK, NF4

LANES = 16
"""Rows of a panel."""


_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VF, _VI = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)


# ---------------------------------------------------------------------- writing instructions


class _Writer:
    """Vector instructions as functions of values, in the function that `builder` is writing."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def call(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), arguments)

    def floats(self, *values: float) -> ir.Constant:
        """A vector of one value, or of sixteen."""
        return ir.Constant(_VF, list(values) * (LANES // len(values)))

    def integers(self, *values: int) -> ir.Constant:
        return ir.Constant(_VI, list(values) * (LANES // len(values)))

    def at(self, address: ir.Value, kind: ir.Type, offset: ir.Value | int = 0) -> ir.Value:
        """A pointer to element `offset` of those of `kind` at `address`."""
        pointer = self.b.inttoptr(address, kind.as_pointer())
        return self.b.gep(pointer, [_I64(offset) if isinstance(offset, int) else offset])

    def address(self, of: ir.Value, floats: ir.Value) -> ir.Value:
        """The address so many floats behind another."""
        return self.b.add(of, self.b.mul(floats, _I64(4)))

    def load(self, pointer: ir.Value) -> ir.Value:
        found = self.b.load(pointer)
        found.align = 4
        return found

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        self.b.store(value, pointer).align = 4

    def splat(self, scalar: ir.Value) -> ir.Value:
        empty = ir.Constant(_VF, ir.Undefined)
        return self.b.shuffle_vector(
            self.b.insert_element(empty, scalar, _I32(0)), empty, ir.Constant(_VI, [0] * LANES)
        )

    def splat_integer(self, scalar: ir.Value) -> ir.Value:
        empty = ir.Constant(_VI, ir.Undefined)
        return self.b.shuffle_vector(
            self.b.insert_element(empty, scalar, _I32(0)), empty, ir.Constant(_VI, [0] * LANES)
        )

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        return self.call("llvm.fma.v16f32", _VF, x, y, z)

    def largest(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.call("llvm.maxnum.v16f32", _VF, x, y)

    def smallest(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.call("llvm.minnum.v16f32", _VF, x, y)

    def total(self, x: ir.Value) -> ir.Value:
        """The sum of the lanes, first to last."""
        return self.call("llvm.vector.reduce.fadd.v16f32", _F32, _F32(0.0), x)

    def variable(self, value: ir.Value) -> ir.Value:
        return cgutils.alloca_once_value(self.b, value)

    def look_up(self, table: Sequence[float], index: ir.Value) -> ir.Value:
        """`table[index % 16]` in each lane: one instruction with AVX-512, five with AVX2."""
        if llvm.get_host_cpu_features().get("avx512f"):
            return self.call("llvm.x86.avx512.permvar.sf.512", _VF, self.floats(*table), index)
        half_f, half_i = ir.VectorType(_F32, 8), ir.VectorType(_I32, 8)
        low, high = (ir.Constant(half_f, list(table[i : i + 8])) for i in (0, 8))
        halves = []
        for part in (0, 8):
            lanes = ir.Constant(half_i, list(range(part, part + 8)))
            of_part = self.b.shuffle_vector(index, ir.Constant(_VI, ir.Undefined), lanes)
            bit = self.b.and_(of_part, ir.Constant(half_i, [8] * 8))
            upper = self.b.icmp_unsigned("!=", bit, ir.Constant(half_i, [0] * 8))
            found = [self.call("llvm.x86.avx2.permps", half_f, half_table, of_part) for half_table in (low, high)]
            halves.append(self.b.select(upper, found[1], found[0]))
        return self.b.shuffle_vector(*halves, self.integers(*range(LANES)))

    def exp(self, x: ir.Value) -> ir.Value:
        """e^x to 2 ulp, by the polynomial of Cephes' expf; x is held within what float32 has."""
        b, magic = (
            self.b,
            self.floats(12582912.0),
        )  # 1.5 * 2^23: adding it rounds, and leaves the integer in the low bits
        x = self.smallest(self.largest(x, self.floats(-87.0)), self.floats(88.0))
        shifted = self.fma(x, self.floats(1.44269504088896341), magic)
        n = b.fsub(shifted, magic)
        r = self.fma(n, self.floats(-0.693359375), x)
        r = self.fma(n, self.floats(2.12194440e-4), r)
        p = self.floats(1.9875691500e-4)
        for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = self.fma(p, r, self.floats(c))
        y = b.fadd(self.fma(b.fmul(p, r), r, r), self.floats(1.0))
        power = b.shl(b.bitcast(shifted, _VI), self.integers(23))
        return b.bitcast(b.add(b.bitcast(y, _VI), power), _VF)


def _written(result: types.Type, body: Callable[..., ir.Value | None]) -> Any:
    """An intrinsic of numba that takes one tuple, whose instructions `body(writer, *items)` writes."""

    def typed(_context: Any, items: types.BaseTuple) -> tuple[Any, Any]:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
            value = body(_Writer(builder), *cgutils.unpack_tuple(builder, arguments[0]))
            return context.get_dummy_value() if value is None else value

        return result(items), generate

    return intrinsic(typed)


# ---------------------------------------------------------------------- products

_Columns = Callable[[_Writer, ir.Value, ir.Value], list[ir.Value]]
"""(writer, address of a panel, group) → the weights of that group of columns, a vector of floats for each."""


def _nf4(w: _Writer, panel: ir.Value, group: ir.Value) -> list[ir.Value]:
    """Eight columns of four bits, the first in the lowest; the table reads the low bits alone."""
    vector = w.load(w.at(panel, _VI, group))
    return [w.look_up(NF4, w.b.lshr(vector, w.integers(4 * k)) if k else vector) for k in range(8)]


def _int8(w: _Writer, panel: ir.Value, group: ir.Value) -> list[ir.Value]:
    """Four columns of eight bits with their sign, the first in the lowest."""
    vector = w.load(w.at(panel, _VI, group))
    shifted = [w.b.shl(vector, w.integers(24 - 8 * k)) if k < 3 else vector for k in range(4)]
    return [w.b.sitofp(w.b.ashr(v, w.integers(24)), _VF) for v in shifted]


def _float(w: _Writer, panel: ir.Value, group: ir.Value) -> list[ir.Value]:
    """Four columns of float32."""
    return [w.load(w.at(panel, _VF, w.b.add(w.b.mul(group, _I64(4)), _I64(k)))) for k in range(4)]


def _panel(rows: int, columns: _Columns, *, group: int, scaled: bool, add: bool) -> Any:
    """An intrinsic: y[m] (+)= panel · x[m] for `rows` input rows m, y[m] being sixteen floats.

    Its tuple is (panel, scales, x, floats between rows of x, y, floats between rows of y, columns / 64 if `scaled`,
    else columns / 4).

    Args:
        group: how many columns `columns` gives.
        scaled: whether each block of 64 columns has sixteen scales.
        add: whether y is added to.
    """

    def body(w: _Writer, *arguments: ir.Value) -> None:
        panel, scales, x, x_stride, y, y_stride, count = arguments
        b, zero = w.b, w.floats(0.0)
        out = [w.at(w.address(y, b.mul(y_stride, _I64(m))), _VF) for m in range(rows)]
        totals = [w.variable(w.load(pointer) if add else zero) for pointer in out]
        # Two sums a row, or each product would wait for the one before.
        sums = [[w.variable(zero) for _ in range(2)] for _ in range(rows)]
        blocks, groups = (count, _I64(BLOCK // group)) if scaled else (_I64(1), count)
        with cgutils.for_range(b, blocks) as block:
            for row in sums:
                for part in row:
                    b.store(zero, part)
            with cgutils.for_range(b, groups) as inner:
                place = b.add(b.mul(block.index, groups), inner.index)
                first = b.mul(place, _I64(group))
                inputs = [w.address(x, b.add(first, b.mul(x_stride, _I64(m)))) for m in range(rows)]
                for k, weight in enumerate(columns(w, panel, place)):
                    for m in range(rows):
                        part = sums[m][k % 2]
                        value = w.splat(b.load(w.at(inputs[m], _F32, k)))
                        b.store(w.fma(weight, value, b.load(part)), part)
            for m in range(rows):
                both = b.fadd(b.load(sums[m][0]), b.load(sums[m][1]))
                if scaled:
                    both = b.fmul(both, w.load(w.at(scales, _VF, block.index)))
                b.store(b.fadd(both, b.load(totals[m])), totals[m])
        for total, pointer in zip(totals, out, strict=True):
            w.store(b.load(total), pointer)

    return _written(types.void, body)


def _rows(columns: _Columns, *, group: int, scaled: bool, add: bool = False) -> Any:
    """A compiled function: the same for any number of rows, as many at a time as registers hold."""
    eight, four, two, one = (_panel(rows, columns, group=group, scaled=scaled, add=add) for rows in (8, 4, 2, 1))

    @jit
    def product(panel, scales, x, x_stride, y, y_stride, count, rows):  # type: ignore[no-untyped-def] # numba's
        m = 0
        while rows - m >= 8:
            eight((panel, scales, x + 4 * m * x_stride, x_stride, y + 4 * m * y_stride, y_stride, count))
            m += 8
        if rows - m >= 4:
            four((panel, scales, x + 4 * m * x_stride, x_stride, y + 4 * m * y_stride, y_stride, count))
            m += 4
        if rows - m >= 2:
            two((panel, scales, x + 4 * m * x_stride, x_stride, y + 4 * m * y_stride, y_stride, count))
            m += 2
        if rows - m >= 1:
            one((panel, scales, x + 4 * m * x_stride, x_stride, y + 4 * m * y_stride, y_stride, count))

    return product


nf4_product = _rows(_nf4, group=8, scaled=True)
"""(panel, scales, x, x_stride, y, y_stride, columns / 64, rows): y[m] = panel · x[m], the panel in NF4."""

int8_product = _rows(_int8, group=4, scaled=True)
"""The same of a panel in int8."""

float_product = _rows(_float, group=4, scaled=False)
"""(panel, 0, x, x_stride, y, y_stride, columns / 4, rows): the same of a panel in float32."""

float_product_added = _rows(_float, group=4, scaled=False, add=True)
"""The same, added to what y holds."""


# ---------------------------------------------------------------------- what stands between products


def _norm(w: _Writer, x: ir.Value, weight: ir.Value, y: ir.Value, count: ir.Value, eps: ir.Value) -> None:
    """Y = weight * x / sqrt(mean(x^2) + eps) (RMSNorm, arXiv 1910.07467) over `count` floats, a multiple of 16."""
    b = w.b
    total = w.variable(w.floats(0.0))
    vectors = b.udiv(count, _I64(LANES))
    with cgutils.for_range(b, vectors) as loop:
        v = w.load(w.at(x, _VF, loop.index))
        b.store(w.fma(v, v, b.load(total)), total)
    mean = b.fdiv(w.total(b.load(total)), b.uitofp(count, _F32))
    root = w.call("llvm.sqrt.f32", _F32, b.fadd(mean, b.fptrunc(eps, _F32)))
    factor = w.splat(b.fdiv(_F32(1.0), root))
    with cgutils.for_range(b, vectors) as loop:
        v = b.fmul(w.load(w.at(x, _VF, loop.index)), factor)
        w.store(b.fmul(v, w.load(w.at(weight, _VF, loop.index))), w.at(y, _VF, loop.index))


def _gate(w: _Writer, gate: ir.Value, up: ir.Value, y: ir.Value, count: ir.Value) -> None:
    """Y = silu(gate) * up over `count` floats, a multiple of 16 (SwiGLU, arXiv 2002.05202)."""
    b, one = w.b, w.floats(1.0)
    with cgutils.for_range(b, b.udiv(count, _I64(LANES))) as loop:
        g = w.load(w.at(gate, _VF, loop.index))
        shut = b.fadd(one, w.exp(b.fsub(w.floats(-0.0), g)))
        w.store(b.fmul(b.fdiv(g, shut), w.load(w.at(up, _VF, loop.index))), w.at(y, _VF, loop.index))


def _softmax(w: _Writer, x: ir.Value, count: ir.Value, scale: ir.Value) -> None:
    """X = softmax(scale * x) over the first `count` floats; the rest of the last vector becomes 0."""
    b = w.b
    factor = w.splat(b.fptrunc(scale, _F32))
    vectors = b.udiv(b.add(count, _I64(LANES - 1)), _I64(LANES))
    lanes = w.integers(*range(LANES))

    def counted(index: ir.Value) -> ir.Value:
        left = w.splat_integer(b.trunc(b.sub(count, b.mul(index, _I64(LANES))), _I32))
        return b.icmp_signed("<", lanes, left)

    peak = w.variable(w.floats(float("-inf")))
    with cgutils.for_range(b, vectors) as loop:
        v = b.fmul(w.load(w.at(x, _VF, loop.index)), factor)
        v = b.select(counted(loop.index), v, w.floats(float("-inf")))
        w.store(v, w.at(x, _VF, loop.index))
        b.store(w.largest(v, b.load(peak)), peak)
    top = w.splat(w.call("llvm.vector.reduce.fmax.v16f32", _F32, b.load(peak)))
    total = w.variable(w.floats(0.0))
    with cgutils.for_range(b, vectors) as loop:
        v = w.exp(b.fsub(w.load(w.at(x, _VF, loop.index)), top))
        v = b.select(counted(loop.index), v, w.floats(0.0))
        w.store(v, w.at(x, _VF, loop.index))
        b.store(b.fadd(v, b.load(total)), total)
    share = w.splat(b.fdiv(_F32(1.0), w.total(b.load(total))))
    with cgutils.for_range(b, vectors) as loop:
        w.store(b.fmul(w.load(w.at(x, _VF, loop.index)), share), w.at(x, _VF, loop.index))


def _get(w: _Writer, array: ir.Value, index: ir.Value) -> ir.Value:
    """A float of an array, by its address."""
    return w.b.load(w.at(array, _F32, index))


def _put(w: _Writer, array: ir.Value, index: ir.Value, value: ir.Value) -> None:
    narrow = w.b.fptrunc(value, _F32) if value.type == ir.DoubleType() else value
    w.b.store(narrow, w.at(array, _F32, index))


def _number(w: _Writer, array: ir.Value, index: ir.Value) -> ir.Value:
    """An int64 of an array, by its address."""
    return w.b.load(w.at(array, _I64, index))


get = _written(types.float32, _get)
put = _written(types.void, _put)
number = _written(types.int64, _number)
norm = _written(types.void, _norm)
gate = _written(types.void, _gate)
softmax = _written(types.void, _softmax)


# ---------------------------------------------------------------------- between threads


def _take(w: _Writer, counter: ir.Value) -> ir.Value:
    """The counter's value before one is added to it, in one step for all threads."""
    return w.b.atomic_rmw("add", w.at(counter, _I64), _I64(1), "acq_rel")


def _read(w: _Writer, counter: ir.Value) -> ir.Value:
    return w.b.load_atomic(w.at(counter, _I64), "acquire", 8)


def _pause(w: _Writer, spins: ir.Value) -> None:
    """Let the other thread of this core run; now and then any other."""
    w.call("llvm.x86.sse2.pause", ir.VoidType())
    with w.b.if_then(w.b.icmp_unsigned(">", spins, _I64(2000)), likely=False):
        w.call("sched_yield", _I32)


take = _written(types.int64, _take)
read = _written(types.int64, _read)
pause = _written(types.void, _pause)
