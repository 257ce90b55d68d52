"""Vectors of 512 bits as values of compiled code: what Numba does not find by itself in loops over packed weights.

    Bytes  64 x 8 bits    Integers  16 x int32    Floats  16 x float32

Memory is named by its address, an int64; whoever passes one keeps the array alive and knows its end. Each function is one
or a few instructions of LLVM, and can be called from compiled code only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from musicgen.engine.packed.compiling import inlined

_BYTE, _WORD, _INT, _LONG, _FLOAT = *(ir.IntType(bits) for bits in (8, 16, 32, 64)), ir.FloatType()
_BYTES, _INTS, _FLOATS = ir.VectorType(_BYTE, 64), ir.VectorType(_INT, 16), ir.VectorType(_FLOAT, 16)


class Vector(types.Type):
    """One of the three."""

    def __init__(self, name: str, value: ir.VectorType) -> None:
        self.value = value
        super().__init__(name=name)


@register_model(Vector)
class _InRegister(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.value)


Bytes, Integers, Floats = Vector("Bytes", _BYTES), Vector("Integers", _INTS), Vector("Floats", _FLOATS)
Build = Callable[..., Any]
"""A builder of instructions and the operands -> the result."""


def _instruction(result: Any, *operands: Any) -> Callable[[Build], Any]:
    def define(build: Build) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            made = build(builder, *values)
            return context.get_dummy_value() if result is types.none else made

        return result(*operands), generate

    return define


# Memory


@inlined()
def address_of(array):
    """Of an array's first number."""
    return array.ctypes.data


@intrinsic
def load_bytes(_, address):
    """64 bytes from an address."""
    return _instruction(Bytes, types.int64)(lambda builder, at: _load(builder, at, _BYTES))


@intrinsic
def load_floats(_, address):
    """16 float32 from an address."""
    return _instruction(Floats, types.int64)(lambda builder, at: _load(builder, at, _FLOATS))


@intrinsic
def load_half(_, address):
    """8 float32 from an address, and 8 zeros."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        half = ir.VectorType(_FLOAT, 8)
        return builder.shuffle_vector(_load(builder, at, half), _constant(half, 0.0), _lanes(range(16)))

    return _instruction(Floats, types.int64)(build)


@intrinsic
def load_even(_, address):
    """Of 32 float32 from an address, every other."""
    return _instruction(Floats, types.int64)(lambda builder, at: _every_other(builder, at, 0))


@intrinsic
def load_odd(_, address):
    """Of 32 float32 from an address, those that `load_even` leaves."""
    return _instruction(Floats, types.int64)(lambda builder, at: _every_other(builder, at, 1))


@intrinsic
def store_floats(_, address, value):
    """Write 16 float32 to an address."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _instruction(types.none, types.int64, Floats)(build)


@intrinsic
def store_small(_, address, value):
    """Write 16 integers to an address as signed bytes, which they must fit."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, builder.trunc(value, ir.VectorType(_BYTE, 16)))

    return _instruction(types.none, types.int64, Integers)(build)


@intrinsic
def store_bytes(_, address, value):
    """Write 64 bytes to an address."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _instruction(types.none, types.int64, Bytes)(build)


@intrinsic
def load_words(_, address):
    """16 integers, of 4 bytes each, from an address."""
    return _instruction(Integers, types.int64)(lambda builder, at: _load(builder, at, _INTS))


@intrinsic
def store_words(_, address, value):
    """Write 16 integers to an address, 4 bytes each."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _instruction(types.none, types.int64, Integers)(build)


@intrinsic
def turn(_, address, stride, to):
    """16 vectors of 16 times 4 bytes, `stride` bytes apart -> as many from `to` on, end to end: vector j gets what stands at
    place j of each, in order."""

    def build(builder: ir.IRBuilder, at: Any, stride: Any, to: Any) -> None:
        rows = []
        for _ in range(16):
            rows.append(_load(builder, at, _INTS))
            at = builder.add(at, stride)
        for apart in (1, 2, 4, 8):  # squares of that size change places across the diagonal
            first = _lanes(lane if not lane & apart else 16 + lane - apart for lane in range(16))
            second = _lanes(lane + apart if not lane & apart else 16 + lane for lane in range(16))
            for row in range(16):
                if not row & apart:
                    pair = rows[row], rows[row + apart]
                    rows[row] = builder.shuffle_vector(*pair, first)
                    rows[row + apart] = builder.shuffle_vector(*pair, second)
        for index, row in enumerate(rows):
            _store(builder, builder.add(to, _LONG(64 * index)), row)

    return _instruction(types.none, types.int64, types.int64, types.int64)(build)


@intrinsic
def load_halves(_, address):
    """16 float16 from an address, as floats."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.fpext(_load(builder, at, ir.VectorType(ir.HalfType(), 16)), _FLOATS)

    return _instruction(Floats, types.int64)(build)


