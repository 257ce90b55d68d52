"""GEMV of two rows per program: every weight is loaded once for both, and the loads are spread over all programs."""

from __future__ import annotations

import triton
import triton.language as tl

from musicgen.engine.backends.triton.epilogue import GROUP_SIZE, INT8, load_scales_zeros, pdl_begin, store_output


@triton.jit
def gemv(
    x, weight, scale, zero, gain, shift, residual, out, rows,
    K: tl.constexpr, N: tl.constexpr, WEIGHT_KIND: tl.constexpr, HAS_NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """BLOCK_N outputs of rows a and b, float or int8 weights; BLOCK_K is K rounded up to a power of two.

    With an odd number of rows the last program computes its row twice and stores it once.
    """
    outs = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_a = 2 * tl.program_id(1)
    row_b = tl.minimum(row_a + 1, rows - 1)
    column = tl.arange(0, BLOCK_K)
    mask = column < K
    # All weights are loaded at once, and before waiting for the kernel that computes x.
    weights = tl.load(weight + outs[:, None] * K + column[None, :], mask=mask[None, :], other=0)
    if HAS_NORM:
        gains, shifts = _load_affine(gain, shift, column, mask)
    pdl_begin(PDL)
    x_a = tl.load(x + row_a * K + column, mask=mask, other=0.0)
    x_b = tl.load(x + row_b * K + column, mask=mask, other=0.0)
    if HAS_NORM:
        sum_a, sum_b = tl.reduce((x_a, x_b), 0, add_pairwise)
        x_a = tl.where(mask, x_a - sum_a / K, 0.0)
        x_b = tl.where(mask, x_b - sum_b / K, 0.0)
        square_a, square_b = tl.reduce((x_a * x_a, x_b * x_b), 0, add_pairwise)
        x_a = x_a / tl.sqrt(square_a / K + EPS) * gains + shifts
        x_b = x_b / tl.sqrt(square_b / K + EPS) * gains + shifts
    weights = weights.to(tl.float32)
    y_a, y_b = tl.reduce((weights * x_a[None, :], weights * x_b[None, :]), 1, add_pairwise)
    if WEIGHT_KIND == INT8:
        scales = tl.load(scale + outs).to(tl.float32)
        y_a *= scales
        y_b *= scales
    store_output(y_a, residual, out, row_a * N + outs, outs < N, ACTIVATION, HAS_RESIDUAL)
    store_output(y_b, residual, out, row_b * N + outs, (outs < N) & (row_b != row_a), ACTIVATION, HAS_RESIDUAL)


@triton.jit
def gemv_int4(
    x, weight, scale, zero, gain, shift, residual, out, rows,
    K: tl.constexpr, N: tl.constexpr, WEIGHT_KIND: tl.constexpr, HAS_NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """As `gemv`, with int4 weights: each group is summed, then scaled. Low nibbles are the weights of even inputs, high nibbles
    those of odd ones."""
    outs = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row_a = 2 * tl.program_id(1)
    row_b = tl.minimum(row_a + 1, rows - 1)
    group = tl.arange(0, BLOCK_K // GROUP_SIZE)
    mask = (group < K // GROUP_SIZE)[:, None]
    byte = group[:, None] * (GROUP_SIZE // 2) + tl.arange(0, GROUP_SIZE // 2)[None, :]
    packed = tl.load(weight + outs[:, None, None] * (K // 2) + byte[None], mask=mask[None], other=0)
    scales, zeros = load_scales_zeros(scale, zero, outs, group, K)
    if HAS_NORM:
        gains_even, shifts_even = _load_affine(gain, shift, 2 * byte, mask)
        gains_odd, shifts_odd = _load_affine(gain, shift, 2 * byte + 1, mask)
    pdl_begin(PDL)
    even_a = tl.load(x + row_a * K + 2 * byte, mask=mask, other=0.0)
    odd_a = tl.load(x + row_a * K + 2 * byte + 1, mask=mask, other=0.0)
    even_b = tl.load(x + row_b * K + 2 * byte, mask=mask, other=0.0)
    odd_b = tl.load(x + row_b * K + 2 * byte + 1, mask=mask, other=0.0)
    if HAS_NORM:
        sum_a, sum_b = tl.reduce(tl.reduce((even_a + odd_a, even_b + odd_b), 1, add_pairwise), 0, add_pairwise)
        even_a, odd_a = even_a - sum_a / K, odd_a - sum_a / K
        even_b, odd_b = even_b - sum_b / K, odd_b - sum_b / K
        squares_a = tl.where(mask, even_a * even_a + odd_a * odd_a, 0.0)
        squares_b = tl.where(mask, even_b * even_b + odd_b * odd_b, 0.0)
        square_a, square_b = tl.reduce(tl.reduce((squares_a, squares_b), 1, add_pairwise), 0, add_pairwise)
        rstd_a, rstd_b = 1 / tl.sqrt(square_a / K + EPS), 1 / tl.sqrt(square_b / K + EPS)
        even_a = even_a * rstd_a * gains_even + shifts_even
        odd_a = odd_a * rstd_a * gains_odd + shifts_odd
        even_b = even_b * rstd_b * gains_even + shifts_even
        odd_b = odd_b * rstd_b * gains_odd + shifts_odd
    low, high = (packed & 15).to(tl.float32), (packed >> 4).to(tl.float32)
    # Of each group: the sum of its inputs, by which the zero points are subtracted, and its products with the codes.
    inputs_a, inputs_b = tl.reduce((even_a + odd_a, even_b + odd_b), 1, add_pairwise)
    products_a, products_b = tl.reduce(
        (low * even_a[None] + high * odd_a[None], low * even_b[None] + high * odd_b[None]), 2, add_pairwise
    )
    y_a, y_b = tl.reduce(
        ((products_a - zeros * inputs_a[None, :]) * scales, (products_b - zeros * inputs_b[None, :]) * scales),
        1,
        add_pairwise,
    )
    store_output(y_a, residual, out, row_a * N + outs, outs < N, ACTIVATION, HAS_RESIDUAL)
    store_output(y_b, residual, out, row_b * N + outs, (outs < N) & (row_b != row_a), ACTIVATION, HAS_RESIDUAL)


@triton.jit
def add_pairwise(a, b, other_a, other_b):
    """Combine function of reductions of two tensors at once."""
    return a + other_a, b + other_b


@triton.jit
def _load_affine(gain, shift, column, mask):
    """Gain and shift of a layer norm, both 0 past the last input."""
    gains = tl.load(gain + column, mask=mask, other=0.0).to(tl.float32)
    return gains, tl.load(shift + column, mask=mask, other=0.0).to(tl.float32)
