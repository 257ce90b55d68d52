"""Products of int8-quantised activations with int8 or int4 weights for many rows: the tokens of a prefill.

GEMV (`gemv`) is memory-bound, GEMM is compute-bound. So a tile of weights is transposed in L1 until a vector holds four
inputs of each of 16 outputs. The integer dot products are then a vector of 16 outputs, which is converted to float once
per group and not once per output. The results are those of `gemv`, summed in another order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86 import GROUP_SIZE, LANES, WIDE, instruction_set
from musicgen.engine.backends.x86.gemv import BITS, CODES, IN_FEATURES, OUT_FEATURES, SCALES, SHIFTS, padded_groups
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.simd import (
    address_of,
    broadcast_u8x4,
    dot_int8,
    dot_nibbles,
    fma,
    high_nibbles,
    int8_offset,
    load_f32,
    load_f32x16,
    load_u8x64,
    low_nibbles,
    mul,
    offset_int8,
    prefetch,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_u8x64,
    to_f32,
    transpose,
)

GEMM_MIN_TOKENS = 8
"""Fewest tokens per row for which GEMM is used; a clip mostly has two rows."""
_TILE_ROWS, _TILE_OUTPUTS = 8, 2 * LANES
"""Rows that one pass over a tile multiplies, and outputs of a tile."""
_HALF_TILE = GROUP_SIZE // 4 * 64
"""Bytes of the first 16 outputs of a tile: one vector per four inputs of a group."""
_CACHE_LINE = 64
"""Bytes."""
_WIDE = instruction_set() == WIDE


@jit(parallel=True)
def gemm(weight, codes, scales, sums, y):
    """Multiply quantised rows with int8 or int4 weights; the arguments are those of `gemv.gemv`."""
    for block in prange(weight[OUT_FEATURES] // _TILE_OUTPUTS):
        _tile(weight, block * _TILE_OUTPUTS, codes, scales, sums, y)


@jit()
def _tile(weight, output, codes, scales, sums, y):
    """The outputs of one tile, of all rows."""
    rows, groups, bits = codes.shape[0], weight[IN_FEATURES] // GROUP_SIZE, weight[BITS]
    acc = np.zeros(((rows + _TILE_ROWS - 1) // _TILE_ROWS * _TILE_ROWS, _TILE_OUTPUTS), dtype=np.float32)
    tile = np.empty(2 * _HALF_TILE + _CACHE_LINE, dtype=np.uint8)
    # Scales and negative shifts of the group's outputs. int8 weights are scaled at the end; they share a zero point.
    qparams = np.empty((2, _TILE_OUTPUTS), dtype=np.float32)
    qparams[0], qparams[1] = np.float32(1), -int8_offset()
    for group in range(groups):
        _transpose_group(weight, group, groups, output, tile)
        if bits == 4:
            for lane in range(_TILE_OUTPUTS):
                qparams[0, lane] = load_f32(weight[SCALES] + ((output + lane) * groups + group) * 4)
                qparams[1, lane] = -load_f32(weight[SHIFTS] + ((output + lane) * padded_groups(groups) + group) * 4)
        for row in range(0, rows, _TILE_ROWS):
            if bits == 4:
                _add_group(4, row, group, codes, scales, sums, tile, qparams, acc)
            else:
                _add_group(8, row, group, codes, scales, sums, tile, qparams, acc)
    for row in range(rows):
        for lane in range(_TILE_OUTPUTS):
            scale = load_f32(weight[SCALES] + (output + lane) * 4) if bits == 8 else np.float32(1)
            y[row, output + lane] = acc[row, lane] * scale


@inline_jit()
def _aligned(tile):
    """The address of the first whole cache line of a tile's memory."""
    address = address_of(tile)
    return address + -address % _CACHE_LINE


@jit()
def _transpose_group(weight, group, groups, output, tile):
    """The codes of one group of the tile's outputs -> tile: vector j of each half has inputs 4 j ... 4 j + 3 of 16 outputs."""
    size = 16 * weight[BITS]
    stride = groups * size
    # Distance to what is transposed next: the next group, or the first one of the next tile.
    ahead = size if group + 1 < groups else _TILE_OUTPUTS * stride - group * size
    for half in range(2):
        source = weight[CODES] + (output + half * LANES) * stride + group * size
        target = _aligned(tile) + half * _HALF_TILE
        for lane in range(LANES):
            prefetch(source + lane * stride + ahead)
            prefetch(source + lane * stride + ahead + _CACHE_LINE)
        transpose(source, stride, target)
        if weight[BITS] == 4:
            for vector in range(target, target + LANES * 64, 64):
                packed = load_u8x64(vector)
                store_u8x64(vector, low_nibbles(packed))
                store_u8x64(vector + LANES * 64, high_nibbles(packed))
        else:
            transpose(source + 64, stride, target + LANES * 64)
            for vector in range(target, target + _HALF_TILE, 64):
                store_u8x64(vector, offset_int8(load_u8x64(vector)))


@jit()
def _add_group(bits, row, group, codes, scales, sums, tile, qparams, acc):
    """acc [rows, outputs] += the products of one group with `_TILE_ROWS` rows from `row` on; past the end the last row
    is repeated."""
    if _WIDE:
        _add_whole_tile(bits, row, group, codes, scales, sums, tile, qparams, acc)
    else:
        for half in range(2):
            _add_half_tile(bits, row, half, group, codes, scales, sums, tile, qparams, acc)
            _add_half_tile(bits, row + 4, half, group, codes, scales, sums, tile, qparams, acc)


