"""Pages of keys and values from 8 bits to 4, when the last positions have left them behind (`cache` has both layouts)."""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import HEAD, PAGE, RECENT
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
    address_of,
    as_floats,
    byte_of,
    floats,
    in_halves,
    integers,
    larger,
    largest,
    load_float,
    load_floats,
    load_scale,
    load_scales,
    load_words,
    magnitude,
    multiply,
    nearest,
    reciprocal,
    smaller,
    store_float,
    store_floats,
    store_small,
    store_words,
    with_byte,
)

_CODES = np.float32(15)
"""The largest of 4 bits."""
_STEPS = np.float32(255)
_OFFSETS = np.float32(127)


@compiled()
def settle(homes, positions, cache):
    """Of the tokens that begin a page: the one that is then recent no more, in a layer's cache [homes, H, 2, ..]."""
    for token in range(homes.shape[0]):
        if _leaves(positions[token]):
            _settle(homes, positions, cache)
            break


@inlined()
def _leaves(position):
    return position % PAGE == 0 and position // PAGE >= RECENT


@compiled(parallel=True)
def _settle(homes, positions, cache):
    heads = cache.shape[1]
    for task in prange(homes.shape[0] * heads * 2):
        token, head, values = task // (2 * heads), task // 2 % heads, task % 2
        if _leaves(positions[token]):
            _settle_page(cache[homes[token], head, values], positions[token] // PAGE - RECENT, values)


@compiled()
def _settle_page(row, page, values):
    """Of a head's values, or else of its keys."""
    ends = np.empty((2, HEAD), dtype=np.float32)
    begin, lows, highs = address_of(row), address_of(ends[0]), address_of(ends[1])
    recent, to, notes = recent_page(begin, page), settled_page(begin, page), notes_of(begin, row.size, page)
    if values:
        _ends_of_values(recent, lows, highs)
    else:
        _ends_of_keys(recent, lows, highs)
    _note_range(lows, highs, notes)
    for vector in range(16):
        if values:
            at, index = recent + vector // 2 * BLOCK + vector % 2 * 128, vector % 2 * 128
            scales = recent + SCALES + vector // 2 * 8
            a = _codes_of_values(at, scales, lows + index, highs + index)
            b = _codes_of_values(at + 64, scales, lows + index + 64, highs + index + 64)
        else:
            at, index = recent + vector * 64, vector * 16
            a = _codes_of_keys(at, recent + SCALES, lows + index, highs + index)
            b = _codes_of_keys(at + 4 * BLOCK, recent + SCALES + 32, lows + index, highs + index)
        store_words(to + vector * 64, in_halves(a, b))
    ends[0, 0] = 0  # keeps the array until here: what is above knows its address alone


@inlined()
def _ends_of_keys(recent, lows, highs):
    """The least and the largest of each number in a page -> lows, highs, addresses of float32 [D]."""
    scales, others = load_scales(recent + SCALES), load_scales(recent + SCALES + 32)
    for number in range(HEAD):
        at = recent + number // 4 * 64
        a = _number(load_words(at), number % 4, scales)
        b = _number(load_words(at + 4 * BLOCK), number % 4, others)
        store_float(highs + number * 4, largest(larger(a, b)))
        store_float(lows + number * 4, -largest(_negative(smaller(a, b))))


@inlined()
def _ends_of_values(recent, lows, highs):
    """As `_ends_of_keys`."""
    for index in range(4):
        least, most = floats(np.float32(np.inf)), floats(np.float32(-np.inf))
        for position in range(PAGE):
            words = load_words(recent + position // 4 * BLOCK + index * 64)
            value = _number(words, position % 4, floats(load_scale(recent + SCALES + 2 * position)))
            least, most = smaller(least, value), larger(most, value)
        store_floats(lows + index * 64, least)
        store_floats(highs + index * 64, most)


@inlined()
def _note_range(lows, highs, notes):
    """Write the steps and offsets of a page and their factors. Leaves what they stand for: lows as rounded, and the inverse of
    each step in the place of highs."""
    widest, farthest = floats(LEAST), floats(LEAST)
    for index in range(0, 4 * HEAD, 64):
        least, most = load_floats(lows + index), load_floats(highs + index)
        widest = larger(widest, add(most, _negative(least)))
        farthest = larger(farthest, magnitude(least))
    of_steps, of_offsets = largest(widest) / (_CODES * _STEPS), largest(farthest) / _OFFSETS
    store_float(notes + FACTORS, of_steps)
    store_float(notes + FACTORS + 4, of_offsets)
    for index in range(4):
        least, most = load_floats(lows + index * 64), load_floats(highs + index * 64)
        wide = multiply(add(most, _negative(least)), floats(np.float32(1) / (_CODES * of_steps)))
        step = nearest(larger(wide, floats(np.float32(1))))
        offset = nearest(multiply(least, floats(np.float32(1) / of_offsets)))
        store_small(notes + index * 16, step)
        store_small(notes + OFFSETS + index * 16, offset)
        store_floats(lows + index * 64, multiply(as_floats(offset), floats(of_offsets)))
        store_floats(highs + index * 64, reciprocal(multiply(as_floats(step), floats(of_steps))))


@inlined()
def _codes_of_keys(at, scales, lows, inverses):
    """The codes of a vector: four numbers of 16 positions."""
    words, result = load_words(at), integers(np.int32(0))
    for index in range(4):
        value = _number(words, index, load_scales(scales))
        least, inverse = floats(load_float(lows + index * 4)), floats(load_float(inverses + index * 4))
        result = with_byte(result, _code(value, least, inverse), index)
    return result


@inlined()
def _codes_of_values(at, scales, lows, inverses):
    """The codes of a vector: 16 numbers of four positions."""
    words, result = load_words(at), integers(np.int32(0))
    for index in range(4):
        value = _number(words, index, floats(load_scale(scales + 2 * index)))
        result = with_byte(result, _code(value, load_floats(lows), load_floats(inverses)), index)
    return result


@inlined()
def _number(words, index, scales):
    """What byte `index` of each of 16 integers stands for."""
    return multiply(add(as_floats(byte_of(words, index)), floats(np.float32(-ZERO))), scales)


@inlined()
def _code(value, least, inverse):
    number = multiply(add(value, _negative(least)), inverse)
    return nearest(smaller(larger(number, floats(np.float32(0))), floats(_CODES)))


@inlined()
def _negative(value):
    return multiply(value, floats(np.float32(-1)))
