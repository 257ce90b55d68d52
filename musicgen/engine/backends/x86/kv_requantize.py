"""Requantisation of KV-cache pages from int8 to int4 when they are no longer among the latest (layouts: `kv_cache`)."""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86 import HEAD_DIM, PAGE_SIZE, RECENT_PAGES
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.kv_cache import (
    BLOCK_BYTES,
    FACTORS,
    MIN_ABSMAX,
    OFFSETS,
    SCALES,
    ZERO_POINT,
    int4_page,
    int8_page,
    page_qparams,
)
from musicgen.engine.backends.x86.simd import (
    absolute,
    add_f32,
    address_of,
    extract_byte,
    insert_byte,
    load_bf16,
    load_bf16x16,
    load_f32,
    load_f32x16,
    load_i32x16,
    maximum,
    minimum,
    mul,
    pack_nibbles,
    reciprocal,
    reduce_max,
    round_to_i32,
    splat_f32,
    splat_i32,
    store_as_i8x16,
    store_f32,
    store_f32x16,
    store_i32x16,
    to_f32,
)

_MAX_CODE = np.float32(15)
"""The largest int4 code; codes are unsigned."""
_MAX_SCALE = np.float32(255)
"""The largest uint8 scale."""
_MAX_OFFSET = np.float32(127)
"""The largest int8 offset."""


@jit()
def requantize(cache_rows, positions, cache):
    """Requantise the pages that have just left the latest `RECENT_PAGES` because a token begins a new page.

    Args:
        cache_rows: [N] int64, of the tokens just written.
        positions: [N] int64.
        cache: [rows, H, 2, bytes] uint8 of one layer.
    """
    for token in range(cache_rows.shape[0]):
        if _completes_page(positions[token]):
            _requantize(cache_rows, positions, cache)
            break


@inline_jit()
def _completes_page(position):
    return position % PAGE_SIZE == 0 and position // PAGE_SIZE >= RECENT_PAGES


@jit(parallel=True)
def _requantize(cache_rows, positions, cache):
    heads = cache.shape[1]
    for task in prange(cache_rows.shape[0] * heads * 2):
        token, head, values = task // (2 * heads), task // 2 % heads, task % 2
        if _completes_page(positions[token]):
            _requantize_page(
                cache[cache_rows[token], head, values], positions[token] // PAGE_SIZE - RECENT_PAGES, values
            )


@jit()
def _requantize_page(head_cache, page, values):
    """One page of a head's values, if `values`, else of its keys."""
    ranges = np.empty((2, HEAD_DIM), dtype=np.float32)
    begin, lows, highs = address_of(head_cache), address_of(ranges[0]), address_of(ranges[1])
    source, target = int8_page(begin, page), int4_page(begin, page)
    qparams = page_qparams(begin, head_cache.size, page)
    if values:
        _value_ranges(source, lows, highs)
    else:
        _key_ranges(source, lows, highs)
    _write_qparams(lows, highs, qparams)
    for vector in range(16):
        if values:
            address, index = source + vector // 2 * BLOCK_BYTES + vector % 2 * 128, vector % 2 * 128
            scales = source + SCALES + vector // 2 * 8
            a = _value_codes(address, scales, lows + index, highs + index)
            b = _value_codes(address + 64, scales, lows + index + 64, highs + index + 64)
        else:
            address, index = source + vector * 64, vector * 16
            a = _key_codes(address, source + SCALES, lows + index, highs + index)
            b = _key_codes(address + 4 * BLOCK_BYTES, source + SCALES + 32, lows + index, highs + index)
        store_i32x16(target + vector * 64, pack_nibbles(a, b))
    ranges[0, 0] = 0  # keeps the array alive until here: the code above only has its address


@inline_jit()
def _key_ranges(source, lows, highs):
    """The minimum and maximum of each channel of a page -> lows, highs, addresses of float32 [HEAD_DIM]."""
    scales, next_scales = load_bf16x16(source + SCALES), load_bf16x16(source + SCALES + 32)
    for channel in range(HEAD_DIM):
        address = source + channel // 4 * 64
        a = _dequantize(load_i32x16(address), channel % 4, scales)
        b = _dequantize(load_i32x16(address + 4 * BLOCK_BYTES), channel % 4, next_scales)
        store_f32(highs + channel * 4, reduce_max(maximum(a, b)))
        store_f32(lows + channel * 4, -reduce_max(_negative(minimum(a, b))))


