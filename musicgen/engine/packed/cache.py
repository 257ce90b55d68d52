"""Keys and values in 6 bits, as attention reads them: from end to end, 256 codes at a time.

A row of a clip is a home in the cache. Every home and head has its keys and then its values there, each in pages of 32
positions: two halves of 16 positions, and the scales. A half is four blocks, a block four vectors of 64 codes:

    keys      block m, vector v: of the numbers 16 m + 4 v ... + 3, those of 16 positions; position p's are codes 4 p ... + 3
    values    block g, vector v: of the positions 4 g ... + 3, the numbers 16 v ... + 15; number n's are codes 4 n ... + 3
    scales    32 bfloat16: number = scale (code - 32), one scale a position and head

so that one instruction multiplies four numbers of 16 keys with those of a query, or 16 numbers of four values with their
positions' weights. In memory a block has three times 64 bytes: the high 2 bits of all four vectors' codes (the first's
lowest), the low 4 bits of the first two's, those of the other two's. A byte belongs to one position.
"""

from __future__ import annotations

import numpy as np

from musicgen.engine.packed import HEAD, LANES, PAGE, PAGE_BYTES
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
    add_integers,
    address_of,
    floats,
    high,
    integers,
    join_high_bits,
    join_low_bits,
    larger,
    largest,
    load_bytes,
    load_floats,
    load_fours,
    low,
    magnitude,
    multiply,
    nearest,
    prefetch,
    store_every_fourth,
    store_fours,
    store_scale,
    with_high_bits,
)

BLOCK = 3 * 64
"""Bytes of a block, of four to a half."""
SCALES = 2 * 4 * BLOCK
"""Where in a page they begin."""
ZERO = 32
"""The code of nothing; the others are up to 31 away."""
LEAST = np.float32(1e-20)
"""What the largest number of a position is taken for at least."""
_MOST = np.float32(1e30)
_LINE = 64
"""Bytes that memory gives at once: where an array begins at one, no vector lies in two."""


def allocate(layers: int, homes: int, heads: int, capacity: int, page_bytes: int = PAGE_BYTES) -> np.ndarray:
    """[layers, homes, heads, 2, pages, page_bytes] uint8: zeros of the operating system, so memory is taken when it is
    first written."""
    shape = layers, homes, heads, 2, -(-capacity // PAGE), page_bytes
    size = int(np.prod(shape))
    room = np.zeros(size + _LINE, dtype=np.uint8)
    begin = -room.ctypes.data % _LINE
    return room[begin : begin + size].reshape(shape)


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
            page = address_of(cache[home, head, 0, position // PAGE])
            inverse = _scale(numbers, page + SCALES + 2 * within)
            a, b = _codes(load_fours(numbers), inverse), _codes(load_fours(numbers + 16), inverse)
            c, d = _codes(load_fours(numbers + 32), inverse), _codes(load_fours(numbers + 48), inverse)
            at = page + half + 4 * lane
            store_fours(at, BLOCK, join_high_bits(a, b, c, d))
            store_fours(at + 64, BLOCK, join_low_bits(a, b))
            store_fours(at + 128, BLOCK, join_low_bits(c, d))

            numbers += heads * HEAD * 4
            page = address_of(cache[home, head, 1, position // PAGE])
            inverse = _scale(numbers, page + SCALES + 2 * within)
            a, b = _codes(load_floats(numbers), inverse), _codes(load_floats(numbers + 64), inverse)
            c, d = _codes(load_floats(numbers + 128), inverse), _codes(load_floats(numbers + 192), inverse)
            at = page + half + lane // 4 * BLOCK
            store_every_fourth(at, lane % 4, join_high_bits(a, b, c, d))
            store_every_fourth(at + 64, lane % 4, join_low_bits(a, b))
            store_every_fourth(at + 128, lane % 4, join_low_bits(c, d))


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


@inlined()
def block(at, ahead):
    """The codes of a block's four vectors. Asks memory for the block at `ahead`."""
    prefetch(ahead)
    prefetch(ahead + 64)
    prefetch(ahead + 128)
    pairs, first, second = load_bytes(at), load_bytes(at + 64), load_bytes(at + 128)
    return (
        with_high_bits(low(first), pairs, 4),
        with_high_bits(high(first), pairs, 2),
        with_high_bits(low(second), pairs, 0),
        with_high_bits(high(second), pairs, -2),
    )
