"""Attention of single positions on keys and values of 8 bits, and on a text.

A row of a clip is a home in the store. For every home and head lie there, position after position, without a gap:

    keys    [positions / 16, D / 4, 16, 4] uint8: of 16 positions the first four numbers, then the next four, ...
    values  [positions, D] uint8
    scales  [positions] float32 of the keys and of the values: number = scale (code - 128), one scale a position and head

so that one instruction multiplies four numbers of 16 keys with those of a query, and memory is read from end to end.
Shapes: N tokens, H heads, D = 64 numbers of a head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, LANES
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
    add,
    add_products,
    address_of,
    as_floats,
    floats,
    integers,
    larger,
    largest,
    load_bytes,
    load_floats,
    load_small,
    multiply,
    multiply_add,
    prefetch,
    repeat_word,
    store_floats,
    total,
    two_to_the,
)

AHEAD = 8192
"""Bytes from what is read to what is asked for."""
_TO_SCORE = np.float32(HEAD**-0.5 * 1.4426950408889634)
"""Over the root of D, and from powers of e to powers of two."""
_NEVER = np.float32(-1e30)


@compiled(reorders=True)
def enter(qkv, homes, positions, keys, values, key_scales, value_scales):
    """Write the keys and values in qkv [N, >= 3 H D] at each token's home and position.

    keys, values [homes, H, capacity, D] uint8 (keys in the order above), scales [homes, H, capacity] float32: a layer's.
    """
    heads = keys.shape[1]
    for token in range(homes.shape[0]):
        home, position = homes[token], positions[token]
        for head in range(heads):
            k = qkv[token, (heads + head) * HEAD : (heads + head + 1) * HEAD]
            v = qkv[token, (2 * heads + head) * HEAD : (2 * heads + head + 1) * HEAD]
            inverse = _scale(k, key_scales[home, head], position)
            tile = keys[home, head].reshape(-1)[position // LANES * LANES * HEAD :]
            lane = 4 * (position % LANES)
            for index in range(HEAD):
                tile[index // 4 * 4 * LANES + lane + index % 4] = _code(k[index] * inverse)
            inverse = _scale(v, value_scales[home, head], position)
            place = values[home, head, position]
            for index in range(HEAD):
                place[index] = _code(v[index] * inverse)


@inlined()
def _scale(numbers, scales, position):
    """Note the scale of a position's numbers; returns its inverse."""
    most = np.float32(1e-20)
    for index in range(HEAD):
        most = max(most, abs(numbers[index]))
    scales[position] = most / np.float32(127)
    return np.float32(127) / most


@inlined()
def _code(number):
    return np.uint8(np.int32(number + np.float32(128.5)))


@compiled(parallel=True)
def attend(qkv, homes, positions, keys, values, key_scales, value_scales, queries, scores, result):
    """Every token's query in qkv [N, >= 3 H D] on the positions of its home up to its own -> result [N, >= H D].

    queries [N, H, 2 D] int8 and scores [N, H, >= capacity] float32 are room to work in.
    """
    heads = keys.shape[1]
    for task in prange(homes.shape[0] * heads):
        token, head = task // heads, task % heads
        home, count = homes[token], positions[token] + 1
        query, parts = queries[token, head], scores[token, head]
        step, sum_of_codes = _round_query(qkv[token, head * HEAD : (head + 1) * HEAD], query)
        _score(keys[home, head], key_scales[home, head], query, step, sum_of_codes, count, parts)
        inverse = _softmax(parts, count)
        _mix(values[home, head], value_scales[home, head], parts, count, inverse, result[token, head * HEAD :])


@compiled(parallel=True)
def attend_text(query, homes, keys, values, masks, counts, scores, result):
    """Every token's query [N, >= H D] on the text of its home -> result [N, >= H D].

    keys, values [homes, H, T, D] float32, a layer's; masks [homes, T] are added to scores in powers of two, counts [homes]
    say how many of T there are; scores [N, H, >= T] is room to work in.
    """
    heads = keys.shape[1]
    for task in prange(homes.shape[0] * heads):
        token, head = task // heads, task % heads
        home, parts = homes[token], scores[token, head]
        at, key, value = (
            address_of(query[token, head * HEAD :]),
            address_of(keys[home, head]),
            address_of(values[home, head]),
        )
        for position in range(counts[home]):
            a = multiply(load_floats(at), load_floats(key + position * 256))
            for index in range(64, 256, 64):
                a = multiply_add(load_floats(at + index), load_floats(key + position * 256 + index), a)
            parts[position] = total(a) * _TO_SCORE + masks[home, position]
        inverse = floats(_softmax(parts, counts[home]))
        to = address_of(result[token, head * HEAD :])
        for index in range(0, 256, 64):
            a = floats(np.float32(0))
            for position in range(counts[home]):
                a = multiply_add(load_floats(value + position * 256 + index), floats(parts[position]), a)
            store_floats(to + index, multiply(a, inverse))


