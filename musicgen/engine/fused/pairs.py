"""Two rows, multiplied one number at a time: every weight is read once, the reading spread over all programs."""

from __future__ import annotations

import triton
import triton.language as tl

from musicgen.engine.fused.ends import GROUP, INT8, begin, leave, scales_and_zeros


@triton.jit
def pairs(
    x, codes, scale, zero, gain, shift, residual, out, rows,
    INPUTS: tl.constexpr, LEAVING: tl.constexpr, KIND: tl.constexpr, NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr, OUTS: tl.constexpr, WIDE: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """OUTS outputs of two rows; an odd last row is its own pair."""
    outs = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    one = 2 * tl.program_id(1)
    other = tl.minimum(one + 1, rows - 1)
    column = tl.arange(0, WIDE)
    inside = column < INPUTS
    # All weights are asked for at once, and before the kernel that makes x has ended.
    weights = tl.load(codes + outs[:, None] * INPUTS + column[None, :], mask=inside[None, :], other=0)
    if NORM:
        times, plus = _affine(gain, shift, column, inside)
    begin(OVERLAP)
    x_one = tl.load(x + one * INPUTS + column, mask=inside, other=0.0)
    x_other = tl.load(x + other * INPUTS + column, mask=inside, other=0.0)
    if NORM:
        mean_one, mean_other = tl.reduce((x_one, x_other), 0, add_both)
        x_one = tl.where(inside, x_one - mean_one / INPUTS, 0.0)
        x_other = tl.where(inside, x_other - mean_other / INPUTS, 0.0)
        square_one, square_other = tl.reduce((x_one * x_one, x_other * x_other), 0, add_both)
        x_one = x_one / tl.sqrt(square_one / INPUTS + EPS) * times + plus
        x_other = x_other / tl.sqrt(square_other / INPUTS + EPS) * times + plus
    weights = weights.to(tl.float32)
    made_one, made_other = tl.reduce((weights * x_one[None, :], weights * x_other[None, :]), 1, add_both)
    if KIND == INT8:
        scales = tl.load(scale + outs).to(tl.float32)
        made_one *= scales
        made_other *= scales
    leave(made_one, residual, out, one * LEAVING + outs, outs < LEAVING, ACTIVATION, RESIDUAL)
    leave(made_other, residual, out, other * LEAVING + outs, (outs < LEAVING) & (other != one), ACTIVATION, RESIDUAL)


@triton.jit
def pairs_of_groups(
    x, codes, scale, zero, gain, shift, residual, out, rows,
    INPUTS: tl.constexpr, LEAVING: tl.constexpr, KIND: tl.constexpr, NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr, OUTS: tl.constexpr, WIDE: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """As `pairs`, of 4-bit codes: a group is summed, then scaled. Its even inputs meet the low halves of its bytes."""
    outs = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    one = 2 * tl.program_id(1)
    other = tl.minimum(one + 1, rows - 1)
    group = tl.arange(0, WIDE // GROUP)
    inside = (group < INPUTS // GROUP)[:, None]
    half = group[:, None] * (GROUP // 2) + tl.arange(0, GROUP // 2)[None, :]
    two = tl.load(codes + outs[:, None, None] * (INPUTS // 2) + half[None], mask=inside[None], other=0)
    scales, zeros = scales_and_zeros(scale, zero, outs, group, INPUTS)
    if NORM:
        times_even, plus_even = _affine(gain, shift, 2 * half, inside)
        times_odd, plus_odd = _affine(gain, shift, 2 * half + 1, inside)
    begin(OVERLAP)
    even_one = tl.load(x + one * INPUTS + 2 * half, mask=inside, other=0.0)
    odd_one = tl.load(x + one * INPUTS + 2 * half + 1, mask=inside, other=0.0)
    even_other = tl.load(x + other * INPUTS + 2 * half, mask=inside, other=0.0)
    odd_other = tl.load(x + other * INPUTS + 2 * half + 1, mask=inside, other=0.0)
    if NORM:
        mean_one, mean_other = tl.reduce(
            tl.reduce((even_one + odd_one, even_other + odd_other), 1, add_both), 0, add_both
        )
        even_one, odd_one = even_one - mean_one / INPUTS, odd_one - mean_one / INPUTS
        even_other, odd_other = even_other - mean_other / INPUTS, odd_other - mean_other / INPUTS
        squares_one = tl.where(inside, even_one * even_one + odd_one * odd_one, 0.0)
        squares_other = tl.where(inside, even_other * even_other + odd_other * odd_other, 0.0)
        square_one, square_other = tl.reduce(tl.reduce((squares_one, squares_other), 1, add_both), 0, add_both)
        by_one, by_other = 1 / tl.sqrt(square_one / INPUTS + EPS), 1 / tl.sqrt(square_other / INPUTS + EPS)
        even_one = even_one * by_one * times_even + plus_even
        odd_one = odd_one * by_one * times_odd + plus_odd
        even_other = even_other * by_other * times_even + plus_even
        odd_other = odd_other * by_other * times_odd + plus_odd
    low, high = (two & 15).to(tl.float32), (two >> 4).to(tl.float32)
    level_one, level_other = tl.reduce((even_one + odd_one, even_other + odd_other), 1, add_both)
    sums_one, sums_other = tl.reduce(
        (low * even_one[None] + high * odd_one[None], low * even_other[None] + high * odd_other[None]), 2, add_both
    )
    made_one, made_other = tl.reduce(
        ((sums_one - zeros * level_one[None, :]) * scales, (sums_other - zeros * level_other[None, :]) * scales),
        1,
        add_both,
    )
    leave(made_one, residual, out, one * LEAVING + outs, outs < LEAVING, ACTIVATION, RESIDUAL)
    leave(made_other, residual, out, other * LEAVING + outs, (outs < LEAVING) & (other != one), ACTIVATION, RESIDUAL)


@triton.jit
def add_both(one, other, more, further):
    return one + more, other + further


@triton.jit
def _affine(gain, shift, column, inside):
    """Of a norm, both 0 where there is no input."""
    times = tl.load(gain + column, mask=inside, other=0.0).to(tl.float32)
    return times, tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
