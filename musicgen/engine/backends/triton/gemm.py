"""GEMM of many rows on tensor cores, in 16 bits with float32 accumulation."""

from __future__ import annotations

import triton
import triton.language as tl

from musicgen.engine.backends.triton.epilogue import (
    FLOAT,
    GROUP_SIZE,
    INT4,
    INT8,
    load_scales_zeros,
    pdl_begin,
    store_output,
)


@triton.jit
def gemm(
    x, weight, scale, zero, gain, shift, residual, out, rows,
    K: tl.constexpr, N: tl.constexpr, WEIGHT_KIND: tl.constexpr, HAS_NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """One tile [BLOCK_M, BLOCK_N] of residual + activation(norm(x [rows, K]) @ weight [N, K].T)."""
    outs = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    row_mask = (row < rows)[:, None]
    column = tl.arange(0, BLOCK_K)[None, :]
    x_rows = x + row[:, None] * K
    pdl_begin(PDL)
    if HAS_NORM:
        total = tl.zeros([BLOCK_M, BLOCK_K], tl.float32)
        for first in range(0, K, BLOCK_K):
            total += tl.load(x_rows + first + column, mask=row_mask, other=0.0)
        mean = (tl.sum(total, 1) / K)[:, None]
        total = tl.zeros([BLOCK_M, BLOCK_K], tl.float32)
        for first in range(0, K, BLOCK_K):
            centred = tl.load(x_rows + first + column, mask=row_mask, other=0.0) - mean
            total += centred * centred
        rstd = (1 / tl.sqrt(tl.sum(total, 1) / K + EPS))[:, None]
    dtype = tl.bfloat16 if WEIGHT_KIND != FLOAT else weight.dtype.element_ty
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for first in range(0, K, BLOCK_K):
        inputs = tl.load(x_rows + first + column, mask=row_mask, other=0.0)
        if HAS_NORM:
            gains = tl.load(gain + first + column).to(tl.float32)
            inputs = (inputs - mean) * rstd * gains + tl.load(shift + first + column).to(tl.float32)
        weights = _load_weights(weight, scale, zero, outs, first, K, WEIGHT_KIND, BLOCK_N, BLOCK_K)
        acc = tl.dot(inputs.to(dtype), tl.trans(weights.to(dtype)), acc)
    if WEIGHT_KIND == INT8:
        acc *= tl.load(scale + outs).to(tl.float32)[None, :]
    store_output(acc, residual, out, row[:, None] * N + outs[None, :], row_mask, ACTIVATION, HAS_RESIDUAL)


@triton.jit
def _load_weights(
    weight, scale, zero, outs, first,
    K: tl.constexpr, WEIGHT_KIND: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A tile [BLOCK_N, BLOCK_K] float32 of the weights; int4 is dequantised, int8 is not scaled yet."""
    if WEIGHT_KIND == INT4:
        offsets = outs[:, None] * (K // 2) + first // 2 + tl.arange(0, BLOCK_K // 2)[None, :]
        packed = tl.load(weight + offsets)
        weights = tl.interleave(packed & 15, packed >> 4).to(tl.float32)
        scales, zeros = load_scales_zeros(
            scale, zero, outs, tl.arange(0, BLOCK_K // GROUP_SIZE) + first // GROUP_SIZE, K
        )
        grouped = tl.reshape(weights, [BLOCK_N, BLOCK_K // GROUP_SIZE, GROUP_SIZE])
        weights = tl.reshape((grouped - zeros[:, :, None]) * scales[:, :, None], [BLOCK_N, BLOCK_K])
    else:
        offsets = outs[:, None] * K + first + tl.arange(0, BLOCK_K)[None, :]
        weights = tl.load(weight + offsets).to(tl.float32)
    return weights