@inline_jit()
def _add_whole_tile(bits, row, group, codes, scales, sums, tile, qparams, acc):
    """`_add_group` in 32 registers: eight rows and both halves of the tile, so that a load serves the most products."""
    last, offset = codes.shape[0] - 1, group * GROUP_SIZE
    p, q = address_of(codes[row]) + offset, address_of(codes[min(row + 1, last)]) + offset
    r, s = address_of(codes[min(row + 2, last)]) + offset, address_of(codes[min(row + 3, last)]) + offset
    t, u = address_of(codes[min(row + 4, last)]) + offset, address_of(codes[min(row + 5, last)]) + offset
    v, w = address_of(codes[min(row + 6, last)]) + offset, address_of(codes[min(row + 7, last)]) + offset
    zero = splat_i32(np.int32(0))
    p_0, q_0, r_0, s_0 = zero, zero, zero, zero
    t_0, u_0, v_0, w_0 = zero, zero, zero, zero
    p_1, q_1, r_1, s_1 = zero, zero, zero, zero
    t_1, u_1, v_1, w_1 = zero, zero, zero, zero
    begin = _aligned(tile)
    for index in range(0, GROUP_SIZE, 8):
        half_0, half_1 = _two_vectors(begin, index), _two_vectors(begin + _HALF_TILE, index)
        p_0, p_1 = _add_inputs(bits, p_0, half_0, p + index), _add_inputs(bits, p_1, half_1, p + index)
        q_0, q_1 = _add_inputs(bits, q_0, half_0, q + index), _add_inputs(bits, q_1, half_1, q + index)
        r_0, r_1 = _add_inputs(bits, r_0, half_0, r + index), _add_inputs(bits, r_1, half_1, r + index)
        s_0, s_1 = _add_inputs(bits, s_0, half_0, s + index), _add_inputs(bits, s_1, half_1, s + index)
        t_0, t_1 = _add_inputs(bits, t_0, half_0, t + index), _add_inputs(bits, t_1, half_1, t + index)
        u_0, u_1 = _add_inputs(bits, u_0, half_0, u + index), _add_inputs(bits, u_1, half_1, u + index)
        v_0, v_1 = _add_inputs(bits, v_0, half_0, v + index), _add_inputs(bits, v_1, half_1, v + index)
        w_0, w_1 = _add_inputs(bits, w_0, half_0, w + index), _add_inputs(bits, w_1, half_1, w + index)
    for half in range(2):
        _accumulate(p_1 if half else p_0, row, last, half, group, scales, sums, qparams, acc)
        _accumulate(q_1 if half else q_0, row + 1, last, half, group, scales, sums, qparams, acc)
        _accumulate(r_1 if half else r_0, row + 2, last, half, group, scales, sums, qparams, acc)
        _accumulate(s_1 if half else s_0, row + 3, last, half, group, scales, sums, qparams, acc)
        _accumulate(t_1 if half else t_0, row + 4, last, half, group, scales, sums, qparams, acc)
        _accumulate(u_1 if half else u_0, row + 5, last, half, group, scales, sums, qparams, acc)
        _accumulate(v_1 if half else v_0, row + 6, last, half, group, scales, sums, qparams, acc)
        _accumulate(w_1 if half else w_0, row + 7, last, half, group, scales, sums, qparams, acc)


@inline_jit()
def _add_half_tile(bits, row, half, group, codes, scales, sums, tile, qparams, acc):
    """In 16 registers of 32 bytes, in which vectors take two: four rows and one half of the tile."""
    last, offset = codes.shape[0] - 1, group * GROUP_SIZE
    p, q = address_of(codes[min(row, last)]) + offset, address_of(codes[min(row + 1, last)]) + offset
    r, s = address_of(codes[min(row + 2, last)]) + offset, address_of(codes[min(row + 3, last)]) + offset
    zero = splat_i32(np.int32(0))
    a, b, c, d = zero, zero, zero, zero
    begin = _aligned(tile) + half * _HALF_TILE
    for index in range(0, GROUP_SIZE, 8):
        vectors = _two_vectors(begin, index)
        a, b = _add_inputs(bits, a, vectors, p + index), _add_inputs(bits, b, vectors, q + index)
        c, d = _add_inputs(bits, c, vectors, r + index), _add_inputs(bits, d, vectors, s + index)
    _accumulate(a, row, last, half, group, scales, sums, qparams, acc)
    _accumulate(b, row + 1, last, half, group, scales, sums, qparams, acc)
    _accumulate(c, row + 2, last, half, group, scales, sums, qparams, acc)
    _accumulate(d, row + 3, last, half, group, scales, sums, qparams, acc)


@inline_jit()
def _two_vectors(half, index):
    """The weights of inputs `index` ... + 7 of half a tile, which is given by address."""
    return load_u8x64(half + index * LANES), load_u8x64(half + (index + 4) * LANES)


@inline_jit()
def _add_inputs(bits, products, vectors, inputs):
    """Add the products of eight inputs of a row, given by address, with 16 outputs."""
    first, second = broadcast_u8x4(inputs), broadcast_u8x4(inputs + 4)
    if bits == 4:
        result = dot_nibbles(products, vectors[0], first, vectors[1], second)
    else:
        result = dot_int8(dot_int8(products, vectors[0], first), vectors[1], second)
    return result


@inline_jit()
def _accumulate(products, row, last, half, group, scales, sums, qparams, acc):
    """Add the integer products of a group, of half a tile, scaled and with the zero points' contribution subtracted."""
    scale, row_sum = scales[min(row, last), group], splat_f32(sums[min(row, last), group])
    target, params = address_of(acc[row]) + half * 64, address_of(qparams) + half * 64
    total = fma(to_f32(products), mul(load_f32x16(params), splat_f32(scale)), load_f32x16(target))
    store_f32x16(target, fma(load_f32x16(params + 4 * _TILE_OUTPUTS), row_sum, total))
