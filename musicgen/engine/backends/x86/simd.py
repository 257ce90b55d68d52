"""64-byte vectors as Numba values, and instructions on them that Numba's vectoriser does not generate for packed weights.

    U8x64     64 x 8 bits, signed or unsigned
    I32x16    16 x int32
    F32x16    16 x float32

A vector is one register on processors with AVX-512, two on those with AVX2 (`instructions`). Memory is given as an address
(int64): the caller keeps the array alive and stays within its bounds. Each function is one or a few LLVM instructions and can
be called from compiled code only. Vectors need no alignment, except in `store_every_fourth_byte`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from musicgen.engine.backends.x86 import instruction_set
from musicgen.engine.backends.x86.instructions import INSTRUCTION_SETS, InstructionSet
from musicgen.engine.backends.x86.jit import inline_jit

_BYTE, _WORD, _INT, _LONG, _FLOAT = *(ir.IntType(bits) for bits in (8, 16, 32, 64)), ir.FloatType()
_BYTES, _INTS, _FLOATS = ir.VectorType(_BYTE, 64), ir.VectorType(_INT, 16), ir.VectorType(_FLOAT, 16)


class Vector(types.Type):
    """Numba type of a vector register.

    Args:
        name: Name of the type.
        value: Its LLVM type.
    """

    def __init__(self, name: str, value: ir.VectorType) -> None:
        self.value = value
        super().__init__(name=name)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.value)


U8x64, I32x16, F32x16 = Vector("U8x64", _BYTES), Vector("I32x16", _INTS), Vector("F32x16", _FLOATS)
Build = Callable[..., Any]
"""Emits instructions: (builder, *operands) -> result."""


def _define(result: Any, *operands: Any) -> Callable[[Build], Any]:
    """Returns what an intrinsic of these types has to return, given the function that emits its instructions."""

    def define(build: Build) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            value = build(builder, *values)
            return context.get_dummy_value() if result is types.none else value

        return result(*operands), generate

    return define


# Loads and stores


@inline_jit()
def address_of(array):
    """The address of an array's first element."""
    return array.ctypes.data


@intrinsic
def load_u8x64(_, address):
    """Load 64 bytes."""
    return _define(U8x64, types.int64)(lambda builder, at: _load(builder, at, _BYTES))


@intrinsic
def load_f32x16(_, address):
    """Load 16 float32."""
    return _define(F32x16, types.int64)(lambda builder, at: _load(builder, at, _FLOATS))


@intrinsic
def load_f32x8(_, address):
    """Load 8 float32 into the low lanes; the high lanes are 0."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        half = ir.VectorType(_FLOAT, 8)
        return builder.shuffle_vector(_load(builder, at, half), _constant(half, 0.0), _indices(range(16)))

    return _define(F32x16, types.int64)(build)


@intrinsic
def load_even_f32(_, address):
    """Load the even ones of 32 float32."""
    return _define(F32x16, types.int64)(lambda builder, at: _load_every_other(builder, at, 0))


@intrinsic
def load_odd_f32(_, address):
    """Load the odd ones of 32 float32."""
    return _define(F32x16, types.int64)(lambda builder, at: _load_every_other(builder, at, 1))


@intrinsic
def store_f32x16(_, address, value):
    """Store 16 float32."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _define(types.none, types.int64, F32x16)(build)


@intrinsic
def store_as_i8x16(_, address, value):
    """Store 16 integers as int8, which they must fit."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, builder.trunc(value, ir.VectorType(_BYTE, 16)))

    return _define(types.none, types.int64, I32x16)(build)


@intrinsic
def store_u8x64(_, address, value):
    """Store 64 bytes."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _define(types.none, types.int64, U8x64)(build)


@intrinsic
def load_i32x16(_, address):
    """Load 16 int32."""
    return _define(I32x16, types.int64)(lambda builder, at: _load(builder, at, _INTS))


@intrinsic
def store_i32x16(_, address, value):
    """Store 16 int32."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _define(types.none, types.int64, I32x16)(build)


@intrinsic
def transpose(_, address, stride, target):
    """Transpose a 16 x 16 matrix of int32.

    Args:
        address: Address of the first row; the rows are `stride` bytes apart.
        stride: Bytes between rows.
        target: Address of the result, which is contiguous.
    """

    def build(builder: ir.IRBuilder, at: Any, stride: Any, target: Any) -> None:
        rows = []
        for _ in range(16):
            rows.append(_load(builder, at, _INTS))
            at = builder.add(at, stride)
        for distance in (1, 2, 4, 8):  # blocks of this size are swapped across the diagonal
            first = _indices(lane if not lane & distance else 16 + lane - distance for lane in range(16))
            second = _indices(lane + distance if not lane & distance else 16 + lane for lane in range(16))
            for row in range(16):
                if not row & distance:
                    pair = rows[row], rows[row + distance]
                    rows[row] = builder.shuffle_vector(*pair, first)
                    rows[row + distance] = builder.shuffle_vector(*pair, second)
        for index, row in enumerate(rows):
            _store(builder, builder.add(target, _LONG(64 * index)), row)

    return _define(types.none, types.int64, types.int64, types.int64)(build)


@intrinsic
def load_f16x16(_, address):
    """Load 16 float16 as float32."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.fpext(_load(builder, at, ir.VectorType(ir.HalfType(), 16)), _FLOATS)

    return _define(F32x16, types.int64)(build)


