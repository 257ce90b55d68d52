"""The language model's blocks for single tokens, in one call of compiled code: the twin of `transformer.Block`.

N tokens enter, each at a home and a position of its own; of one clip they may be many, in order, for each sees the keys of
those before it. `Weights` is what the call reads, `Store` what it keeps, `Room` what it works in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from musicgen.engine.packed.attention import attend, attend_text
from musicgen.engine.packed.cache import enter
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.crowds import times_many
from musicgen.engine.packed.exact import attend_exact, enter_exact
from musicgen.engine.packed.halves import times_halves
from musicgen.engine.packed.products import BITS, SIZE_IN, SIZE_OUT, round_rows, times
from musicgen.engine.packed.settling import settle
from musicgen.engine.packed.vectors import (
    address_of,
    floats,
    larger,
    load_floats,
    magnitude,
    multiply,
    multiply_add,
    reciprocal,
    store_floats,
    two_to_the,
)

_EPSILON = np.float32(1e-5)


class Weights(NamedTuple):
    """In the order in which a step meets them.

    products: int64 [4 L + 1, 6], or 6 L + 1 with a text; entries as `products` has them. norms: float32 [2 L + 1, 2, D], or
    3 L + 1, weight and bias. gelu: whether the activation is GELU, else ReLU."""

    products: np.ndarray
    norms: np.ndarray
    layers: int
    text: bool
    gelu: bool


class Store(NamedTuple):
    """Keys and values by layer, as `cache` has them, or as `exact` has them; the text's, in float32, of no length where there
    is none."""

    cache: np.ndarray
    exact: bool
    text_keys: np.ndarray
    text_values: np.ndarray
    text_masks: np.ndarray
    text_counts: np.ndarray


class Room(NamedTuple):
    """For N tokens: codes [N, widest] int8, steps and sums [N, G] float32, wide [N, widest], narrow [N, D], queries and
    scores as `attention` has them."""

    codes: np.ndarray
    steps: np.ndarray
    sums: np.ndarray
    wide: np.ndarray
    narrow: np.ndarray
    queries: np.ndarray
    scores: np.ndarray


@compiled()
def step(x, homes, positions, last, many, weights, store, room, logits):
    """x [N, D] float32, which is overwritten; homes, positions [N] int64 -> logits [len(last), K * N] of the tokens `last`.
    many: whether they are multiplied as many, in another order of sums."""
    tokens = x.shape[0]
    codes, steps, sums = room.codes[:tokens], room.steps[:tokens], room.sums[:tokens]
    wide, narrow = room.wide[:tokens], room.narrow[:tokens]
    queries, scores = room.queries[:tokens], room.scores[:tokens]
    products, norms = weights.products, weights.norms
    for layer in range(weights.layers):
        cache = store.cache[layer]
        normalise(x, norms[0], narrow)
        product(products[0], narrow, codes, steps, sums, wide, many)
        if store.exact:
            enter_exact(wide, homes, positions, cache)
            attend_exact(wide, homes, positions, cache, scores, narrow)
        else:
            enter(wide, homes, positions, cache)
            settle(homes, positions, cache)
            attend(wide, homes, positions, cache, queries, scores, narrow)
        product(products[1], narrow, codes, steps, sums, wide, many)
        increase(x, wide)
        products, norms = products[2:], norms[1:]
        if weights.text:
            normalise(x, norms[0], narrow)
            product(products[0], narrow, codes, steps, sums, wide, many)
            text_keys, text_values = store.text_keys[layer], store.text_values[layer]
            attend_text(wide, homes, text_keys, text_values, store.text_masks, store.text_counts, scores, narrow)
            product(products[1], narrow, codes, steps, sums, wide, many)
            increase(x, wide)
            products, norms = products[2:], norms[1:]
        normalise(x, norms[0], narrow)
        product(products[0], narrow, codes, steps, sums, wide, many)
        activate(wide, products[0, SIZE_OUT], weights.gelu)
        product(products[1], wide, codes, steps, sums, narrow, many)
        increase(x, narrow)
        products, norms = products[2:], norms[1:]
    ends = last.shape[0]
    for row in range(ends):
        x[row] = x[last[row]]
    normalise(x[:ends], norms[0], narrow)
    product(products[0], narrow[:ends], codes[:ends], steps[:ends], sums[:ends], logits, False)


@compiled()
def product(weight, x, codes, steps, sums, y, many):
    """x [N, >= in] -> y [N, >= out]."""
    if weight[BITS] == 16:
        times_halves(weight, x, y)
    else:
        round_rows(x, weight[SIZE_IN], weight[BITS] == 4, codes, steps, sums)
        if many:
            times_many(weight, codes, steps, sums, y)
        else:
            times(weight, codes, steps, sums, y)


@compiled(reorders=True)
def normalise(x, norm, y):
    """Layer normalisation of x [N, D] -> y [N, D]."""
    size = x.shape[1]
    for row in range(x.shape[0]):
        values, to = x[row], y[row]
        mean, square = np.float32(0), np.float32(0)
        for index in range(size):
            mean += values[index]
        mean /= np.float32(size)
        for index in range(size):
            square += (values[index] - mean) ** 2
        inverse = np.float32(1) / np.sqrt(square / np.float32(size) + _EPSILON)
        for index in range(size):
            to[index] = (values[index] - mean) * inverse * norm[0, index] + norm[1, index]


@compiled(reorders=True)
def increase(x, y):
    """x [N, D] += y [N, >= D]."""
    for row in range(x.shape[0]):
        for index in range(x.shape[1]):
            x[row, index] += y[row, index]


@compiled(parallel=True)
def activate(x, size, gelu):
    """The first `size` of each row of x, in place."""
    for task in prange(x.shape[0] * (size // 256)):
        row, begin = task // (size // 256), task % (size // 256) * 256
        at = address_of(x[row, begin:])
        for index in range(0, 1024, 64):
            value = load_floats(at + index)
            value = _gelu(value) if gelu else larger(value, floats(np.float32(0)))
            store_floats(at + index, value)


@inlined()
def _gelu(x):
    """x (1 + erf(x / root 2)) / 2, by Abramowitz and Stegun 7.1.26 (erf to 1.5e-7)."""
    size = magnitude(x)
    z = multiply(size, floats(np.float32(0.5**0.5)))
    t = reciprocal(multiply_add(z, floats(np.float32(0.3275911)), floats(np.float32(1))))
    series = floats(np.float32(1.061405429))
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = multiply_add(series, t, floats(np.float32(coefficient)))
    power = multiply(multiply(z, z), floats(np.float32(-1.4426950408889634)))
    tail = multiply(multiply(series, t), two_to_the(power))
    # tail = 1 - erf |z|: gelu = max(x, 0) - |x| tail / 2
    return multiply_add(multiply(size, tail), floats(np.float32(-0.5)), larger(x, floats(np.float32(0))))
