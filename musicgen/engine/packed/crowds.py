"""Many rows, rounded to 8 bits, times packed weights: the tokens of a prefix or a prompt, which enter at once.

With few rows reading the weights takes the time (`products`), with many it is multiplying. So weights are turned while they
are in the first cache, until a vector holds four inputs of each of 16 outputs: a sum of integers is then a vector of 16
outputs, and made into floats once a group, not once for each output. The sums are those of `products`, in another order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import GROUP, LANES
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.products import BITS, CODES, SCALE, SHIFT, SIZE_IN, SIZE_OUT, whole_terms
from musicgen.engine.packed.vectors import (
    add_products,
    address_of,
    as_floats,
    floats,
    high,
    integers,
    load_bytes,
    load_float,
    load_floats,
    low,
    multiply,
    multiply_add,
    offset,
    prefetch,
    repeat_word,
    store_bytes,
    store_floats,
    turn,
)

MANY = 8
"""Tokens of a row (of which a clip mostly has two) from which they are multiplied so."""
_ROWS, _OUTPUTS = 8, 2 * LANES
"""That one pass over a tile multiplies, and that a tile has."""
_HALF = GROUP // 4 * 64
"""Bytes of a tile's first 16 outputs: a vector for each four inputs of a group."""
_LINE = 64


@compiled(parallel=True)
def times_many(weight, codes, steps, sums, y):
    """As `products.times`."""
    for block in prange(weight[SIZE_OUT] // _OUTPUTS):
        _outputs(weight, block * _OUTPUTS, codes, steps, sums, y)


@compiled()
def _outputs(weight, output, codes, steps, sums, y):
    """A tile's outputs of all rows."""
    rows, groups, bits = codes.shape[0], weight[SIZE_IN] // GROUP, weight[BITS]
    made = np.zeros(((rows + _ROWS - 1) // _ROWS * _ROWS, _OUTPUTS), dtype=np.float32)
    tile = np.empty(2 * _HALF + _LINE, dtype=np.uint8)
    factors = np.empty((2, _OUTPUTS), dtype=np.float32)
    factors[0], factors[1] = np.float32(1), np.float32(-128)  # of 8 bits: scaled in the end, and 128 is nothing
    for group in range(groups):
        _turn_group(weight, group, groups, output, tile)
        if bits == 4:
            for lane in range(_OUTPUTS):
                factors[0, lane] = load_float(weight[SCALE] + ((output + lane) * groups + group) * 4)
                factors[1, lane] = -load_float(weight[SHIFT] + ((output + lane) * whole_terms(groups) + group) * 4)
        for row in range(0, rows, _ROWS):
            _add_group(row, group, codes, steps, sums, tile, factors, made)
    for row in range(rows):
        for lane in range(_OUTPUTS):
            scale = load_float(weight[SCALE] + (output + lane) * 4) if bits == 8 else np.float32(1)
            y[row, output + lane] = made[row, lane] * scale


@inlined()
def _start(tile):
    """The first whole line of a tile's memory."""
    at = address_of(tile)
    return at + -at % _LINE


@compiled()
def _turn_group(weight, group, groups, output, tile):
    """The codes of a group of `_OUTPUTS` outputs -> tile: vector j of each half has the inputs 4 j ... + 3 of 16 outputs."""
    size = 16 * weight[BITS]
    stride = groups * size
    # To what is turned next: the next group, or the first of the next tile.
    ahead = size if group + 1 < groups else _OUTPUTS * stride - group * size
    for half in range(2):
        at = weight[CODES] + (output + half * LANES) * stride + group * size
        to = _start(tile) + half * _HALF
        for lane in range(LANES):
            prefetch(at + lane * stride + ahead)
            prefetch(at + lane * stride + ahead + _LINE)
        turn(at, stride, to)
        if weight[BITS] == 4:
            for vector in range(to, to + LANES * 64, 64):
                both = load_bytes(vector)
                store_bytes(vector, low(both))
                store_bytes(vector + LANES * 64, high(both))
        else:
            turn(at + 64, stride, to + LANES * 64)
            for vector in range(to, to + _HALF, 64):
                store_bytes(vector, offset(load_bytes(vector)))


@compiled()
def _add_group(row, group, codes, steps, sums, tile, factors, made):
    """made [rows, outputs] += the products of a group with `_ROWS` rows; past the last row it is multiplied again."""
    last, at = codes.shape[0] - 1, group * GROUP
    p, q = address_of(codes[row]) + at, address_of(codes[min(row + 1, last)]) + at
    r, s = address_of(codes[min(row + 2, last)]) + at, address_of(codes[min(row + 3, last)]) + at
    t, u = address_of(codes[min(row + 4, last)]) + at, address_of(codes[min(row + 5, last)]) + at
    v, w = address_of(codes[min(row + 6, last)]) + at, address_of(codes[min(row + 7, last)]) + at
    nothing = integers(np.int32(0))
    p_one, q_one, r_one, s_one = nothing, nothing, nothing, nothing
    t_one, u_one, v_one, w_one = nothing, nothing, nothing, nothing
    p_two, q_two, r_two, s_two = nothing, nothing, nothing, nothing
    t_two, u_two, v_two, w_two = nothing, nothing, nothing, nothing
    begin = _start(tile)
    for index in range(0, GROUP, 4):
        one, two = load_bytes(begin + index * LANES), load_bytes(begin + _HALF + index * LANES)
        p_one, p_two = _add_word(p_one, p_two, one, two, p + index)
        q_one, q_two = _add_word(q_one, q_two, one, two, q + index)
        r_one, r_two = _add_word(r_one, r_two, one, two, r + index)
        s_one, s_two = _add_word(s_one, s_two, one, two, s + index)
        t_one, t_two = _add_word(t_one, t_two, one, two, t + index)
        u_one, u_two = _add_word(u_one, u_two, one, two, u + index)
        v_one, v_two = _add_word(v_one, v_two, one, two, v + index)
        w_one, w_two = _add_word(w_one, w_two, one, two, w + index)
    _keep(p_one, p_two, row, last, group, steps, sums, factors, made)
    _keep(q_one, q_two, row + 1, last, group, steps, sums, factors, made)
    _keep(r_one, r_two, row + 2, last, group, steps, sums, factors, made)
    _keep(s_one, s_two, row + 3, last, group, steps, sums, factors, made)
    _keep(t_one, t_two, row + 4, last, group, steps, sums, factors, made)
    _keep(u_one, u_two, row + 5, last, group, steps, sums, factors, made)
    _keep(v_one, v_two, row + 6, last, group, steps, sums, factors, made)
    _keep(w_one, w_two, row + 7, last, group, steps, sums, factors, made)


@inlined()
def _add_word(one, two, codes_one, codes_two, word):
    """Four inputs of a row, by address."""
    inputs = repeat_word(word)
    return add_products(one, codes_one, inputs), add_products(two, codes_two, inputs)


@inlined()
def _keep(one, two, row, last, group, steps, sums, factors, made):
    """A group's sums of integers, scaled, and what the codes' zeros have added taken off."""
    step, level = steps[min(row, last), group], floats(sums[min(row, last), group])
    at, factor = address_of(made[row]), address_of(factors)
    _keep_half(one, step, level, factor, at)
    _keep_half(two, step, level, factor + 64, at + 64)


@inlined()
def _keep_half(products, step, level, factor, at):
    """Of 16 outputs, by address."""
    total = multiply_add(as_floats(products), multiply(load_floats(factor), floats(step)), load_floats(at))
    store_floats(at, multiply_add(load_floats(factor + 4 * _OUTPUTS), level, total))
