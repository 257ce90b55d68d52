"""Attention of single tokens on their homes' keys and values, which are rounded (`cache`), and on a text.

What multiplies codes of 8 bits is rounded to 16, which are two signed bytes; what multiplies those of 4 bits to a byte, with a
scale for each page, which is far less than what the codes themselves were rounded by. Sums of products are exact.
Shapes: N tokens, H heads, D = 64 numbers of a head.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, LANES, PAGE, RECENT
from musicgen.engine.packed.cache import (
    BLOCK,
    FACTORS,
    LEAST,
    OFFSETS,
    SCALES,
    ZERO,
    notes_of,
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
    high_in_place,
    integers,
    larger,
    largest,
    load_bytes,
    load_float,
    load_floats,
    load_scales,
    load_signed,
    load_unsigned,
    magnitude,
    multiply,
    multiply_add,
    nearest,
    prefetch,
    repeat_word,
    store_float,
    store_floats,
    store_small,
    subtract_integers,
    total,
    two_to_the,
)

AHEAD = 8
"""Pages from what is read to what memory is asked for: it answers too late otherwise."""
TO_SCORE = np.float32(HEAD**-0.5 * 1.4426950408889634)
"""Over the root of D, and from powers of e to powers of two."""
_FINEST = np.float32(16000)
"""The largest number of 16 bits: its first byte is 125, and rounding adds at most one."""
_BYTE = np.float32(127)
"""The largest number of a signed byte."""
_MIDDLE = np.float32(7.5)
"""Of the codes of a settled page."""
_NEVER = np.float32(-1e30)


@compiled(parallel=True)
def attend(qkv, homes, positions, cache, queries, scores, result):
    """Every token's query in qkv [N, >= 3 H D] on the positions of its home up to its own -> result [N, >= H D].

    cache [homes, H, 2, ...] is a layer's. queries [N, H, 2 D] int8 and scores [N, H, >= capacity] float32 are
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
        _score_settled(keys, values, size, address_of(number), settled, address_of(parts))
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
def _score_settled(keys, values, size, numbers, pages, scores):
    """Products of a query with the keys of `pages` settled pages, as powers of two -> scores. Their values come next."""
    # First, to where each page's scores will be, the query times its steps in bytes, and what its scores are made of: for those
    # come late.
    for page in range(pages):
        notes, to = notes_of(keys, size, page), scores + page * 128
        most, offsets = floats(LEAST), floats(np.float32(0))
        for index in range(4):
            number = load_floats(numbers + index * 64)
            most = larger(most, magnitude(multiply(number, load_unsigned(notes + index * 16))))
            offsets = multiply_add(number, load_signed(notes + OFFSETS + index * 16), offsets)
        step = largest(most) / _BYTE
        inverse = floats(np.float32(1) / step)
        for index in range(4):
            number = multiply(load_floats(numbers + index * 64), load_unsigned(notes + index * 16))
            store_small(to + 64 + index * 16, nearest(multiply(number, inverse)))
        store_float(to, load_float(notes + FACTORS + 4) * TO_SCORE * total(offsets))
        store_float(to + 4, load_float(notes + FACTORS) * TO_SCORE * step)
    nothing, sixteenth = integers(np.int32(0)), np.float32(1 / 16)
    for page in range(pages):
        at, ahead, to = settled_page(keys, page), _ahead(page, pages, keys, values), scores + page * 128
        _ask_for_notes(values, size, page)
        score, factor = floats(load_float(to)), load_float(to + 4)
        a, b, c, d = nothing, nothing, nothing, nothing
        for vector in range(0, 16, 2):
            p, q = load_bytes(at + vector * 64), load_bytes(at + vector * 64 + 64)
            prefetch(ahead + vector * 64)
            prefetch(ahead + vector * 64 + 64)
            word, other = repeat_word(to + 64 + vector * 4), repeat_word(to + 64 + vector * 4 + 4)
            a, b = add_products(a, p, word), add_products(b, high_in_place(p), word)
            c, d = add_products(c, q, other), add_products(d, high_in_place(q), other)
        both, second = add_integers(a, c), add_integers(b, d)
        store_floats(to, multiply_add(as_floats(subtract_integers(both, second)), floats(factor), score))
        store_floats(to + 64, multiply_add(as_floats(second), floats(factor * sixteenth), score))


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
    page += min(AHEAD, pages)
    return settled_page(here, page) if page < pages else settled_page(then, page - pages)


@inlined()
def _ask_for_notes(begin, size, page):
    notes = notes_of(begin, size, page)
    prefetch(notes)
    prefetch(notes + 64)


@inlined()
def _recent_block(at, ahead):
    """The codes of four vectors of a recent page. Asks memory for those at `ahead`."""
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

    parts: the address of float32, which are overwritten: of a page's 128 bytes the first 32 take its parts, rounded, and then
    come three float32: a byte's step, the sum of the parts, and what rounding took from it, which is given back as if every
    code were the middle one.
    """
    for page in range(pages):
        at = parts + page * 128
        first, second = load_floats(at), load_floats(at + 64)
        step = max(largest(larger(first, second)), LEAST) / _BYTE
        one = nearest(multiply(first, floats(np.float32(1) / step)))
        two = nearest(multiply(second, floats(np.float32(1) / step)))
        both, bytes_of_both = total(add(first, second)), total(as_floats(add_integers(one, two)))
        store_small(at, one)
        store_small(at + LANES, two)
        store_float(at + 32, step)
        store_float(at + 36, both)
        store_float(at + 40, both - step * bytes_of_both)
    nothing, zero = integers(np.int32(0)), floats(np.float32(0))
    w, x, y, z = zero, zero, zero, zero
    for page in range(pages):
        at, notes, words = settled_page(values, page), notes_of(values, size, page), parts + page * 128
        ahead = _ahead(page, pages, values, after)
        _ask_for_notes(after, size, page)
        a, b, c, d = nothing, nothing, nothing, nothing
        for index in range(8):
            p, q = load_bytes(at + index * 128), load_bytes(at + index * 128 + 64)
            prefetch(ahead + index * 128)
            prefetch(ahead + index * 128 + 64)
            word = repeat_word(words + index * 4)
            a, b = add_products(a, p, word), add_products(b, high_in_place(p), word)
            c, d = add_products(c, q, word), add_products(d, high_in_place(q), word)
        factor = load_float(notes + FACTORS)
        step, rest = factor * load_float(words + 32), floats(factor * load_float(words + 40) * _MIDDLE)
        low, high = floats(step), floats(step * np.float32(1 / 16))
        other = floats(load_float(notes + FACTORS + 4) * load_float(words + 36))
        w = _increased(w, subtract_integers(a, b), low, rest, notes, other)
        x = _increased(x, b, high, rest, notes + 16, other)
        y = _increased(y, subtract_integers(c, d), low, rest, notes + 32, other)
        z = _increased(z, d, high, rest, notes + 48, other)
    store_floats(result, w)
    store_floats(result + 64, x)
    store_floats(result + 128, y)
    store_floats(result + 192, z)


@inlined()
def _increased(mean, products, by, rest, steps, other):
    """mean + what a page's codes and its offsets add to it."""
    mean = multiply_add(multiply_add(as_floats(products), by, rest), load_unsigned(steps), mean)
    return multiply_add(load_signed(steps + OFFSETS), other, mean)


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