@intrinsic
def load_unsigned(_, address):
    """16 bytes from an address, as floats of 0 to 255."""
    return _instruction(Floats, types.int64)(
        lambda builder, at: builder.uitofp(_load(builder, at, ir.VectorType(_BYTE, 16)), _FLOATS)
    )


@intrinsic
def load_signed(_, address):
    """16 bytes from an address, as floats of -128 to 127."""
    return _instruction(Floats, types.int64)(
        lambda builder, at: builder.sitofp(_load(builder, at, ir.VectorType(_BYTE, 16)), _FLOATS)
    )


@intrinsic
def load_scale(_, address):
    """One bfloat16 from an address, as a float."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(_load(builder, at, _WORD), _INT), _INT(16)), _FLOAT)

    return _instruction(types.float32, types.int64)(build)


@intrinsic
def load_scales(_, address):
    """16 bfloat16 from an address, as floats."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        words = builder.zext(_load(builder, at, ir.VectorType(_WORD, 16)), _INTS)
        return builder.bitcast(builder.shl(words, _constant(_INTS, 16)), _FLOATS)

    return _instruction(Floats, types.int64)(build)


@intrinsic
def store_fours(_, address, stride, value):
    """Write 16 integers as bytes, which they must fit: 4 to an address, and 4 each `stride` bytes further."""

    def build(builder: ir.IRBuilder, at: Any, stride: Any, value: Any) -> None:
        small = builder.trunc(value, ir.VectorType(_BYTE, 16))
        for index in range(4):
            part = builder.shuffle_vector(small, small, _lanes(range(4 * index, 4 * index + 4)))
            _store(builder, at, part)
            at = builder.add(at, stride)

    return _instruction(types.none, types.int64, types.int64, Integers)(build)


@intrinsic
def store_every_fourth(_, address, which, value):
    """Write 16 integers as bytes, which they must fit: every fourth of 64 at an address, from byte `which` on."""

    def build(builder: ir.IRBuilder, at: Any, which: Any, value: Any) -> None:
        pointer = builder.inttoptr(at, _INTS.as_pointer())
        places = _bytes_up(builder, which)
        others = builder.not_(builder.shl(_constant(_INTS, 255), places))
        kept = builder.and_(builder.load(pointer, align=4), others)
        builder.store(builder.or_(kept, builder.shl(value, places)), pointer, align=4)

    return _instruction(types.none, types.int64, types.int64, Integers)(build)


@intrinsic
def store_scale(_, address, value):
    """Write a positive float32 to an address as the nearest bfloat16. Returns that."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> Any:
        word = builder.lshr(builder.add(builder.bitcast(value, _INT), _INT(0x8000)), _INT(16))
        _store(builder, at, builder.trunc(word, _WORD))
        return builder.bitcast(builder.shl(word, _INT(16)), _FLOAT)

    return _instruction(types.float32, types.int64, types.float32)(build)


@intrinsic
def load_float(_, address):
    """One float32 from an address."""
    return _instruction(types.float32, types.int64)(lambda builder, at: _load(builder, at, _FLOAT))


@intrinsic
def store_float(_, address, value):
    """Write one float32 to an address."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _instruction(types.none, types.int64, types.float32)(build)


@intrinsic
def prefetch(_, address):
    """Ask for the 64 bytes at an address, which may lie beyond any array."""

    def build(builder: ir.IRBuilder, at: Any) -> None:
        pointer = _BYTE.as_pointer()
        ask = _function(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, _INT, _INT, _INT])
        builder.call(ask, [builder.inttoptr(at, pointer), _INT(0), _INT(2), _INT(1)])

    return _instruction(types.none, types.int64)(build)


# Bytes and integers


@intrinsic
def low(_, codes):
    """The low 4 bits of every byte."""
    return _instruction(Bytes, Bytes)(lambda builder, codes: builder.and_(codes, _constant(_BYTES, 15)))


