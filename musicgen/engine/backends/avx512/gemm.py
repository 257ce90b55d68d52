"""Products of int8-quantised activations with int8 or int4 weights for many rows: the tokens of a prefill.

GEMV (`gemv`) is memory-bound, GEMM is compute-bound. So a tile of weights is transposed in L1 until a vector holds four
inputs of each of 16 outputs. The integer dot products are then a vector of 16 outputs, which is converted to float once
per group and not once per output. The results are those of `gemv`, summed in another order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.avx512 import GROUP_SIZE, LANES
from musicgen.engine.backends.avx512.gemv import BITS, CODES, IN_FEATURES, OUT_FEATURES, SCALES, SHIFTS, padded_groups
from musicgen.engine.backends.avx512.jit import inline_jit, jit
from musicgen.engine.backends.avx512.simd import (
    address_of,
    broadcast_u8x4,
    dpbusd,
    fma,
    high_nibbles,
    load_f32,
    load_f32x16,
    load_u8x64,
    low_nibbles,
    mul,
    prefetch,
    splat_f32,
    splat_i32,
    store_f32x16,
    store_u8x64,
    to_f32,
    to_unsigned,
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
    # Scales and negative shifts of the group's outputs. int8 weights are scaled at the end; their zero point is 128.
    qparams = np.empty((2, _TILE_OUTPUTS), dtype=np.float32)
    qparams[0], qparams[1] = np.float32(1), np.float32(-128)
    for group in range(groups):
        _transpose_group(weight, group, groups, output, tile)
        if bits == 4:
            for lane in range(_TILE_OUTPUTS):
                qparams[0, lane] = load_f32(weight[SCALES] + ((output + lane) * groups + group) * 4)
                qparams[1, lane] = -load_f32(weight[SHIFTS] + ((output + lane) * padded_groups(groups) + group) * 4)
        for row in range(0, rows, _TILE_ROWS):
            _add_group(row, group, codes, scales, sums, tile, qparams, acc)
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
                store_u8x64(vector, to_unsigned(load_u8x64(vector)))


@jit()
def _add_group(row, group, codes, scales, sums, tile, qparams, acc):
    """acc [rows, outputs] += the products of one group with `_TILE_ROWS` rows from `row` on; past the end the last row
    is repeated."""
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
    for index in range(0, GROUP_SIZE, 4):
        half_0, half_1 = load_u8x64(begin + index * LANES), load_u8x64(begin + _HALF_TILE + index * LANES)
        p_0, p_1 = _add_inputs(p_0, p_1, half_0, half_1, p + index)
        q_0, q_1 = _add_inputs(q_0, q_1, half_0, half_1, q + index)
        r_0, r_1 = _add_inputs(r_0, r_1, half_0, half_1, r + index)
        s_0, s_1 = _add_inputs(s_0, s_1, half_0, half_1, s + index)
        t_0, t_1 = _add_inputs(t_0, t_1, half_0, half_1, t + index)
        u_0, u_1 = _add_inputs(u_0, u_1, half_0, half_1, u + index)
        v_0, v_1 = _add_inputs(v_0, v_1, half_0, half_1, v + index)
        w_0, w_1 = _add_inputs(w_0, w_1, half_0, half_1, w + index)
    _accumulate(p_0, p_1, row, last, group, scales, sums, qparams, acc)
    _accumulate(q_0, q_1, row + 1, last, group, scales, sums, qparams, acc)
    _accumulate(r_0, r_1, row + 2, last, group, scales, sums, qparams, acc)
    _accumulate(s_0, s_1, row + 3, last, group, scales, sums, qparams, acc)
    _accumulate(t_0, t_1, row + 4, last, group, scales, sums, qparams, acc)
    _accumulate(u_0, u_1, row + 5, last, group, scales, sums, qparams, acc)
    _accumulate(v_0, v_1, row + 6, last, group, scales, sums, qparams, acc)
    _accumulate(w_0, w_1, row + 7, last, group, scales, sums, qparams, acc)


@inline_jit()
def _add_inputs(products_0, products_1, codes_0, codes_1, inputs):
    """Add the products of four inputs of a row, given by address, with both halves of the tile."""
    repeated = broadcast_u8x4(inputs)
    return dpbusd(products_0, codes_0, repeated), dpbusd(products_1, codes_1, repeated)


@inline_jit()
def _accumulate(products_0, products_1, row, last, group, scales, sums, qparams, acc):
    """Add the integer products of a group, scaled and with the zero points' contribution subtracted."""
    scale, row_sum = scales[min(row, last), group], splat_f32(sums[min(row, last), group])
    target, params = address_of(acc[row]), address_of(qparams)
    _accumulate_half(products_0, scale, row_sum, params, target)
    _accumulate_half(products_1, scale, row_sum, params + 64, target + 64)


@inline_jit()
def _accumulate_half(products, scale, row_sum, params, target):
    """`_accumulate` for 16 outputs; parameters and target by address."""
    total = fma(to_f32(products), mul(load_f32x16(params), splat_f32(scale)), load_f32x16(target))
    store_f32x16(target, fma(load_f32x16(params + 4 * _TILE_OUTPUTS), row_sum, total))
