"""The instructions of `simd` that differ from one instruction set to another, for each set that the kernels run on.

Everything else in `simd` is LLVM's generic arithmetic on 64-byte vectors, which LLVM maps to one register on processors with
AVX-512 and to two on those with AVX2. The instructions emitted here give the same integers on every instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

_BYTE, _WORD, _INT, _FLOAT = *(ir.IntType(bits) for bits in (8, 16, 32)), ir.FloatType()
Emit = Callable[..., Any]
"""(builder, *vectors) -> the result."""


class InstructionSet(NamedTuple):
    """What emits the instructions. Sums are of four bytes each: of bytes 4 i ... 4 i + 3 in int32 number i.

    Attributes:
        dot: (accumulator, unsigned bytes, signed bytes) -> accumulator + their products.
        dot_nibbles: (accumulator, unsigned, signed, unsigned, signed bytes) -> accumulator + the products of both pairs, where
            no unsigned byte is above 15, and no signed one is -128.
        dot_int8: As dot, for signed bytes from `offset_int8`, and signed ones above -128.
        offset_int8: Signed bytes -> these plus `int8_offset`.
        int8_offset: 128 where the instruction multiplies unsigned bytes with signed ones, else 0.
        round: 16 x float32 -> the nearest int32.
    """

    dot: Emit
    dot_nibbles: Emit
    dot_int8: Emit
    offset_int8: Emit
    int8_offset: int
    round: Emit


def _vnni_512(builder: ir.IRBuilder, accumulator: Any, unsigned: Any, signed: Any) -> Any:
    """VPDPBUSD of 64 bytes."""
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", accumulator.type, accumulator, unsigned, signed)


def _round_512(builder: ir.IRBuilder, value: Any) -> Any:
    """VCVTPS2DQ of 16 numbers."""
    result = ir.VectorType(_INT, 16)
    every, current_direction = ir.IntType(16)(0xFFFF), _INT(4)  # the processor's rounding mode, which is to nearest
    name = "llvm.x86.avx512.mask.cvtps2dq.512"
    return _call(builder, name, result, value, _constant(result, 0), every, current_direction)


def _vnni_256(builder: ir.IRBuilder, accumulator: Any, unsigned: Any, signed: Any) -> Any:
    """VPDPBUSD of 32 bytes."""
    return _call(builder, "llvm.x86.avx512.vpdpbusd.256", accumulator.type, accumulator, unsigned, signed)


def _dot_avx2(builder: ir.IRBuilder, accumulator: Any, unsigned: Any, signed: Any) -> Any:
    """Of 32 bytes. VPMADDUBSW would saturate, so the even and the odd bytes are multiplied as 16 bits, by VPMADDWD."""
    words = ir.VectorType(_WORD, 16)
    u, s, eight = builder.bitcast(unsigned, words), builder.bitcast(signed, words), _constant(words, 8)
    even = builder.and_(u, _constant(words, 255)), builder.ashr(builder.shl(s, eight), eight)
    odd = builder.lshr(u, eight), builder.ashr(s, eight)
    for pair in (even, odd):
        accumulator = builder.add(accumulator, _call(builder, "llvm.x86.avx2.pmadd.wd", accumulator.type, *pair))
    return accumulator


def _dot_nibbles_avx2(builder: ir.IRBuilder, accumulator: Any, *vectors: Any) -> Any:
    """Of twice 32 bytes: VPMADDUBSW, whose 16 bits hold 4 * 15 * 127."""
    return _add_pairs(builder, accumulator, builder.add(_pairs(builder, *vectors[:2]), _pairs(builder, *vectors[2:])))


def _dot_int8_avx2(builder: ir.IRBuilder, accumulator: Any, codes: Any, signed: Any) -> Any:
    """Of 32 bytes: VPMADDUBSW of the magnitude of one factor, and of the other with its sign; 16 bits hold 2 * 128 * 127."""
    moved = _call(builder, "llvm.x86.avx2.psign.b", signed.type, signed, codes)
    zero = _constant(codes.type, 0)
    magnitude = builder.select(builder.icmp_signed("<", codes, zero), builder.sub(zero, codes), codes)
    return _add_pairs(builder, accumulator, _pairs(builder, magnitude, moved))


def _pairs(builder: ir.IRBuilder, unsigned: Any, signed: Any) -> Any:
    """VPMADDUBSW: sums of two products in 16 bits, which they must fit."""
    return _call(builder, "llvm.x86.avx2.pmadd.ub.sw", ir.VectorType(_WORD, 16), unsigned, signed)


def _add_pairs(builder: ir.IRBuilder, accumulator: Any, words: Any) -> Any:
    """VPMADDWD with ones: accumulator + the sums of two words."""
    ones = _constant(words.type, 1)
    return builder.add(accumulator, _call(builder, "llvm.x86.avx2.pmadd.wd", accumulator.type, words, ones))


def _twice(dot: Emit) -> Emit:
    """`dot` of two pairs of vectors."""

    def emit(builder: ir.IRBuilder, accumulator: Any, *vectors: Any) -> Any:
        return dot(builder, dot(builder, accumulator, *vectors[:2]), *vectors[2:])

    return emit


def _plus_128(builder: ir.IRBuilder, codes: Any) -> Any:
    return builder.xor(codes, _constant(codes.type, 128))


def _unchanged(_: ir.IRBuilder, codes: Any) -> Any:
    return codes


def _round_256(builder: ir.IRBuilder, value: Any) -> Any:
    """VCVTPS2DQ of 8 numbers."""
    return _call(builder, "llvm.x86.avx.cvt.ps2dq.256", ir.VectorType(_INT, 8), value)


def _of_halves(emit: Emit) -> Emit:
    """The same as `emit`, for vectors of twice the size."""

    def both(builder: ir.IRBuilder, *vectors: Any) -> Any:
        low, high = ([_half(builder, vector, which) for vector in vectors] for which in (0, 1))
        parts = emit(builder, *low), emit(builder, *high)
        return builder.shuffle_vector(*parts, _indices(range(2 * parts[0].type.count)))

    return both


_vnni_halves, _round_halves = _of_halves(_vnni_256), _of_halves(_round_256)
INSTRUCTION_SETS: Mapping[str, InstructionSet] = {
    "avx512": InstructionSet(_vnni_512, _twice(_vnni_512), _vnni_512, _plus_128, 128, _round_512),
    "avxvnni": InstructionSet(_vnni_halves, _twice(_vnni_halves), _vnni_halves, _plus_128, 128, _round_halves),
    "avx2": InstructionSet(
        _of_halves(_dot_avx2),
        _of_halves(_dot_nibbles_avx2),
        _of_halves(_dot_int8_avx2),
        _unchanged,
        0,
        _round_halves,
    ),
}
"""By the names of `x86.FEATURES`."""


def _half(builder: ir.IRBuilder, vector: Any, which: int) -> Any:
    size = vector.type.count // 2
    return builder.shuffle_vector(vector, vector, _indices(range(which * size, (which + 1) * size)))


def _indices(which: range) -> Any:
    return ir.Constant(ir.VectorType(_INT, len(which)), list(which))


def _constant(kind: ir.VectorType, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *operands: Any) -> Any:
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)
