"""Layout of the quantised KV cache: int8 for the latest positions, int4 for the ones before, and writing new keys and values.

The cache of one row and head is contiguous: its keys, then its values, each in pages of 32 positions. First come
`RING_PAGES` int8 pages, a ring buffer in which page i has index i mod `RING_PAGES`; then all int4 pages, in order; and
from the end backwards the quantisation parameters of these. A page is two halves of 16 positions, a half is four
blocks, a block is four vectors of 64 codes:

    keys      block m, vector v: channels 16 m + 4 v ... + 3 of 16 positions; those of position p are codes 4 p ... 4 p + 3
    values    block g, vector v: channels 16 v ... + 15 of positions 4 g ... + 3; those of channel n are codes 4 n ... 4 n + 3

so that one VPDPBUSD multiplies four channels of 16 keys with those of a query, or 16 channels of four values with the
weights of their positions.

    int8 page    one byte per code; then 32 bfloat16 scales, one per position: number = scale (code - 128)
    int4 page    4 bits per code, two vectors in 64 bytes: the high nibbles of keys are the vector of the next 16
                 positions, those of values the vector of the next 16 channels
    qparams      64 uint8 scales and 64 int8 offsets, one of each per channel, and two float32 factors:
                 number = (scale factor * scale) code + offset factor * offset

A channel varies less over 32 positions than the channels of one position differ. So int4 pages are quantised per
channel (as KIVI, Liu et al. 2024, does for keys), once a page is full (`kv_requantize`).
"""

from __future__ import annotations

import numpy as np

from musicgen.engine.backends.x86 import (
    HEAD_DIM,
    INT4_PAGE_BYTES,
    INT8_PAGE_BYTES,
    LANES,
    PAGE_SIZE,
    QPARAMS_BYTES,
    RING_PAGES,
)
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.simd import (
    absolute,
    add_i32,
    address_of,
    load_f32x16,
    maximum,
    mul,
    reduce_max,
    round_to_i32,
    splat_f32,
    splat_i32,
    store_as_i8x4_strided,
    store_bf16,
    store_every_fourth_byte,
)

BLOCK_BYTES = 4 * 64
"""Bytes of the four vectors of a block of an int8 page."""
SCALES = PAGE_SIZE * HEAD_DIM
"""Offset of the scales in an int8 page."""
OFFSETS, FACTORS = HEAD_DIM, 2 * HEAD_DIM
"""Offsets of the offsets and the factors in the quantisation parameters of an int4 page; the scales are at 0."""
ZERO_POINT = 128
"""The code of 0 in an int8 page; codes differ from it by up to 127."""
MIN_ABSMAX = np.float32(1e-20)
"""Lower bound of the largest magnitude from which a scale is computed."""
_MAX_ABSMAX = np.float32(1e30)
_CACHE_LINE = 64
"""Bytes. Arrays are aligned to it, so that no vector crosses a cache line."""


def allocate(layers: int, rows: int, heads: int, head_bytes: int) -> np.ndarray:
    """Allocate a KV cache.

    The memory is zeros from the operating system, which takes a page of memory only once it is written.

    Args:
        layers: Number of layers.
        rows: Number of cache rows.
        heads: Number of heads.
        head_bytes: Bytes of the keys, or the values, of one row and head.

    Returns:
        [layers, rows, heads, 2, head_bytes] uint8: keys and values.
    """
    shape = layers, rows, heads, 2, head_bytes
    size = int(np.prod(shape))
    memory = np.zeros(size + _CACHE_LINE, dtype=np.uint8)
    begin = -memory.ctypes.data % _CACHE_LINE
    return memory[begin : begin + size].reshape(shape)


@inline_jit()
def int8_page(begin, page):
    """The address of an int8 page, of a head's keys or values that begin at address `begin`."""
    return begin + page % RING_PAGES * INT8_PAGE_BYTES


@inline_jit()
def int4_page(begin, page):
    """The address of an int4 page."""
    return begin + RING_PAGES * INT8_PAGE_BYTES + page * INT4_PAGE_BYTES


@inline_jit()
def page_qparams(begin, size, page):
    """The address of an int4 page's quantisation parameters; `size` is the bytes of the head's keys or values."""
    return begin + size - (page + 1) * QPARAMS_BYTES


@jit()
def write_kv(qkv, cache_rows, positions, cache):
    """Quantise new keys and values to int8 and write them into the cache.

    Args:
        qkv: [N, >= 3 H D] float32, queries, keys and values of N tokens.
        cache_rows: [N] int64.
        positions: [N] int64.
        cache: [rows, H, 2, bytes] uint8 of one layer.
    """
    heads = cache.shape[1]
    for token in range(cache_rows.shape[0]):
        cache_row, position = cache_rows[token], positions[token]
        within = position % PAGE_SIZE
        half, lane = within // LANES * (4 * BLOCK_BYTES), within % LANES
        for head in range(heads):
            numbers = address_of(qkv[token]) + (heads + head) * HEAD_DIM * 4
            page = int8_page(address_of(cache[cache_row, head, 0]), position // PAGE_SIZE)
            inverse = _write_scale(numbers, page + SCALES + 2 * within)
            for index in range(4):
                codes = _codes(load_f32x16(numbers + 64 * index), inverse)
                store_as_i8x4_strided(page + half + index * BLOCK_BYTES + 4 * lane, 64, codes)

            numbers += heads * HEAD_DIM * 4
            page = int8_page(address_of(cache[cache_row, head, 1]), position // PAGE_SIZE)
            inverse = _write_scale(numbers, page + SCALES + 2 * within)
            for index in range(4):
                codes = _codes(load_f32x16(numbers + 64 * index), inverse)
                store_every_fourth_byte(page + half + lane // 4 * BLOCK_BYTES + 64 * index, lane % 4, codes)


@inline_jit()
def _write_scale(numbers, target):
    """Write the scale of the HEAD_DIM numbers of a position; returns its inverse in all lanes."""
    absmax = absolute(load_f32x16(numbers))
    for index in range(64, 4 * HEAD_DIM, 64):
        absmax = maximum(absmax, absolute(load_f32x16(numbers + index)))
    scale = reduce_max(absmax)
    # A value that is not finite makes its own clip fail; the next clip in this cache row must not be affected by it.
    if not MIN_ABSMAX < scale < _MAX_ABSMAX:
        scale = MIN_ABSMAX
    return splat_f32(np.float32(1) / store_bf16(target, scale / np.float32(ZERO_POINT - 1)))


@inline_jit()
def _codes(numbers, inverse):
    return add_i32(round_to_i32(mul(numbers, inverse)), splat_i32(np.int32(ZERO_POINT)))
