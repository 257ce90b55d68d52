"""Products of int8-quantised activations with int8 or int4 weights for few rows, which is memory-bound: every weight is
loaded once for all rows.

A row of activations is quantised in groups of 128, each with its own scale: x = scale * q, q in [-127, 127]. The dot
product of a group is exact in integers and scaled once. With the codes c, scales s and zero points z of the weights (of
int8 weights s is one per output, and z is `simd.int8_offset`, which `offset_int8` has added):

    y[o] = sum over groups g of s[o, g] scale[g] (sum c q - z[o, g] sum q)

The last term is a dot product of its own, of `shift[o, g] = s[o, g] z[o, g]` with `sums[g] = scale[g] sum q`.
Shapes: R rows, G groups of inputs, O outputs.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86 import GROUP_MULTIPLE, GROUP_SIZE, WIDE, instruction_set
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.simd import (
    absolute,
    add_i32,
    address_of,
    dot_int8,
    dot_nibbles,
    fma,
    high_nibbles,
    int8_offset,
    load_even_f32,
    load_f32,
    load_f32x8,
    load_f32x16,
    load_odd_f32,
    load_u8x64,
    low_nibbles,
    maximum,
    mul,
    offset_int8,
    prefetch,
    reduce_add,
    reduce_max,
    round_to_i32,
    splat_f32,
    splat_i32,
    store_as_i8x16,
    to_f32,
)

PREFETCH_DISTANCE = 8192
"""Bytes between what is loaded and what is prefetched: enough to hide the latency of memory."""
OUTPUTS_PER_TASK = 16
"""Fewest outputs that one thread computes at a time."""
_INT8_ROWS, _INT4_ROWS = (4, 4) if instruction_set() == WIDE else (2, 4)
"""Rows that share the weights of an output: as many as there are registers for."""
_MIN_ABSMAX = np.float32(1e-20)
CODES, SCALES, SHIFTS, IN_FEATURES, OUT_FEATURES, BITS = range(6)
"""Columns of a weight table: addresses of codes, scales and shifts; sizes; bits per weight."""


@jit()
def quantize_rows(x, size, even_odd, codes, scales, sums):
    """Quantise activations to int8.

    Args:
        x: [R, >= size] float32.
        size: Number of inputs, a multiple of the group size.
        even_odd: Store the even inputs of each group before the odd ones, in the order of the nibbles of int4 weights.
        codes: Output [R, >= size] int8.
        scales: Output [R, >= G] float32.
        sums: Output [R, >= G] float32, scale times the sum of the codes; 0 from G up to the next `GROUP_MULTIPLE`.
    """
    groups = size // GROUP_SIZE
    for row in range(x.shape[0]):
        for group in range(groups):
            source, target = address_of(x[row]) + group * GROUP_SIZE * 4, address_of(codes[row]) + group * GROUP_SIZE
            absmax = absolute(load_f32x16(source))
            for index in range(64, GROUP_SIZE * 4, 64):
                absmax = maximum(absmax, absolute(load_f32x16(source + index)))
            scale = max(reduce_max(absmax), _MIN_ABSMAX) / np.float32(127)
            inverse = splat_f32(np.float32(1) / scale)
            code_sum = splat_i32(np.int32(0))
            for index in range(GROUP_SIZE // 32):
                if even_odd:
                    first, second = load_even_f32(source + index * 128), load_odd_f32(source + index * 128)
                else:
                    first, second = load_f32x16(source + index * 64), load_f32x16(source + index * 64 + GROUP_SIZE * 2)
                first_codes, second_codes = round_to_i32(mul(first, inverse)), round_to_i32(mul(second, inverse))
                store_as_i8x16(target + index * 16, first_codes)
                store_as_i8x16(target + index * 16 + GROUP_SIZE // 2, second_codes)
                code_sum = add_i32(code_sum, add_i32(first_codes, second_codes))
            scales[row, group] = scale
            sums[row, group] = scale * reduce_add(to_f32(code_sum))
        for group in range(groups, padded_groups(groups)):
            sums[row, group] = np.float32(0)


@jit(parallel=True)
def gemv(weight, codes, scales, sums, y):
    """Multiply quantised rows with int8 or int4 weights.

    Args:
        weight: An entry of a weight table, [6] int64.
        codes: [R, in] int8, as are the following from `quantize_rows`.
        scales: [R, >= G] float32.
        sums: [R, >= G] float32.
        y: Output [R, >= O] float32.
    """
    rows, groups = codes.shape[0], weight[IN_FEATURES] // GROUP_SIZE
    at_once = _INT4_ROWS if weight[BITS] == 4 else _INT8_ROWS
    for block in prange(weight[OUT_FEATURES] // OUTPUTS_PER_TASK):
        for row in range(0, rows, at_once):  # the outer loop, so that a block's weights and these rows stay in cache
            for output in range(block * OUTPUTS_PER_TASK, (block + 1) * OUTPUTS_PER_TASK):
                if weight[BITS] == 4:
                    _output(weight, 4, _INT4_ROWS, groups, output, codes, scales, sums, row, rows, y)
                else:
                    _output(weight, 8, _INT8_ROWS, groups, output, codes, scales, sums, row, rows, y)


@inline_jit()
def _output(weight, bits, at_once, groups, output, codes, scales, sums, row, rows, y):
    """One output of up to `at_once` rows, two or four, which share the unpacked weights."""
    weight_codes, weight_scales = weight[CODES] + output * groups * (16 * bits), weight[SCALES]
    weight_scales += output * groups * 4 if bits == 4 else output * 4
    weight_shifts = weight[SHIFTS] + output * padded_groups(groups) * 4
    r, s = row, min(row + 1, rows - 1)
    q_r, q_s, f_r, f_s = address_of(codes[r]), address_of(codes[s]), address_of(scales[r]), address_of(scales[s])
    zero = splat_f32(np.float32(0))
    a, b = zero, zero
    if at_once > 2 and rows - row > 2:
        t, u = row + 2, min(row + 3, rows - 1)
        q_t, q_u, f_t, f_u = address_of(codes[t]), address_of(codes[u]), address_of(scales[t]), address_of(scales[u])
        c, d = zero, zero
        for group in range(groups):
            first, second, weight_scale = _unpack(weight_codes, weight_scales, bits, group)
            code_offset, scale_offset = group * GROUP_SIZE, group * 4
            a = _add_group(bits, a, first, second, q_r + code_offset, weight_scale, f_r + scale_offset)
            b = _add_group(bits, b, first, second, q_s + code_offset, weight_scale, f_s + scale_offset)
            c = _add_group(bits, c, first, second, q_t + code_offset, weight_scale, f_t + scale_offset)
            d = _add_group(bits, d, first, second, q_u + code_offset, weight_scale, f_u + scale_offset)
        y[t, output] = _finish(weight_scales, weight_shifts, bits, groups, c, address_of(sums[t]))
        y[u, output] = _finish(weight_scales, weight_shifts, bits, groups, d, address_of(sums[u]))
    else:
        for group in range(groups):
            first, second, weight_scale = _unpack(weight_codes, weight_scales, bits, group)
            a = _add_group(bits, a, first, second, q_r + group * GROUP_SIZE, weight_scale, f_r + group * 4)
            b = _add_group(bits, b, first, second, q_s + group * GROUP_SIZE, weight_scale, f_s + group * 4)
    y[r, output] = _finish(weight_scales, weight_shifts, bits, groups, a, address_of(sums[r]))
    y[s, output] = _finish(weight_scales, weight_shifts, bits, groups, b, address_of(sums[s]))


@inline_jit()
def _unpack(codes, scales, bits, group):
    """The 128 codes of a group as two vectors, and its scale: 1 for int8, whose scale is applied at the end."""
    address = codes + group * (16 * bits)
    prefetch(address + PREFETCH_DISTANCE)
    if bits == 4:
        packed = load_u8x64(address)
        return low_nibbles(packed), high_nibbles(packed), load_f32(scales + group * 4)
    prefetch(address + 64 + PREFETCH_DISTANCE)
    return offset_int8(load_u8x64(address)), offset_int8(load_u8x64(address + 64)), np.float32(1)


@inline_jit()
def _add_group(bits, a, first, second, codes, weight_scale, scale):
    """a + the scaled products of a group with a row, whose codes and scale are given by address."""
    zero = splat_i32(np.int32(0))
    if bits == 4:
        products = dot_nibbles(zero, first, load_u8x64(codes), second, load_u8x64(codes + 64))
    else:
        products = dot_int8(dot_int8(zero, first, load_u8x64(codes)), second, load_u8x64(codes + 64))
    return fma(to_f32(products), mul(splat_f32(weight_scale), splat_f32(load_f32(scale))), a)


@inline_jit()
def _finish(weight_scale, weight_shifts, bits, groups, a, sums):
    """The sum over the lanes of a, less the contribution of the zero points, which is `int8_offset` for all int8 weights."""
    shift, factor = splat_f32(-int8_offset()), np.float32(1)
    if bits == 8:
        factor = load_f32(weight_scale)
    for group in range(0, groups, GROUP_MULTIPLE):
        if bits == 4:
            shift = mul(load_f32x8(weight_shifts + group * 4), splat_f32(np.float32(-1)))
        a = fma(shift, load_f32x8(sums + group * 4), a)
    return reduce_add(a) * factor


@inline_jit()
def padded_groups(groups):
    """Returns the number of groups rounded up to a multiple of `GROUP_MULTIPLE`."""
    return (groups + GROUP_MULTIPLE - 1) // GROUP_MULTIPLE * GROUP_MULTIPLE
