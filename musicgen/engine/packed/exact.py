"""Keys and values in float32, and attention on them: what `cache` and `attention` are for steps that round.

A row of a clip is a home. Every home and head has its keys and then its values there, in tiles of 16 positions:

    keys      [D, 16]: a number of 16 keys side by side
    values    [16, D]

Shapes: N tokens, H heads, D = 64 numbers of a head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, LANES
from musicgen.engine.packed.attention import TO_SCORE, softmax
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.products import AHEAD
from musicgen.engine.packed.vectors import (
    add,
    address_of,
    floats,
    load_float,
    load_floats,
    multiply,
    multiply_add,
    prefetch,
    store_float,
    store_floats,
)

_TILE = 4 * LANES * HEAD
"""Bytes."""


@compiled()
def enter_exact(qkv, homes, positions, cache):
    """As `cache.enter`."""
    heads = cache.shape[1]
    for token in range(homes.shape[0]):
        tile, lane = positions[token] // LANES * _TILE, positions[token] % LANES
        for head in range(heads):
            numbers = address_of(qkv[token]) + (heads + head) * HEAD * 4
            keys = address_of(cache[homes[token], head, 0]) + tile + lane * 4
            values = address_of(cache[homes[token], head, 1]) + tile + lane * HEAD * 4
            for index in range(HEAD):
                store_float(keys + index * LANES * 4, load_float(numbers + index * 4))
            numbers += heads * HEAD * 4
            for index in range(0, 4 * HEAD, 64):
                store_floats(values + index, load_floats(numbers + index))


@compiled(parallel=True)
def attend_exact(qkv, homes, positions, cache, scores, result):
    """As `attention.attend`."""
    heads = cache.shape[1]
    for task in prange(homes.shape[0] * heads):
        token, head = task // heads, task % heads
        count, parts = positions[token] + 1, scores[token, head]
        keys, values = address_of(cache[homes[token], head, 0]), address_of(cache[homes[token], head, 1])
        _score(keys, address_of(qkv[token]) + head * HEAD * 4, count, address_of(parts))
        inverse = softmax(parts, count)
        _mix(values, address_of(parts), inverse, count, address_of(result[token]) + head * HEAD * 4)


@inlined()
def _score(keys, query, count, scores):
    """Products of a query with `count` keys, as powers of two -> scores."""
    nothing, factor = floats(np.float32(0)), floats(TO_SCORE)
    for tile in range((count + LANES - 1) // LANES):
        a, b, c, d = nothing, nothing, nothing, nothing
        for index in range(0, HEAD, 4):
            at, number = keys + tile * _TILE + index * 64, query + index * 4
            for line in range(0, 256, 64):
                prefetch(at + AHEAD + line)
            a = multiply_add(load_floats(at), floats(load_float(number)), a)
            b = multiply_add(load_floats(at + 64), floats(load_float(number + 4)), b)
            c = multiply_add(load_floats(at + 128), floats(load_float(number + 8)), c)
            d = multiply_add(load_floats(at + 192), floats(load_float(number + 12)), d)
        store_floats(scores + tile * 64, multiply(add(add(a, b), add(c, d)), factor))


@inlined()
def _mix(values, parts, inverse, count, result):
    """The mean of `count` values by their parts -> result [D], by address."""
    nothing, factor = floats(np.float32(0)), floats(inverse)
    a, b, c, d = nothing, nothing, nothing, nothing
    for position in range(count):
        at, part = values + position * HEAD * 4, floats(load_float(parts + position * 4))
        for line in range(0, 256, 64):
            prefetch(at + AHEAD + line)
        a = multiply_add(load_floats(at), part, a)
        b = multiply_add(load_floats(at + 64), part, b)
        c = multiply_add(load_floats(at + 128), part, c)
        d = multiply_add(load_floats(at + 192), part, d)
    store_floats(result, multiply(a, factor))
    store_floats(result + 64, multiply(b, factor))
    store_floats(result + 128, multiply(c, factor))
    store_floats(result + 192, multiply(d, factor))