@intrinsic
def high(_, codes):
    """The high 4 bits of every byte."""
    return _instruction(Bytes, Bytes)(lambda builder, codes: builder.lshr(codes, _constant(_BYTES, 4)))


@intrinsic
def high_in_place(_, codes):
    """The high 4 bits of every byte, where they are: 16 times as much."""
    return _instruction(Bytes, Bytes)(lambda builder, codes: builder.and_(codes, _constant(_BYTES, 240)))


@intrinsic
def offset(_, codes):
    """Signed bytes as unsigned ones, 128 more."""
    return _instruction(Bytes, Bytes)(lambda builder, codes: builder.xor(codes, _constant(_BYTES, 128)))


@intrinsic
def repeat_word(_, address):
    """4 bytes from an address, 16 times."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.bitcast(_everywhere(builder, _load(builder, at, _INT), _INTS), _BYTES)

    return _instruction(Bytes, types.int64)(build)


@intrinsic
def add_products(_, total, unsigned, signed):
    """total[i] + the sum of unsigned[4 i + j] * signed[4 i + j], j = 0 ... 3: VPDPBUSD."""

    def build(builder: ir.IRBuilder, *values: Any) -> Any:
        multiply = _function(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS, [_INTS, _BYTES, _BYTES])
        return builder.call(multiply, values)

    return _instruction(Integers, Integers, Bytes, Bytes)(build)


@intrinsic
def integers(_, value):
    """One int32 everywhere."""
    return _instruction(Integers, types.int32)(lambda builder, value: _everywhere(builder, value, _INTS))


@intrinsic
def add_integers(_, a, b):
    """a + b."""
    return _instruction(Integers, Integers, Integers)(lambda builder, a, b: builder.add(a, b))


@intrinsic
def byte_of(_, words, index):
    """One of the four bytes of every integer, 0 to 255."""

    def build(builder: ir.IRBuilder, words: Any, index: Any) -> Any:
        return builder.and_(builder.lshr(words, _bytes_up(builder, index)), _constant(_INTS, 255))

    return _instruction(Integers, Integers, types.int64)(build)


@intrinsic
def with_byte(_, words, code, index):
    """Integers whose byte `index` is still 0, with 0 to 255 there."""

    def build(builder: ir.IRBuilder, words: Any, code: Any, index: Any) -> Any:
        return builder.or_(words, builder.shl(code, _bytes_up(builder, index)))

    return _instruction(Integers, Integers, Integers, types.int64)(build)


@intrinsic
def subtract_integers(_, a, b):
    """a - b."""
    return _instruction(Integers, Integers, Integers)(lambda builder, a, b: builder.sub(a, b))


@intrinsic
def in_halves(_, a, b):
    """Integers of bytes below 16: a's are the low 4 bits of each byte, b's the high ones."""

    def build(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        return builder.or_(a, builder.shl(b, _constant(_INTS, 4)))

    return _instruction(Integers, Integers, Integers)(build)


@intrinsic
def nearest(_, value):
    """Floats as the nearest integers: VCVTPS2DQ."""

    def build(builder: ir.IRBuilder, value: Any) -> Any:
        mask = ir.IntType(16)
        convert = _function(builder, "llvm.x86.avx512.mask.cvtps2dq.512", _INTS, [_FLOATS, _INTS, mask, _INT])
        as_set = _INT(4)  # the processor's rounding, which is to the nearest
        return builder.call(convert, [value, _constant(_INTS, 0), mask(0xFFFF), as_set])

    return _instruction(Integers, Floats)(build)


@intrinsic
def as_floats(_, value):
    """Integers as floats."""
    return _instruction(Floats, Integers)(lambda builder, value: builder.sitofp(value, _FLOATS))


# Floats


@intrinsic
def floats(_, value):
    """One float32 everywhere."""
    return _instruction(Floats, types.float32)(lambda builder, value: _everywhere(builder, value, _FLOATS))


@intrinsic
def add(_, a, b):
    """a + b."""
    return _instruction(Floats, Floats, Floats)(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def multiply(_, a, b):
    """a b."""
    return _instruction(Floats, Floats, Floats)(lambda builder, a, b: builder.fmul(a, b))


@intrinsic
def multiply_add(_, a, b, c):
    """a b + c."""
    return _instruction(Floats, Floats, Floats, Floats)(lambda builder, *values: _of_floats(builder, "fma", *values))


@intrinsic
def reciprocal(_, a):
    """1 / a."""
    return _instruction(Floats, Floats)(lambda builder, a: builder.fdiv(_constant(_FLOATS, 1.0), a))


@intrinsic
def larger(_, a, b):
    """The larger of a and b; b where one is not a number."""
    return _instruction(Floats, Floats, Floats)(_larger)


@intrinsic
def smaller(_, a, b):
    """The smaller of a and b; b where one is not a number."""
    return _instruction(Floats, Floats, Floats)(
        lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b)
    )


@intrinsic
def magnitude(_, a):
    """|a|."""
    return _instruction(Floats, Floats)(lambda builder, a: _of_floats(builder, "fabs", a))


@intrinsic
def two_to_the(_, x):
    """2^x to a few units in the last place, x at most 127; below -126 it is 2^-126, which stands for 0.

    2^x = 2^n 2^f, n the nearest integer: 2^f by its Taylor series, |f| <= 1/2, 2^n by writing the exponent's bits.
    """

    def build(builder: ir.IRBuilder, x: Any) -> Any:
        x = _of_floats(builder, "maxnum", x, _constant(_FLOATS, -126.0))
        whole = _of_floats(builder, "roundeven", x)
        part = builder.fsub(x, whole)
        series = _constant(_FLOATS, _TAYLOR[-1])
        for coefficient in reversed(_TAYLOR[:-1]):
            series = _of_floats(builder, "fma", series, part, _constant(_FLOATS, coefficient))
        exponent = builder.add(builder.fptosi(whole, _INTS), _constant(_INTS, 127))
        return builder.fmul(series, builder.bitcast(builder.shl(exponent, _constant(_INTS, 23)), _FLOATS))

    return _instruction(Floats, Floats)(build)


@intrinsic
def total(_, value):
    """The sum of all 16."""

    def build(builder: ir.IRBuilder, value: Any) -> Any:
        reduce = _function(builder, "llvm.vector.reduce.fadd.v16f32", _FLOAT, [_FLOAT, _FLOATS])
        return builder.call(reduce, [ir.Constant(_FLOAT, -0.0), value], fastmath=("reassoc",))

    return _instruction(types.float32, Floats)(build)


@intrinsic
def largest(_, value):
    """The largest of all 16."""

    def build(builder: ir.IRBuilder, value: Any) -> Any:
        for apart in (8, 4, 2, 1):
            value = _larger(
                builder, value, builder.shuffle_vector(value, value, _lanes([*range(apart, 16), *range(apart)]))
            )
        return builder.extract_element(value, _INT(0))

    return _instruction(types.float32, Floats)(build)


_LN2 = 0.6931471805599453
_TAYLOR = [1.0, _LN2, _LN2**2 / 2, _LN2**3 / 6, _LN2**4 / 24, _LN2**5 / 120, _LN2**6 / 720, _LN2**7 / 5040]


def _load(builder: ir.IRBuilder, at: Any, kind: ir.Type) -> Any:
    return builder.load(builder.inttoptr(at, kind.as_pointer()), align=1)


def _store(builder: ir.IRBuilder, at: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(at, value.type.as_pointer()), align=1)


def _every_other(builder: ir.IRBuilder, at: Any, first: int) -> Any:
    both = ir.VectorType(_FLOAT, 32)
    return builder.shuffle_vector(
        _load(builder, at, both), ir.Constant(both, ir.Undefined), _lanes(range(first, 32, 2))
    )


def _constant(kind: ir.VectorType, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _lanes(which: Any) -> Any:
    indices = list(which)
    return ir.Constant(ir.VectorType(_INT, len(indices)), indices)


def _everywhere(builder: ir.IRBuilder, value: Any, kind: ir.VectorType) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, _INT(0)), nothing, _lanes([0] * kind.count))


def _bytes_up(builder: ir.IRBuilder, index: Any) -> Any:
    return _everywhere(builder, builder.trunc(builder.shl(index, _LONG(3)), _INT), _INTS)


def _larger(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """One instruction, unlike LLVM's maxnum."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _of_floats(builder: ir.IRBuilder, name: str, *values: Any) -> Any:
    return builder.call(_function(builder, f"llvm.{name}.v16f32", _FLOATS, [_FLOATS] * len(values)), values)


def _function(builder: ir.IRBuilder, name: str, result: ir.Type, operands: list[ir.Type]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, operands), name)
