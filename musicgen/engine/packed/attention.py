"""Attention of single tokens on their homes' keys and values, which are rounded (`cache`), and on a text.

What multiplies the codes is rounded to 16 bits, which are two signed bytes: the sums are exact.
Shapes: N tokens, H heads, D = 64 numbers of a head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, LANES, PAGE, RECENT
from musicgen.engine.packed.cache import (
    BLOCK,
    LEAST,
    OFFSETS,
    SCALES,
    SMALL_BLOCK,
    STEPS,
    ZERO,
    factors_of,
    recent_page,
    settled_page,
)
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
    add,
    add_integers,
    add_products,
    address_of,
    as_floats,
    floats,
    high,
    integers,
    larger,
    largest,
    load_bytes,
    load_float,
    load_floats,
    load_scales,
    load_signed,
    load_unsigned,
    low,
    magnitude,
    multiply,
    multiply_add,
    nearest,
    prefetch,
    repeat_word,
    store_float,
    store_floats,
    store_small,
    total,
    two_to_the,
)

AHEAD = 4
"""Pages from what is read to what memory is asked for: it answers too late otherwise."""
TO_SCORE = np.float32(HEAD**-0.5 * 1.4426950408889634)
"""Over the root of D, and from powers of e to powers of two."""
_FINEST = np.float32(16000)
"""The largest number of 16 bits: its first byte is 125, and rounding adds at most one."""
_STEPS = np.float32(255)
"""The largest step of a settled page."""
_NEVER = np.float32(-1e30)


@compiled(parallel=True)
def attend(qkv, homes, positions, cache, queries, scores, result):
    """Every token's query in qkv [N, >= 3 H D] on the positions of its home up to its own -> result [N, >= H D].

    cache [homes, H, 2, ...] is a layer's. queries [N, H, 8 D] int8 and scores [N, H, >= capacity] float32 are
    room to work in.
    """
    heads, size = cache.shape[1], cache.shape[3]
    for task in prange(homes.shape[0] * heads):
        token, head = task // heads, task % heads
        count, query, parts = positions[token] + 1, queries[token, head], scores[token, head]
        number, to = qkv[token, head * HEAD : (head + 1) * HEAD], result[token, head * HEAD :]
        keys, values = address_of(cache[homes[token], head, 0]), address_of(cache[homes[token], head, 1])
        # What is read next: memory is asked for it before the end of what is read now.
        after = address_of(cache[homes[token], (head + 1) % heads, 0])
        page = positions[token] // PAGE
        settled = max(page + 1 - RECENT, 0)
        first = settled * PAGE
        _score_settled(keys, values, size, address_of(number), address_of(query), settled, address_of(parts))
        _score_recent(
            keys, values, settled, address_of(number), address_of(query), count - first, address_of(parts[first:])
        )
        inverse = softmax(parts, count)
        _mix_settled(values, after, size, address_of(parts), settled, address_of(to))
        _mix_recent(values, after, settled, address_of(parts[first:]), count - first, inverse, address_of(to))


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
def _two_bytes(numbers):
    """Floats up to 16,000 as 128 first + second, two signed bytes."""
    first = nearest(multiply(numbers, floats(np.float32(1 / 128))))
    return first, nearest(multiply_add(as_floats(first), floats(np.float32(-128)), numbers))


@inlined()
def _score_settled(keys, values, size, numbers, query, pages, scores):
    """Products of a query with the keys of `pages` settled pages, as powers of two -> scores. Their values come next."""
    step = _largest(numbers) * (_STEPS / _FINEST)
    # The query in such units that its numbers times steps have 16 bits, then what a page's steps make of it.
    scaled, words, inverse = query, query + 4 * HEAD, floats(np.float32(1) / step)
    for index in range(0, 4 * HEAD, 64):
        store_floats(scaled + index, multiply(load_floats(numbers + index), inverse))
    nothing, step = integers(np.int32(0)), step * TO_SCORE
    for page in range(pages):
        at, factors = settled_page(keys, page), factors_of(keys, size, page)
        ahead = _ahead(page, pages, keys, values)
        prefetch(ahead + STEPS)
        prefetch(ahead + OFFSETS)
        offsets = floats(np.float32(0))
        for index in range(4):
            number = load_floats(scaled + index * 64)
            first, second = _two_bytes(multiply(number, load_unsigned(at + STEPS + index * 16)))
            store_small(words + index * 16, first)
            store_small(words + HEAD + index * 16, second)
            offsets = multiply_add(number, load_signed(at + OFFSETS + index * 16), offsets)
        factor = floats(load_float(factors) * step)
        score = floats(load_float(factors + 4) * step * total(offsets))
        for half in range(2):
            coarse, fine = nothing, nothing
            for index in range(4):
                within, word = (half * 4 + index) * SMALL_BLOCK, words + index * 16
                a, b, c, d = _settled_block(at + within, ahead + within)
                coarse, fine = _add(coarse, fine, a, word, word + HEAD)
                coarse, fine = _add(coarse, fine, b, word + 4, word + HEAD + 4)
                coarse, fine = _add(coarse, fine, c, word + 8, word + HEAD + 8)
                coarse, fine = _add(coarse, fine, d, word + 12, word + HEAD + 12)
            store_floats(scores + (2 * page + half) * 64, multiply_add(_in_full(coarse, fine), factor, score))


@inlined()
def _score_recent(keys, values, first, numbers, query, count, scores):
    """Products of a query with `count` keys of the recent pages from `first` on, as powers of two -> scores."""
    step = _largest(numbers) / _FINEST
    coarse, fine = integers(np.int32(0)), integers(np.int32(0))
    for index in range(4):
        a, b = _two_bytes(multiply(load_floats(numbers + index * 64), floats(np.float32(1) / step)))
        store_small(query + index * 16, a)
        store_small(query + HEAD + index * 16, b)
        coarse, fine = add_integers(coarse, a), add_integers(fine, b)
    start = integers(np.int32(-ZERO * np.int32(total(_in_full(coarse, fine)))))
    nothing, factor = integers(np.int32(0)), floats(step * TO_SCORE)
    for tile in range((count + LANES - 1) // LANES):
        page, ahead = recent_page(keys, first + tile // 2), recent_page(values, first + tile // 2)
        prefetch(ahead + SCALES)
        coarse, fine = nothing, start
        for index in range(4):
            within, word = (tile % 2 * 4 + index) * BLOCK, query + index * 16
            a, b, c, d = _recent_block(page + within, ahead + within)
            coarse, fine = _add(coarse, fine, a, word, word + HEAD)
            coarse, fine = _add(coarse, fine, b, word + 4, word + HEAD + 4)
            coarse, fine = _add(coarse, fine, c, word + 8, word + HEAD + 8)
            coarse, fine = _add(coarse, fine, d, word + 12, word + HEAD + 12)
        scale = multiply(load_scales(page + SCALES + tile % 2 * 32), factor)
        store_floats(scores + tile * 64, multiply(_in_full(coarse, fine), scale))


@inlined()
def _largest(numbers):
    """The largest magnitude of D numbers at an address."""
    most = magnitude(load_floats(numbers))
    for index in range(64, 4 * HEAD, 64):
        most = larger(most, magnitude(load_floats(numbers + index)))
    return max(largest(most), LEAST)


@inlined()
def _ahead(page, pages, here, then):
    """The address to ask for while settled page `page` of `pages` is read of what begins `here`; `then` is read after it."""
    page += AHEAD
    return settled_page(here, page) if page < pages else settled_page(then, page - pages)


@inlined()
def _settled_block(at, ahead):
    """The codes of a block's four vectors. Asks memory for the block at `ahead`."""
    prefetch(ahead)
    prefetch(ahead + 64)
    first, second = load_bytes(at), load_bytes(at + 64)
    return low(first), high(first), low(second), high(second)


