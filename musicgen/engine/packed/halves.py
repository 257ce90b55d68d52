"""Rows of float32 times weights that were float32 and lose nothing in 16 bits: half the bytes, the same numbers.

Published weights are such: they were stored in half precision. An output's weights come from memory once for all rows, and
every sum is made in the same order whatever rows are beside it.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.products import AHEAD, CODES, OUTPUTS, SIZE_IN, SIZE_OUT
from musicgen.engine.packed.vectors import (
    address_of,
    floats,
    load_floats,
    load_halves,
    multiply_add,
    prefetch,
    total,
)


@compiled(parallel=True)
def times_halves(weight, x, y):
    """x [R, >= in] times the weight of a table's entry, [out, in] float16 -> y [R, >= out]."""
    rows, size = x.shape[0], weight[SIZE_IN]
    for block in prange(weight[SIZE_OUT] // OUTPUTS):
        for row in range(0, rows, 4):  # outside, so that a block's weights stay in the second cache
            for output in range(block * OUTPUTS, (block + 1) * OUTPUTS, 2):
                _two_outputs(weight[CODES] + output * size * 2, size, x, row, rows, y, output)


@inlined()
def _two_outputs(codes, size, x, row, rows, y, output):
    """Of four rows, or of as many as there are."""
    s = min(row + 1, rows - 1)
    x_r, x_s, nothing = address_of(x[row]), address_of(x[s]), floats(np.float32(0))
    a, b, c, d = nothing, nothing, nothing, nothing
    if rows - row > 2:
        t, u = row + 2, min(row + 3, rows - 1)
        x_t, x_u = address_of(x[t]), address_of(x[u])
        e, f, g, h = nothing, nothing, nothing, nothing
        for index in range(0, size * 4, 64):
            one, other = _weights(codes, size, index)
            p, q, r, v = (
                load_floats(x_r + index),
                load_floats(x_s + index),
                load_floats(x_t + index),
                load_floats(x_u + index),
            )
            a, b = multiply_add(one, p, a), multiply_add(other, p, b)
            c, d = multiply_add(one, q, c), multiply_add(other, q, d)
            e, f = multiply_add(one, r, e), multiply_add(other, r, f)
            g, h = multiply_add(one, v, g), multiply_add(other, v, h)
        y[t, output], y[t, output + 1] = total(e), total(f)
        y[u, output], y[u, output + 1] = total(g), total(h)
    else:
        for index in range(0, size * 4, 64):
            one, other = _weights(codes, size, index)
            p, q = load_floats(x_r + index), load_floats(x_s + index)
            a, b = multiply_add(one, p, a), multiply_add(other, p, b)
            c, d = multiply_add(one, q, c), multiply_add(other, q, d)
    y[row, output], y[row, output + 1] = total(a), total(b)
    y[s, output], y[s, output + 1] = total(c), total(d)


@inlined()
def _weights(codes, size, index):
    """16 of an output and 16 of the next, which lies behind it in memory."""
    one, other = codes + index // 2, codes + size * 2 + index // 2
    prefetch(one + AHEAD)
    prefetch(other + AHEAD)
    return load_halves(one), load_halves(other)
