"""Products of float32 activations with float16 weights, for float32 models whose weights are exact in float16.

That halves the bytes of a step and changes no result: published weights were stored in half precision. Every weight is
loaded once for up to four rows, and the sums of a row have the same order whatever the other rows are.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.backends.x86.gemv import CODES, IN_FEATURES, OUT_FEATURES, OUTPUTS_PER_TASK, PREFETCH_DISTANCE
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.simd import (
    address_of,
    fma,
    load_f16x16,
    load_f32x16,
    prefetch,
    reduce_add,
    splat_f32,
)


@jit(parallel=True)
def gemv_fp16(weight, x, y):
    """Multiply float32 rows with float16 weights.

    Args:
        weight: An entry of a weight table, [6] int64, of a matrix [out, in] float16.
        x: [R, >= in] float32.
        y: Output [R, >= out] float32.
    """
    rows, size = x.shape[0], weight[IN_FEATURES]
    for block in prange(weight[OUT_FEATURES] // OUTPUTS_PER_TASK):
        for row in range(0, rows, 4):  # the outer loop, so that a block's weights stay in L2
            for output in range(block * OUTPUTS_PER_TASK, (block + 1) * OUTPUTS_PER_TASK, 2):
                _two_outputs(weight[CODES] + output * size * 2, size, x, row, rows, y, output)


@inline_jit()
def _two_outputs(weights, size, x, row, rows, y, output):
    """Two outputs of up to four rows."""
    s = min(row + 1, rows - 1)
    x_r, x_s, zero = address_of(x[row]), address_of(x[s]), splat_f32(np.float32(0))
    a, b, c, d = zero, zero, zero, zero
    if rows - row > 2:
        t, u = row + 2, min(row + 3, rows - 1)
        x_t, x_u = address_of(x[t]), address_of(x[u])
        e, f, g, h = zero, zero, zero, zero
        for index in range(0, size * 4, 64):
            first, second = _load_weights(weights, size, index)
            p, q, r, v = (
                load_f32x16(x_r + index),
                load_f32x16(x_s + index),
                load_f32x16(x_t + index),
                load_f32x16(x_u + index),
            )
            a, b = fma(first, p, a), fma(second, p, b)
            c, d = fma(first, q, c), fma(second, q, d)
            e, f = fma(first, r, e), fma(second, r, f)
            g, h = fma(first, v, g), fma(second, v, h)
        y[t, output], y[t, output + 1] = reduce_add(e), reduce_add(f)
        y[u, output], y[u, output + 1] = reduce_add(g), reduce_add(h)
    else:
        for index in range(0, size * 4, 64):
            first, second = _load_weights(weights, size, index)
            p, q = load_f32x16(x_r + index), load_f32x16(x_s + index)
            a, b = fma(first, p, a), fma(second, p, b)
            c, d = fma(first, q, c), fma(second, q, d)
    y[row, output], y[row, output + 1] = reduce_add(a), reduce_add(b)
    y[s, output], y[s, output + 1] = reduce_add(c), reduce_add(d)


@inline_jit()
def _load_weights(weights, size, index):
    """16 weights of an output and 16 of the next, as float32."""
    first, second = weights + index // 2, weights + size * 2 + index // 2
    prefetch(first + PREFETCH_DISTANCE)
    prefetch(second + PREFETCH_DISTANCE)
    return load_f16x16(first), load_f16x16(second)