@inlined()
def _recent_block(at, ahead):
    """As `_settled_block`."""
    prefetch(ahead)
    prefetch(ahead + 64)
    prefetch(ahead + 128)
    prefetch(ahead + 192)
    return load_bytes(at), load_bytes(at + 64), load_bytes(at + 128), load_bytes(at + 192)


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
def _mix_settled(values, after, size, parts, pages, result):
    """Values of settled pages times their parts -> result [D], by address. `after` is read next.

    parts: the address of float32, which are overwritten: of each tile's 64 bytes the first 16 take the parts' first bytes, the
    next the second ones, and then comes a float32, their sum.
    """
    most = floats(LEAST)
    for tile in range(2 * pages):
        most = larger(most, load_floats(parts + tile * 64))
    step = largest(most) / _FINEST
    for tile in range(2 * pages):
        part = load_floats(parts + tile * 64)
        first, second = _two_bytes(multiply(part, floats(np.float32(1) / step)))
        store_small(parts + tile * 64, first)
        store_small(parts + tile * 64 + LANES, second)
        store_float(parts + tile * 64 + 2 * LANES, total(part))
    nothing, zero = integers(np.int32(0)), floats(np.float32(0))
    w, x, y, z = zero, zero, zero, zero
    for page in range(pages):
        at, factors = settled_page(values, page), factors_of(values, size, page)
        ahead = _ahead(page, pages, values, after)
        prefetch(ahead + STEPS)
        prefetch(ahead + OFFSETS)
        a, b, c, d, e, f, g, h = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
        for index in range(8):
            words = parts + (2 * page + index // 4) * 64 + index % 4 * 4
            p, q, r, s = _settled_block(at + index * SMALL_BLOCK, ahead + index * SMALL_BLOCK)
            a, b = _add(a, b, p, words, words + LANES)
            c, d = _add(c, d, q, words, words + LANES)
            e, f = _add(e, f, r, words, words + LANES)
            g, h = _add(g, h, s, words, words + LANES)
        sums = parts + page * 128 + 2 * LANES
        factor = floats(load_float(factors) * step)
        other = floats(load_float(factors + 4) * (load_float(sums) + load_float(sums + 64)))
        w = _increased(w, _in_full(a, b), factor, at + STEPS, other)
        x = _increased(x, _in_full(c, d), factor, at + STEPS + 16, other)
        y = _increased(y, _in_full(e, f), factor, at + STEPS + 32, other)
        z = _increased(z, _in_full(g, h), factor, at + STEPS + 48, other)
    store_floats(result, w)
    store_floats(result + 64, x)
    store_floats(result + 128, y)
    store_floats(result + 192, z)


@inlined()
def _increased(mean, products, factor, steps, other):
    """mean + what a page's codes and its offsets add to it."""
    mean = multiply_add(products, multiply(load_unsigned(steps), factor), mean)
    return multiply_add(load_signed(steps + HEAD), other, mean)


@inlined()
def _mix_recent(values, after, first, parts, count, inverse, result):
    """result [D], by address, plus `count` values of the recent pages from `first` on times their parts, all times `inverse`.
    parts are overwritten."""
    tiles = (count + LANES - 1) // LANES
    most = floats(LEAST)
    for tile in range(tiles):
        scales = load_scales(recent_page(values, first + tile // 2) + SCALES + tile % 2 * 32)
        scaled = multiply(load_floats(parts + tile * 64), scales)
        store_floats(parts + tile * 64, scaled)
        most = larger(most, scaled)
    step = largest(most) / _FINEST
    coarse, fine = integers(np.int32(0)), integers(np.int32(0))
    for tile in range(tiles):
        one, two = _two_bytes(multiply(load_floats(parts + tile * 64), floats(np.float32(1) / step)))
        store_small(parts + tile * 64, one)
        store_small(parts + tile * 64 + LANES, two)
        coarse, fine = add_integers(coarse, one), add_integers(fine, two)
    start = integers(np.int32(np.float32(-ZERO) * total(as_floats(coarse))))
    begin = integers(np.int32(np.float32(-ZERO) * total(as_floats(fine))))
    a, b, c, d, e, f, g, h = start, begin, start, begin, start, begin, start, begin
    for tile in range(tiles):
        page, ahead = recent_page(values, first + tile // 2), recent_page(after, first + tile // 2)
        prefetch(ahead + SCALES)
        for index in range(4):
            within = (tile % 2 * 4 + index) * BLOCK
            words = parts + tile * 64 + index * 4
            p, q, r, s = _recent_block(page + within, ahead + within)
            a, b = _add(a, b, p, words, words + LANES)
            c, d = _add(c, d, q, words, words + LANES)
            e, f = _add(e, f, r, words, words + LANES)
            g, h = _add(g, h, s, words, words + LANES)
    factor, every = floats(step), floats(inverse)
    store_floats(result, multiply(multiply_add(_in_full(a, b), factor, load_floats(result)), every))
    store_floats(result + 64, multiply(multiply_add(_in_full(c, d), factor, load_floats(result + 64)), every))
    store_floats(result + 128, multiply(multiply_add(_in_full(e, f), factor, load_floats(result + 128)), every))
    store_floats(result + 192, multiply(multiply_add(_in_full(g, h), factor, load_floats(result + 192)), every))