@inline_jit()
def _value_ranges(source, lows, highs):
    """As `_key_ranges`."""
    for index in range(4):
        low, high = splat_f32(np.float32(np.inf)), splat_f32(np.float32(-np.inf))
        for position in range(PAGE_SIZE):
            words = load_i32x16(source + position // 4 * BLOCK_BYTES + index * 64)
            number = _dequantize(words, position % 4, splat_f32(load_bf16(source + SCALES + 2 * position)))
            low, high = minimum(low, number), maximum(high, number)
        store_f32x16(lows + index * 64, low)
        store_f32x16(highs + index * 64, high)


@inline_jit()
def _write_qparams(lows, highs, qparams):
    """Write the scales, offsets and factors of a page.

    Overwrites lows with the rounded offsets and highs with the inverse of the rounded scales, by which the codes are computed.
    """
    widest, largest_low = splat_f32(MIN_ABSMAX), splat_f32(MIN_ABSMAX)
    for index in range(0, 4 * HEAD_DIM, 64):
        low, high = load_f32x16(lows + index), load_f32x16(highs + index)
        widest = maximum(widest, add_f32(high, _negative(low)))
        largest_low = maximum(largest_low, absolute(low))
    scale_factor, offset_factor = reduce_max(widest) / (_MAX_CODE * _MAX_SCALE), reduce_max(largest_low) / _MAX_OFFSET
    store_f32(qparams + FACTORS, scale_factor)
    store_f32(qparams + FACTORS + 4, offset_factor)
    for index in range(4):
        low, high = load_f32x16(lows + index * 64), load_f32x16(highs + index * 64)
        width = mul(add_f32(high, _negative(low)), splat_f32(np.float32(1) / (_MAX_CODE * scale_factor)))
        scale = round_to_i32(maximum(width, splat_f32(np.float32(1))))
        offset = round_to_i32(mul(low, splat_f32(np.float32(1) / offset_factor)))
        store_as_i8x16(qparams + index * 16, scale)
        store_as_i8x16(qparams + OFFSETS + index * 16, offset)
        store_f32x16(lows + index * 64, mul(to_f32(offset), splat_f32(offset_factor)))
        store_f32x16(highs + index * 64, reciprocal(mul(to_f32(scale), splat_f32(scale_factor))))


@inline_jit()
def _key_codes(address, scales, lows, inverses):
    """The int4 codes of one vector: four channels of 16 positions."""
    words, result = load_i32x16(address), splat_i32(np.int32(0))
    for index in range(4):
        number = _dequantize(words, index, load_bf16x16(scales))
        low, inverse = splat_f32(load_f32(lows + index * 4)), splat_f32(load_f32(inverses + index * 4))
        result = insert_byte(result, _code(number, low, inverse), index)
    return result


@inline_jit()
def _value_codes(address, scales, lows, inverses):
    """The int4 codes of one vector: 16 channels of four positions."""
    words, result = load_i32x16(address), splat_i32(np.int32(0))
    for index in range(4):
        number = _dequantize(words, index, splat_f32(load_bf16(scales + 2 * index)))
        result = insert_byte(result, _code(number, load_f32x16(lows), load_f32x16(inverses)), index)
    return result


@inline_jit()
def _dequantize(words, index, scales):
    """The numbers of byte `index` of each of 16 integers, which are int8 codes."""
    return mul(add_f32(to_f32(extract_byte(words, index)), splat_f32(np.float32(-ZERO_POINT))), scales)


@inline_jit()
def _code(number, low, inverse):
    scaled = mul(add_f32(number, _negative(low)), inverse)
    return round_to_i32(minimum(maximum(scaled, splat_f32(np.float32(0))), splat_f32(_MAX_CODE)))


@inline_jit()
def _negative(value):
    return mul(value, splat_f32(np.float32(-1)))
