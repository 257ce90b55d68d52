"""Attention of single tokens on their homes' keys and values, which are rounded (`cache`), and on a text.

What multiplies the codes is rounded to 16 bits, which are two signed bytes: the sums are exact.
Shapes: N tokens, H heads, D = 64 numbers of a head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, LANES, PAGE, PAGE_BYTES
from musicgen.engine.packed.cache import BLOCK, LEAST, SCALES, ZERO, block
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
    add,
    add_integers,
    add_products,
    address_of,
    as_floats,
    floats,
    integers,
    larger,
    largest,
    load_floats,
    load_scales,
    magnitude,
    multiply,
    multiply_add,
    nearest,
    prefetch,
    repeat_word,
    store_floats,
    store_small,
    total,
    two_to_the,
)

AHEAD = 4
"""Pages from what is read to what memory is asked for: it answers too late otherwise."""
TO_SCORE = np.float32(HEAD**-0.5 * 1.4426950408889634)
"""Over the root of D, and from powers of e to powers of two."""
_FINEST = 16000
"""The largest number of 16 bits: its first byte is 125, and rounding adds at most one."""
_NEVER = np.float32(-1e30)


@compiled(parallel=True)
def attend(qkv, homes, positions, cache, queries, scores, result):
    """Every token's query in qkv [N, >= 3 H D] on the positions of its home up to its own -> result [N, >= H D].

    cache [homes, H, 2, ...] is a layer's. queries [N, H, 2 D] int8 and scores [N, H, >= capacity] float32 are
    room to work in.
    """
    heads = cache.shape[1]
    for task in prange(homes.shape[0] * heads):
        token, head = task // heads, task % heads
        count, query, parts = positions[token] + 1, queries[token, head], scores[token, head]
        number, to = qkv[token, head * HEAD : (head + 1) * HEAD], result[token, head * HEAD :]
        keys, values = address_of(cache[homes[token], head, 0]), address_of(cache[homes[token], head, 1])
        # What is read next: memory is asked for it before the end of what is read now.
        after = address_of(cache[homes[token], (head + 1) % heads, 0])
        step, sum_of_codes = _round_query(address_of(number), address_of(query))
        _score(keys, values, address_of(query), step, sum_of_codes, count, address_of(parts))
        inverse = softmax(parts, count)
        step, first, second = _weigh(values, address_of(parts), count)
        _mix(values, after, address_of(parts), step * inverse, first, second, count, address_of(to))


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
            parts[position] = total(a) * TO_SCORE + masks[home, position]
        inverse = floats(softmax(parts, counts[home]))
        to = address_of(result[token, head * HEAD :])
        for index in range(0, 256, 64):
            a = floats(np.float32(0))
            for position in range(counts[home]):
                a = multiply_add(load_floats(value + position * 256 + index), floats(parts[position]), a)
            store_floats(to + index, multiply(a, inverse))


@inlined()
def _round_query(numbers, codes):
    """A query in 16 bits, as two bytes: number = step (128 first + second). Returns step, and the sum of the 16 bits.

    codes: [2 D] int8, the first bytes of all, then the second.
    """
    most = magnitude(load_floats(numbers))
    for index in range(64, 256, 64):
        most = larger(most, magnitude(load_floats(numbers + index)))
    step = max(largest(most), LEAST) / np.float32(_FINEST)
    coarse, fine = integers(np.int32(0)), integers(np.int32(0))
    for index in range(4):
        first, second = _two_bytes(multiply(load_floats(numbers + index * 64), floats(np.float32(1) / step)))
        store_small(codes + index * 16, first)
        store_small(codes + HEAD + index * 16, second)
        coarse, fine = add_integers(coarse, first), add_integers(fine, second)
    return step, np.int32(total(_in_full(coarse, fine)))


@inlined()
def _two_bytes(numbers):
    """Floats up to 16,000 as 128 first + second, two signed bytes."""
    first = nearest(multiply(numbers, floats(np.float32(1 / 128))))
    return first, nearest(multiply_add(as_floats(first), floats(np.float32(-128)), numbers))


@inlined()
def _score(keys, values, query, step, sum_of_codes, count, scores):
    """Products of a query with `count` keys, as powers of two -> scores. The values come next."""
    start, nothing = integers(np.int32(-ZERO * sum_of_codes)), integers(np.int32(0))
    factor, pages = floats(step * TO_SCORE), (count + PAGE - 1) // PAGE
    for tile in range((count + LANES - 1) // LANES):
        page = keys + tile // 2 * PAGE_BYTES
        ahead = _ahead(tile // 2, pages, keys, values)
        prefetch(ahead + SCALES)
        coarse, fine = nothing, start
        for index in range(4):
            within = (tile % 2 * 4 + index) * BLOCK
            words = query + index * 16
            a, b, c, d = block(page + within, ahead + within)
            coarse, fine = _add(coarse, fine, a, words, words + HEAD)
            coarse, fine = _add(coarse, fine, b, words + 4, words + HEAD + 4)
            coarse, fine = _add(coarse, fine, c, words + 8, words + HEAD + 8)
            coarse, fine = _add(coarse, fine, d, words + 12, words + HEAD + 12)
        scale = multiply(load_scales(page + SCALES + tile % 2 * 32), factor)
        store_floats(scores + tile * 64, multiply(_in_full(coarse, fine), scale))


@inlined()
def _ahead(page, pages, here, then):
    """The address to ask for while page `page` of `pages` from `here` is read; `then` is what is read after them."""
    page += AHEAD
    return here + page * PAGE_BYTES if page < pages else then + (page - pages) * PAGE_BYTES


@inlined()
def _add(coarse, fine, codes, first, second):
    """coarse and fine + the products of codes with four times the bytes at two addresses."""
    return add_products(coarse, codes, repeat_word(first)), add_products(fine, codes, repeat_word(second))


@inlined()
def _in_full(coarse, fine):
    """128 coarse + fine."""
    return multiply_add(as_floats(coarse), floats(np.float32(128)), as_floats(fine))


@inlined()
def softmax(scores, count):
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
def _weigh(values, parts, count):
    """Parts times the scales of their values, in 16 bits: step (128 first + second). Returns step, and the sums of both bytes.

    parts: the address of float32, `count` and zeros up to a whole tile; of each tile's 64 bytes the first bytes take the first
    16, the second the next.
    """
    tiles = (count + LANES - 1) // LANES
    most = floats(LEAST)
    for tile in range(tiles):
        scales = load_scales(values + tile // 2 * PAGE_BYTES + SCALES + tile % 2 * 32)
        scaled = multiply(load_floats(parts + tile * 64), scales)
        store_floats(parts + tile * 64, scaled)
        most = larger(most, scaled)
    step = largest(most) / np.float32(_FINEST)
    coarse, fine = integers(np.int32(0)), integers(np.int32(0))
    for tile in range(tiles):
        first, second = _two_bytes(multiply(load_floats(parts + tile * 64), floats(np.float32(1) / step)))
        store_small(parts + tile * 64, first)
        store_small(parts + tile * 64 + LANES, second)
        coarse, fine = add_integers(coarse, first), add_integers(fine, second)
    return step, total(as_floats(coarse)), total(as_floats(fine))


@inlined()
def _mix(values, after, parts, step, sum_of_first, sum_of_second, count, result):
    """Values times the bytes that `_weigh` left at `parts` -> result [D] float32, by address. `after` comes next."""
    pages = (count + PAGE - 1) // PAGE
    start = integers(np.int32(np.float32(-ZERO) * sum_of_first))
    begin = integers(np.int32(np.float32(-ZERO) * sum_of_second))
    a, b, c, d, e, f, g, h = start, begin, start, begin, start, begin, start, begin
    for tile in range((count + LANES - 1) // LANES):
        page = values + tile // 2 * PAGE_BYTES
        ahead = _ahead(tile // 2, pages, values, after)
        prefetch(ahead + SCALES)
        for index in range(4):
            within = (tile % 2 * 4 + index) * BLOCK
            words = parts + tile * 64 + index * 4
            p, q, r, s = block(page + within, ahead + within)
            a, b = _add(a, b, p, words, words + LANES)
            c, d = _add(c, d, q, words, words + LANES)
            e, f = _add(e, f, r, words, words + LANES)
            g, h = _add(g, h, s, words, words + LANES)
    factor = floats(step)
    store_floats(result, multiply(_in_full(a, b), factor))
    store_floats(result + 64, multiply(_in_full(c, d), factor))
    store_floats(result + 128, multiply(_in_full(e, f), factor))
    store_floats(result + 192, multiply(_in_full(g, h), factor))
