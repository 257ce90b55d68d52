"""Keys and values in few bits, as attention reads them: the last positions in 8, those before in 4.

A row of a clip is a home in the cache. Every home and head has its keys and then its values there, in pages of 32 positions:
first `RING` recent ones, of which page i takes the place i modulo RING, then all that have settled, in order; and from the end
backwards the notes of those, what their codes mean. A page is two halves of 16 positions, a half four blocks, a block four
vectors of 64 codes:

    keys      block m, vector v: of the numbers 16 m + 4 v ... + 3, those of 16 positions; position p's are codes 4 p ... + 3
    values    block g, vector v: of the positions 4 g ... + 3, the numbers 16 v ... + 15; number n's are codes 4 n ... + 3

so that one instruction multiplies four numbers of 16 keys with those of a query, or 16 numbers of four values with their
positions' weights.

    recent     a byte a code; then 32 bfloat16, one scale a position: number = scale (code - 128)
    settled    4 bits a code, two vectors in 64 bytes: in the high bits, of keys the vector of the next 16 positions, of values
               that of the next 16 numbers
    notes      64 unsigned steps and 64 signed offsets, one of each a number, and two float32 factors:
               number = (factor step) code + other factor offset

A number changes little in 32 positions, less than the numbers of one position differ: that is why the settled ones have their
range by number (as KIVI, Liu et al. 2024, has that of keys), and why it is fixed only when a page is full (`settling`).
"""

from __future__ import annotations

import numpy as np

from musicgen.engine.packed import HEAD, LANES, NOTES_BYTES, PAGE, RECENT_BYTES, RING, SETTLED_BYTES
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
    add_integers,
    address_of,
    floats,
    integers,
    larger,
    largest,
    load_floats,
    magnitude,
    multiply,
    nearest,
    store_every_fourth,
    store_fours,
    store_scale,
)

BLOCK = 4 * 64
"""Bytes of four vectors of a recent page."""
SCALES = PAGE * HEAD
"""Where in a recent page they begin."""
OFFSETS, FACTORS = HEAD, 2 * HEAD
"""Where in a page's notes they begin; steps are the first."""
ZERO = 128
"""The code of nothing in a recent page; the others are up to 127 away."""
LEAST = np.float32(1e-20)
"""What the largest number of a position is taken for at least."""
_MOST = np.float32(1e30)
_LINE = 64
"""Bytes that memory gives at once: where an array begins at one, no vector lies in two."""


def allocate(layers: int, homes: int, heads: int, head_bytes: int) -> np.ndarray:
    """[layers, homes, heads, 2, head_bytes] uint8: zeros of the operating system, so memory is taken when it is first
    written."""
    shape = layers, homes, heads, 2, head_bytes
    size = int(np.prod(shape))
    room = np.zeros(size + _LINE, dtype=np.uint8)
    begin = -room.ctypes.data % _LINE
    return room[begin : begin + size].reshape(shape)


@inlined()
def recent_page(begin, page):
    """Its address, of a head's keys or values that begin at an address."""
    return begin + page % RING * RECENT_BYTES


@inlined()
def settled_page(begin, page):
    """Its address."""
    return begin + RING * RECENT_BYTES + page * SETTLED_BYTES


@inlined()
def notes_of(begin, size, page):
    """The address of a settled page's notes; `size` is what the head's keys or values take."""
    return begin + size - (page + 1) * NOTES_BYTES


@compiled()
def enter(qkv, homes, positions, cache):
    """Write the keys and values in qkv [N, >= 3 H D] at each token's home and position of a layer's cache [homes, H, 2, ..]."""
    heads = cache.shape[1]
    for token in range(homes.shape[0]):
        home, position = homes[token], positions[token]
        within = position % PAGE
        half, lane = within // LANES * (4 * BLOCK), within % LANES
        for head in range(heads):
            numbers = address_of(qkv[token]) + (heads + head) * HEAD * 4
            page = recent_page(address_of(cache[home, head, 0]), position // PAGE)
            inverse = _scale(numbers, page + SCALES + 2 * within)
            for index in range(4):
                codes = _codes(load_floats(numbers + 64 * index), inverse)
                store_fours(page + half + index * BLOCK + 4 * lane, 64, codes)

            numbers += heads * HEAD * 4
            page = recent_page(address_of(cache[home, head, 1]), position // PAGE)
            inverse = _scale(numbers, page + SCALES + 2 * within)
            for index in range(4):
                codes = _codes(load_floats(numbers + 64 * index), inverse)
                store_every_fourth(page + half + lane // 4 * BLOCK + 64 * index, lane % 4, codes)


@inlined()
def _scale(numbers, to):
    """Note the scale of a position's numbers; returns its inverse."""
    most = magnitude(load_floats(numbers))
    for index in range(64, 4 * HEAD, 64):
        most = larger(most, magnitude(load_floats(numbers + index)))
    scale = largest(most)
    if (
        not LEAST < scale < _MOST
    ):  # not finite: that ends its own clip, and nothing of it may stay for the next one here
        scale = LEAST
    return floats(np.float32(1) / store_scale(to, scale / np.float32(ZERO - 1)))


@inlined()
def _codes(numbers, inverse):
    return add_integers(nearest(multiply(numbers, inverse)), integers(np.int32(ZERO)))
