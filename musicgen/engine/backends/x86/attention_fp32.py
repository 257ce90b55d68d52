"""The float32 KV cache and attention over it; `kv_cache` and `attention` are the equivalents for quantised models.

The cache of one row and head is contiguous: its keys, then its values, each in tiles of 16 positions:

    keys      [D, 16]: one channel of 16 keys is a vector
    values    [16, D]

Shapes: N tokens, H heads, D = 64 channels per head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86 import HEAD_DIM, LANES
from musicgen.engine.backends.x86.attention import SCORE_SCALE, softmax
from musicgen.engine.backends.x86.gemv import PREFETCH_DISTANCE
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.simd import (
    add_f32,
    address_of,
    fma,
    load_f32,
    load_f32x16,
    mul,
    prefetch,
    splat_f32,
    store_f32,
    store_f32x16,
)

_TILE_BYTES = 4 * LANES * HEAD_DIM


@jit()
def write_kv_fp32(qkv, cache_rows, positions, cache):
    """Write new keys and values into the cache; the arguments are those of `kv_cache.write_kv`."""
    heads = cache.shape[1]
    for token in range(cache_rows.shape[0]):
        tile, lane = positions[token] // LANES * _TILE_BYTES, positions[token] % LANES
        for head in range(heads):
            numbers = address_of(qkv[token]) + (heads + head) * HEAD_DIM * 4
            keys = address_of(cache[cache_rows[token], head, 0]) + tile + lane * 4
            values = address_of(cache[cache_rows[token], head, 1]) + tile + lane * HEAD_DIM * 4
            for index in range(HEAD_DIM):
                store_f32(keys + index * LANES * 4, load_f32(numbers + index * 4))
            numbers += heads * HEAD_DIM * 4
            for index in range(0, 4 * HEAD_DIM, 64):
                store_f32x16(values + index, load_f32x16(numbers + index))


@jit(parallel=True)
def self_attention_fp32(qkv, cache_rows, positions, cache, scores, result):
    """Causal attention; the arguments are those of `attention.self_attention`, without the quantised queries."""
    heads = cache.shape[1]
    for task in prange(cache_rows.shape[0] * heads):
        token, head = task // heads, task % heads
        count, head_scores = positions[token] + 1, scores[token, head]
        keys, values = address_of(cache[cache_rows[token], head, 0]), address_of(cache[cache_rows[token], head, 1])
        _score(keys, address_of(qkv[token]) + head * HEAD_DIM * 4, count, address_of(head_scores))
        inverse = softmax(head_scores, count)
        _weighted_sum(
            values, address_of(head_scores), inverse, count, address_of(result[token]) + head * HEAD_DIM * 4
        )  # fmt: skip


@inline_jit()
def _score(keys, query, count, scores):
    """Scores of a query with `count` keys, to base 2; all by address."""
    zero, factor = splat_f32(np.float32(0)), splat_f32(SCORE_SCALE)
    for tile in range((count + LANES - 1) // LANES):
        a, b, c, d = zero, zero, zero, zero
        for index in range(0, HEAD_DIM, 4):
            address, number = keys + tile * _TILE_BYTES + index * 64, query + index * 4
            for line in range(0, 256, 64):
                prefetch(address + PREFETCH_DISTANCE + line)
            a = fma(load_f32x16(address), splat_f32(load_f32(number)), a)
            b = fma(load_f32x16(address + 64), splat_f32(load_f32(number + 4)), b)
            c = fma(load_f32x16(address + 128), splat_f32(load_f32(number + 8)), c)
            d = fma(load_f32x16(address + 192), splat_f32(load_f32(number + 12)), d)
        store_f32x16(scores + tile * 64, mul(add_f32(add_f32(a, b), add_f32(c, d)), factor))


@inline_jit()
def _weighted_sum(values, weights, inverse, count, result):
    """The sum of `count` values times their weights, times `inverse` -> result [D]; all by address."""
    zero, factor = splat_f32(np.float32(0)), splat_f32(inverse)
    a, b, c, d = zero, zero, zero, zero
    for position in range(count):
        address, weight = values + position * HEAD_DIM * 4, splat_f32(load_f32(weights + position * 4))
        for line in range(0, 256, 64):
            prefetch(address + PREFETCH_DISTANCE + line)
        a = fma(load_f32x16(address), weight, a)
        b = fma(load_f32x16(address + 64), weight, b)
        c = fma(load_f32x16(address + 128), weight, c)
        d = fma(load_f32x16(address + 192), weight, d)
    store_f32x16(result, mul(a, factor))
    store_f32x16(result + 64, mul(b, factor))
    store_f32x16(result + 128, mul(c, factor))
    store_f32x16(result + 192, mul(d, factor))