@intrinsic
def load_u8x16(_, address):
    """Load 16 uint8 as float32."""
    return _define(F32x16, types.int64)(
        lambda builder, at: builder.uitofp(_load(builder, at, ir.VectorType(_BYTE, 16)), _FLOATS)
    )


@intrinsic
def load_i8x16(_, address):
    """Load 16 int8 as float32."""
    return _define(F32x16, types.int64)(
        lambda builder, at: builder.sitofp(_load(builder, at, ir.VectorType(_BYTE, 16)), _FLOATS)
    )


@intrinsic
def load_bf16(_, address):
    """Load one bfloat16 as float32."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(_load(builder, at, _WORD), _INT), _INT(16)), _FLOAT)

    return _define(types.float32, types.int64)(build)


@intrinsic
def load_bf16x16(_, address):
    """Load 16 bfloat16 as float32."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        words = builder.zext(_load(builder, at, ir.VectorType(_WORD, 16)), _INTS)
        return builder.bitcast(builder.shl(words, _constant(_INTS, 16)), _FLOATS)

    return _define(F32x16, types.int64)(build)


@intrinsic
def store_as_i8x4_strided(_, address, stride, value):
    """Store 16 integers as bytes, which they must fit: four groups of 4, `stride` bytes apart."""

    def build(builder: ir.IRBuilder, at: Any, stride: Any, value: Any) -> None:
        small = builder.trunc(value, ir.VectorType(_BYTE, 16))
        for index in range(4):
            part = builder.shuffle_vector(small, small, _indices(range(4 * index, 4 * index + 4)))
            _store(builder, at, part)
            at = builder.add(at, stride)

    return _define(types.none, types.int64, types.int64, I32x16)(build)


@intrinsic
def store_every_fourth_byte(_, address, which, value):
    """Store 16 integers, which must fit a byte, into bytes `which`, `which` + 4, ... of 64."""

    def build(builder: ir.IRBuilder, at: Any, which: Any, value: Any) -> None:
        pointer = builder.inttoptr(at, _INTS.as_pointer())
        shift = _bit_offset(builder, which)
        mask = builder.not_(builder.shl(_constant(_INTS, 255), shift))
        kept = builder.and_(builder.load(pointer, align=4), mask)
        builder.store(builder.or_(kept, builder.shl(value, shift)), pointer, align=4)

    return _define(types.none, types.int64, types.int64, I32x16)(build)


