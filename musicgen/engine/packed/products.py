"""Rows of activations, rounded to 8 bits, times packed weights (`linear.Int8Linear`, `linear.Int4Linear`).

A row is rounded in groups of 128, each with its own scale: x = step * q, q in [-127, 127]. A product of a group is one of
integers; scales enter once for each group. With codes c and zero z of the weights

    y[o] = sum over groups g of scale[o, g] step[g] (sum c q - z[o, g] sum q)

and the last term is a product of its own, of `shift[o, g] = scale[o, g] z[o, g]` and `sums[g] = step[g] sum q`.
Shapes: R rows, G groups of the input, O outputs. An output's weights come from memory once for all rows.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from musicgen.engine.packed import GROUP, TERMS
from musicgen.engine.packed.compiling import compiled, inlined
from musicgen.engine.packed.vectors import (
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
    load_even,
    load_float,
    load_floats,
    load_half,
    load_odd,
    low,
    magnitude,
    multiply,
    multiply_add,
    nearest,
    offset,
    prefetch,
    store_small,
    total,
)

AHEAD = 8192
"""Bytes from what is read to what is asked for: memory answers too late otherwise."""
OUTPUTS = 16
"""Of which one thread makes at least so many at a time."""
_LEAST = np.float32(1e-20)
CODES, SCALE, SHIFT, SIZE_IN, SIZE_OUT, BITS = range(6)
"""Of a weight's entry in the table: addresses of codes, scales and shifts, sizes, bits."""


@compiled()
def round_rows(x, size, halves, codes, steps, sums):
    """x [R, >= size] float32 -> codes [R, >= size] int8, steps [R, >= G] and sums [R, >= G] float32.

    With `halves`, the even ones of a group come first and then the odd ones, as 4-bit codes lie in their bytes. Sums are
    zero from G up to a whole `TERMS`.
    """
    groups = size // GROUP
    for row in range(x.shape[0]):
        for group in range(groups):
            at, to = address_of(x[row]) + group * GROUP * 4, address_of(codes[row]) + group * GROUP
            most = magnitude(load_floats(at))
            for index in range(64, GROUP * 4, 64):
                most = larger(most, magnitude(load_floats(at + index)))
            step = max(largest(most), _LEAST) / np.float32(127)
            inverse = floats(np.float32(1) / step)
            count = integers(np.int32(0))
            for index in range(GROUP // 32):
                if halves:
                    first, second = load_even(at + index * 128), load_odd(at + index * 128)
                else:
                    first, second = load_floats(at + index * 64), load_floats(at + index * 64 + GROUP * 2)
                one, other = nearest(multiply(first, inverse)), nearest(multiply(second, inverse))
                store_small(to + index * 16, one)
                store_small(to + index * 16 + GROUP // 2, other)
                count = add_integers(count, add_integers(one, other))
            steps[row, group] = step
            sums[row, group] = step * total(as_floats(count))
        for group in range(groups, whole_terms(groups)):
            sums[row, group] = np.float32(0)


@compiled(parallel=True)
def times(weight, codes, steps, sums, y):
    """Rows as `round_rows` leaves them, times the weight of a table's entry -> y [R, >= O]."""
    rows, groups = codes.shape[0], weight[SIZE_IN] // GROUP
    for block in prange(weight[SIZE_OUT] // OUTPUTS):
        for row in range(0, rows, 4):  # outside, so that a block's weights and four rows stay in the first cache
            for output in range(block * OUTPUTS, (block + 1) * OUTPUTS):
                if weight[BITS] == 4:
                    _output(weight, 4, groups, output, codes, steps, sums, row, rows, y)
                else:
                    _output(weight, 8, groups, output, codes, steps, sums, row, rows, y)


@inlined()
def _output(weight, bits, groups, output, codes, steps, sums, row, rows, y):
    """An output of four rows, or of as many as there are: unpacking is shared by them."""
    at_codes, at_scale = weight[CODES] + output * groups * (16 * bits), weight[SCALE]
    at_scale += output * groups * 4 if bits == 4 else output * 4
    at_shift = weight[SHIFT] + output * whole_terms(groups) * 4
    r, s = row, min(row + 1, rows - 1)
    q_r, q_s, f_r, f_s = address_of(codes[r]), address_of(codes[s]), address_of(steps[r]), address_of(steps[s])
    nothing = floats(np.float32(0))
    a, b = nothing, nothing
    if rows - row > 2:
        t, u = row + 2, min(row + 3, rows - 1)
        q_t, q_u, f_t, f_u = address_of(codes[t]), address_of(codes[u]), address_of(steps[t]), address_of(steps[u])
        c, d = nothing, nothing
        for group in range(groups):
            first, second, scale = _unpack(at_codes, at_scale, bits, group)
            at, step = group * GROUP, group * 4
            a = _add_group(a, first, second, q_r + at, scale, f_r + step)
            b = _add_group(b, first, second, q_s + at, scale, f_s + step)
            c = _add_group(c, first, second, q_t + at, scale, f_t + step)
            d = _add_group(d, first, second, q_u + at, scale, f_u + step)
        y[t, output] = _end(at_scale, at_shift, bits, groups, c, address_of(sums[t]))
        y[u, output] = _end(at_scale, at_shift, bits, groups, d, address_of(sums[u]))
    else:
        for group in range(groups):
            first, second, scale = _unpack(at_codes, at_scale, bits, group)
            a = _add_group(a, first, second, q_r + group * GROUP, scale, f_r + group * 4)
            b = _add_group(b, first, second, q_s + group * GROUP, scale, f_s + group * 4)
    y[r, output] = _end(at_scale, at_shift, bits, groups, a, address_of(sums[r]))
    y[s, output] = _end(at_scale, at_shift, bits, groups, b, address_of(sums[s]))


@inlined()
def _unpack(codes, scales, bits, group):
    """A group's 128 codes as two vectors, and their scale; 1 where there is one for all groups."""
    at = codes + group * (16 * bits)
    prefetch(at + AHEAD)
    if bits == 4:
        packed = load_bytes(at)
        return low(packed), high(packed), load_float(scales + group * 4)
    prefetch(at + 64 + AHEAD)
    return offset(load_bytes(at)), offset(load_bytes(at + 64)), np.float32(1)


@inlined()
def _add_group(a, first, second, codes, scale, step):
    """a + the products of a group's codes with a row's; the row's codes and step by address."""
    products = add_products(integers(np.int32(0)), first, load_bytes(codes))
    products = add_products(products, second, load_bytes(codes + 64))
    return multiply_add(as_floats(products), floats(scale * load_float(step)), a)


@inlined()
def _end(scale, shifts, bits, groups, a, sums):
    """The sum of products, less what the codes' zeros have added. The zero of 8-bit codes is 128."""
    shift, factor = floats(np.float32(-128)), np.float32(1)
    if bits == 8:
        factor = load_float(scale)
    for group in range(0, groups, TERMS):
        if bits == 4:
            shift = multiply(load_half(shifts + group * 4), floats(np.float32(-1)))
        a = multiply_add(shift, load_half(sums + group * 4), a)
    return total(a) * factor


@inlined()
def whole_terms(groups):
    """`groups`, rounded up to a multiple of `TERMS`."""
    return (groups + TERMS - 1) // TERMS * TERMS