@inlined(reorders=True)
def _round_query(numbers, codes):
    """A query in 16 bits, as two bytes: number = step (128 first + second). Returns step, and the sum of the 16 bits.

    codes [2 D] int8: the first bytes of all, then the second.
    """
    most = np.float32(1e-20)
    for index in range(HEAD):
        most = max(most, abs(numbers[index]))
    inverse = np.float32(16000) / most
    sum_of_codes = np.int32(0)
    for index in range(HEAD):
        scaled = numbers[index] * inverse
        code = np.int32(scaled + np.float32(0.5 if scaled >= 0 else -0.5))
        first = (code + 64) >> 7
        codes[index] = np.int8(first)
        codes[HEAD + index] = np.int8(code - (first << 7))
        sum_of_codes += code
    return most / np.float32(16000), sum_of_codes


@inlined()
def _score(keys, scales, query, step, sum_of_codes, count, scores):
    """Products of a query with `count` keys, as powers of two -> scores."""
    start, nothing = integers(np.int32(-128 * sum_of_codes)), integers(np.int32(0))
    keys, scales, query, scores = address_of(keys), address_of(scales), address_of(query), address_of(scores)
    for tile in range((count + LANES - 1) // LANES):
        at = keys + tile * LANES * HEAD
        coarse, fine = nothing, start
        for index in range(HEAD // 4):
            key = load_bytes(at + index * 64)
            prefetch(at + index * 64 + AHEAD)
            coarse = add_products(coarse, key, repeat_word(query + index * 4))
            fine = add_products(fine, key, repeat_word(query + HEAD + index * 4))
        product = multiply_add(as_floats(coarse), floats(np.float32(128)), as_floats(fine))
        scale = multiply(load_floats(scales + tile * LANES * 4), floats(step * _TO_SCORE))
        store_floats(scores + tile * LANES * 4, multiply(product, scale))


@inlined()
def _softmax(scores, count):
    """2^(score - largest) of `count` scores, in place, and zeros up to a whole tile. Returns one over their sum."""
    tiles = (count + LANES - 1) // LANES
    scores[count : tiles * LANES] = _NEVER
    at = address_of(scores)
    most = floats(_NEVER)
    for tile in range(tiles):
        most = larger(most, load_floats(at + tile * LANES * 4))
    less, parts = floats(-largest(most)), floats(np.float32(0))
    for tile in range(tiles):
        part = two_to_the(add(load_floats(at + tile * LANES * 4), less))
        parts = add(parts, part)
        store_floats(at + tile * LANES * 4, part)
    return np.float32(1) / total(parts)


@inlined()
def _mix(values, scales, parts, count, inverse, result):
    """The mean of `count` values by their parts -> result [D]."""
    values, result = address_of(values), address_of(result)
    nothing, zero = floats(np.float32(0)), np.float32(0)
    a, b, c, d = nothing, nothing, nothing, nothing
    for position in range(count):
        scaled = parts[position] * scales[position]
        zero += scaled
        part = floats(scaled)
        at = values + position * HEAD
        prefetch(at + AHEAD)
        a = multiply_add(load_small(at), part, a)
        b = multiply_add(load_small(at + 16), part, b)
        c = multiply_add(load_small(at + 32), part, c)
        d = multiply_add(load_small(at + 48), part, d)
    factor, shift = floats(inverse), floats(np.float32(-128) * zero * inverse)
    store_floats(result, multiply_add(a, factor, shift))
    store_floats(result + 64, multiply_add(b, factor, shift))
    store_floats(result + 128, multiply_add(c, factor, shift))
    store_floats(result + 192, multiply_add(d, factor, shift))