@intrinsic
def store_bf16(_, address, value):
    """Store a positive float32 rounded to bfloat16. Returns the rounded value."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> Any:
        word = builder.lshr(builder.add(builder.bitcast(value, _INT), _INT(0x8000)), _INT(16))
        _store(builder, at, builder.trunc(word, _WORD))
        return builder.bitcast(builder.shl(word, _INT(16)), _FLOAT)

    return _define(types.float32, types.int64, types.float32)(build)


@intrinsic
def load_f32(_, address):
    """Load one float32."""
    return _define(types.float32, types.int64)(lambda builder, at: _load(builder, at, _FLOAT))


@intrinsic
def store_f32(_, address, value):
    """Store one float32."""

    def build(builder: ir.IRBuilder, at: Any, value: Any) -> None:
        _store(builder, at, value)

    return _define(types.none, types.int64, types.float32)(build)


@intrinsic
def prefetch(_, address):
    """Prefetch the cache line at an address, which may lie outside any array."""

    def build(builder: ir.IRBuilder, at: Any) -> None:
        pointer = _BYTE.as_pointer()
        instruction = _function(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, _INT, _INT, _INT])
        builder.call(instruction, [builder.inttoptr(at, pointer), _INT(0), _INT(2), _INT(1)])

    return _define(types.none, types.int64)(build)


# Bytes and integers


@intrinsic
def low_nibbles(_, codes):
    """The low nibble of every byte."""
    return _define(U8x64, U8x64)(lambda builder, codes: builder.and_(codes, _constant(_BYTES, 15)))


@intrinsic
def high_nibbles(_, codes):
    """The high nibble of every byte, shifted down."""
    return _define(U8x64, U8x64)(lambda builder, codes: builder.lshr(codes, _constant(_BYTES, 4)))


@intrinsic
def high_nibbles_in_place(_, codes):
    """The high nibble of every byte, not shifted: 16 times its value."""
    return _define(U8x64, U8x64)(lambda builder, codes: builder.and_(codes, _constant(_BYTES, 240)))


@intrinsic
def broadcast_u8x4(_, address):
    """Load 4 bytes and repeat them 16 times."""

    def build(builder: ir.IRBuilder, at: Any) -> Any:
        return builder.bitcast(_splat(builder, _load(builder, at, _INT), _INTS), _BYTES)

    return _define(U8x64, types.int64)(build)


@intrinsic
def dot(_, accumulator, unsigned, signed):
    """accumulator[i] + the sum over j = 0 ... 3 of unsigned[4 i + j] * signed[4 i + j]."""
    return _define(I32x16, I32x16, U8x64, U8x64)(_set().dot)


@intrinsic
def dot_nibbles(_, accumulator, unsigned, signed, next_unsigned, next_signed):
    """accumulator + the products of two pairs of vectors, where no unsigned byte is above 15, and no signed one is -128."""
    return _define(I32x16, I32x16, U8x64, U8x64, U8x64, U8x64)(_set().dot_nibbles)


@intrinsic
def dot_int8(_, accumulator, codes, signed):
    """As `dot`, for codes from `offset_int8`, and signed bytes above -128."""
    return _define(I32x16, I32x16, U8x64, U8x64)(_set().dot_int8)


@intrinsic
def offset_int8(_, codes):
    """int8 codes plus `int8_offset`."""
    return _define(U8x64, U8x64)(_set().offset_int8)


@intrinsic
def int8_offset(_):
    """The offset that `offset_int8` adds, a float32: the zero point of int8 codes in `dot_int8`."""
    return _define(types.float32)(lambda _: _FLOAT(_set().int8_offset))


@intrinsic
def splat_i32(_, value):
    """One int32 in all lanes."""
    return _define(I32x16, types.int32)(lambda builder, value: _splat(builder, value, _INTS))


@intrinsic
def add_i32(_, a, b):
    """a + b."""
    return _define(I32x16, I32x16, I32x16)(lambda builder, a, b: builder.add(a, b))


@intrinsic
def extract_byte(_, words, index):
    """Byte `index` of every integer, 0 to 255."""

    def build(builder: ir.IRBuilder, words: Any, index: Any) -> Any:
        return builder.and_(builder.lshr(words, _bit_offset(builder, index)), _constant(_INTS, 255))

    return _define(I32x16, I32x16, types.int64)(build)


@intrinsic
def insert_byte(_, words, code, index):
    """Set byte `index` of every integer, which must be 0 before, to `code`, 0 to 255."""

    def build(builder: ir.IRBuilder, words: Any, code: Any, index: Any) -> Any:
        return builder.or_(words, builder.shl(code, _bit_offset(builder, index)))

    return _define(I32x16, I32x16, I32x16, types.int64)(build)


@intrinsic
def sub_i32(_, a, b):
    """a - b."""
    return _define(I32x16, I32x16, I32x16)(lambda builder, a, b: builder.sub(a, b))


@intrinsic
def pack_nibbles(_, a, b):
    """Combine integers whose bytes are below 16: those of a become the low nibbles, those of b the high ones."""

    def build(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
        return builder.or_(a, builder.shl(b, _constant(_INTS, 4)))

    return _define(I32x16, I32x16, I32x16)(build)


@intrinsic
def round_to_i32(_, value):
    """float32 -> the nearest int32."""
    return _define(I32x16, F32x16)(_set().round)


@intrinsic
def to_f32(_, value):
    """int32 -> float32."""
    return _define(F32x16, I32x16)(lambda builder, value: builder.sitofp(value, _FLOATS))


# Floats


@intrinsic
def splat_f32(_, value):
    """One float32 in all lanes."""
    return _define(F32x16, types.float32)(lambda builder, value: _splat(builder, value, _FLOATS))


@intrinsic
def add_f32(_, a, b):
    """a + b."""
    return _define(F32x16, F32x16, F32x16)(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def mul(_, a, b):
    """a * b."""
    return _define(F32x16, F32x16, F32x16)(lambda builder, a, b: builder.fmul(a, b))


@intrinsic
def fma(_, a, b, c):
    """a * b + c, rounded once."""
    return _define(F32x16, F32x16, F32x16, F32x16)(lambda builder, *values: _call_f32x16(builder, "fma", *values))


@intrinsic
def reciprocal(_, a):
    """1 / a."""
    return _define(F32x16, F32x16)(lambda builder, a: builder.fdiv(_constant(_FLOATS, 1.0), a))


@intrinsic
def maximum(_, a, b):
    """The larger of a and b; b where either is NaN."""
    return _define(F32x16, F32x16, F32x16)(_maximum)


@intrinsic
def minimum(_, a, b):
    """The smaller of a and b; b where either is NaN."""
    return _define(F32x16, F32x16, F32x16)(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))


@intrinsic
def absolute(_, a):
    """|a|."""
    return _define(F32x16, F32x16)(lambda builder, a: _call_f32x16(builder, "fabs", a))


@intrinsic
def exp2(_, x):
    """2^x to a few units in the last place, for x of at most 127; below -126 it is 2^-126, which stands for 0.

    2^x = 2^n 2^f with n the nearest integer: 2^f by its Taylor series for |f| <= 1/2, 2^n by writing the bits of the exponent.
    """

    def build(builder: ir.IRBuilder, x: Any) -> Any:
        x = _call_f32x16(builder, "maxnum", x, _constant(_FLOATS, -126.0))
        integer = _call_f32x16(builder, "roundeven", x)
        fraction = builder.fsub(x, integer)
        series = _constant(_FLOATS, _TAYLOR[-1])
        for coefficient in reversed(_TAYLOR[:-1]):
            series = _call_f32x16(builder, "fma", series, fraction, _constant(_FLOATS, coefficient))
        exponent = builder.add(builder.fptosi(integer, _INTS), _constant(_INTS, 127))
        return builder.fmul(series, builder.bitcast(builder.shl(exponent, _constant(_INTS, 23)), _FLOATS))

    return _define(F32x16, F32x16)(build)


@intrinsic
def reduce_add(_, value):
    """The sum of all lanes."""

    def build(builder: ir.IRBuilder, value: Any) -> Any:
        reduce = _function(builder, "llvm.vector.reduce.fadd.v16f32", _FLOAT, [_FLOAT, _FLOATS])
        return builder.call(reduce, [ir.Constant(_FLOAT, -0.0), value], fastmath=("reassoc",))

    return _define(types.float32, F32x16)(build)


@intrinsic
def reduce_max(_, value):
    """The maximum of all lanes."""

    def build(builder: ir.IRBuilder, value: Any) -> Any:
        for distance in (8, 4, 2, 1):
            value = _maximum(
                builder, value, builder.shuffle_vector(value, value, _indices([*range(distance, 16), *range(distance)]))
            )
        return builder.extract_element(value, _INT(0))

    return _define(types.float32, F32x16)(build)


_LN2 = 0.6931471805599453
_TAYLOR = [1.0, _LN2, _LN2**2 / 2, _LN2**3 / 6, _LN2**4 / 24, _LN2**5 / 120, _LN2**6 / 720, _LN2**7 / 5040]


def _set() -> InstructionSet:
    """That of this processor."""
    name = instruction_set()
    assert name is not None  # as `supports` says
    return INSTRUCTION_SETS[name]


def _load(builder: ir.IRBuilder, at: Any, kind: ir.Type) -> Any:
    return builder.load(builder.inttoptr(at, kind.as_pointer()), align=1)


def _store(builder: ir.IRBuilder, at: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(at, value.type.as_pointer()), align=1)


def _load_every_other(builder: ir.IRBuilder, at: Any, first: int) -> Any:
    both = ir.VectorType(_FLOAT, 32)
    return builder.shuffle_vector(
        _load(builder, at, both), ir.Constant(both, ir.Undefined), _indices(range(first, 32, 2))
    )


def _constant(kind: ir.VectorType, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _indices(which: Any) -> Any:
    indices = list(which)
    return ir.Constant(ir.VectorType(_INT, len(indices)), indices)


def _splat(builder: ir.IRBuilder, value: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, _INT(0)), undefined, _indices([0] * kind.count)
    )


def _bit_offset(builder: ir.IRBuilder, index: Any) -> Any:
    return _splat(builder, builder.trunc(builder.shl(index, _LONG(3)), _INT), _INTS)


def _maximum(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """One instruction; LLVM's maxnum takes several."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _call_f32x16(builder: ir.IRBuilder, name: str, *values: Any) -> Any:
    return builder.call(_function(builder, f"llvm.{name}.v16f32", _FLOATS, [_FLOATS] * len(values)), values)


def _function(builder: ir.IRBuilder, name: str, result: ir.Type, operands: list[ir.Type]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, operands), name)
