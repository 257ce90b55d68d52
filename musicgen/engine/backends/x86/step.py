"""The language model's blocks for a batch of single tokens, in one call of compiled code: what `transformer.Block` computes.

N tokens enter, each with its row of the KV cache and its position. Several may belong to one row, in ascending order:
keys and values of all tokens are written before attention, so each token sees those before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from musicgen.engine.backends.x86.attention import cross_attention, self_attention
from musicgen.engine.backends.x86.attention_fp32 import self_attention_fp32, write_kv_fp32
from musicgen.engine.backends.x86.gemm import gemm
from musicgen.engine.backends.x86.gemv import BITS, IN_FEATURES, OUT_FEATURES, gemv, quantize_rows
from musicgen.engine.backends.x86.gemv_fp16 import gemv_fp16
from musicgen.engine.backends.x86.jit import inline_jit, jit
from musicgen.engine.backends.x86.kv_cache import write_kv
from musicgen.engine.backends.x86.kv_requantize import requantize
from musicgen.engine.backends.x86.simd import (
    absolute,
    address_of,
    exp2,
    fma,
    load_f32x16,
    maximum,
    mul,
    reciprocal,
    splat_f32,
    store_f32x16,
)

_EPSILON = np.float32(1e-5)


class StepWeights(NamedTuple):
    """The weights in the order in which a step uses them.

    Attributes:
        linears: Weight table [4 L + 1, 6] int64, or [6 L + 1, 6] with cross-attention; its columns are those of `gemv`.
        norms: [2 L + 1, 2, D] float32, or [3 L + 1, 2, D] with cross-attention: weight and bias.
        layers: Number of layers L.
        cross_attention: Whether the model has cross-attention.
        gelu: Whether the activation is GELU, else ReLU.
    """

    linears: np.ndarray
    norms: np.ndarray
    layers: int
    cross_attention: bool
    gelu: bool


class CacheBuffers(NamedTuple):
    """Keys and values of all cache rows.

    Attributes:
        cache: [L, rows, H, 2, bytes] uint8, in the layout of `kv_cache`, or of `attention_fp32`.
        float32: Which of the two.
        cross_keys: [L, rows, H, T, D] float32 of cross-attention; T is 0 without it.
        cross_values: The same shape.
        cross_masks: [rows, T] float32, added to the scores.
        cross_lengths: [rows] int64, vectors of each row's condition.
    """

    cache: np.ndarray
    float32: bool
    cross_keys: np.ndarray
    cross_values: np.ndarray
    cross_masks: np.ndarray
    cross_lengths: np.ndarray


class Workspace(NamedTuple):
    """Scratch memory for N tokens.

    Attributes:
        codes: [N, widest layer] int8, quantised activations.
        scales: [N, G] float32, their scales.
        sums: [N, G] float32, their sums by group.
        wide: [N, widest layer] float32.
        narrow: [N, D] float32.
        queries: [N, H, 2 * HEAD_DIM] int8, quantised queries.
        scores: [N, H, capacity] float32, attention scores.
    """

    codes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray
    wide: np.ndarray
    narrow: np.ndarray
    queries: np.ndarray
    scores: np.ndarray


@jit()
def step(x, cache_rows, positions, last, use_gemm, weights, buffers, workspace, logits):
    """Run all layers and the output heads.

    Args:
        x: Embedded tokens [N, D] float32; overwritten.
        cache_rows: [N] int64, each token's row of the KV cache.
        positions: [N] int64, each token's position.
        last: Indices [R] of the tokens whose logits are computed.
        use_gemm: Whether linear layers use GEMM, which sums in another order than GEMV.
        weights: `StepWeights`.
        buffers: `CacheBuffers`; the tokens' keys and values are written.
        workspace: `Workspace` for at least N tokens.
        logits: Output [R, K * codebook size] float32.
    """
    tokens = x.shape[0]
    codes, scales, sums = workspace.codes[:tokens], workspace.scales[:tokens], workspace.sums[:tokens]
    wide, narrow = workspace.wide[:tokens], workspace.narrow[:tokens]
    queries, scores = workspace.queries[:tokens], workspace.scores[:tokens]
    linears, norms = weights.linears, weights.norms
    for layer in range(weights.layers):
        cache = buffers.cache[layer]
        layer_norm(x, norms[0], narrow)
        linear(linears[0], narrow, codes, scales, sums, wide, use_gemm)
        if buffers.float32:
            write_kv_fp32(wide, cache_rows, positions, cache)
            self_attention_fp32(wide, cache_rows, positions, cache, scores, narrow)
        else:
            write_kv(wide, cache_rows, positions, cache)
            requantize(cache_rows, positions, cache)
            self_attention(wide, cache_rows, positions, cache, queries, scores, narrow)
        linear(linears[1], narrow, codes, scales, sums, wide, use_gemm)
        add_in_place(x, wide)
        linears, norms = linears[2:], norms[1:]
        if weights.cross_attention:
            layer_norm(x, norms[0], narrow)
            linear(linears[0], narrow, codes, scales, sums, wide, use_gemm)
            keys, values = buffers.cross_keys[layer], buffers.cross_values[layer]
            cross_attention(wide, cache_rows, keys, values, buffers.cross_masks, buffers.cross_lengths, scores, narrow)
            linear(linears[1], narrow, codes, scales, sums, wide, use_gemm)
            add_in_place(x, wide)
            linears, norms = linears[2:], norms[1:]
        layer_norm(x, norms[0], narrow)
        linear(linears[0], narrow, codes, scales, sums, wide, use_gemm)
        activation(wide, linears[0, OUT_FEATURES], weights.gelu)
        linear(linears[1], wide, codes, scales, sums, narrow, use_gemm)
        add_in_place(x, narrow)
        linears, norms = linears[2:], norms[1:]
    rows = last.shape[0]
    for row in range(rows):
        x[row] = x[last[row]]
    layer_norm(x[:rows], norms[0], narrow)
    linear(linears[0], narrow[:rows], codes[:rows], scales[:rows], sums[:rows], logits, False)


@jit()
def linear(weight, x, codes, scales, sums, y, use_gemm):
    """A linear layer x [N, >= in] -> y [N, >= out], with one entry of the weight table and scratch memory."""
    if weight[BITS] == 16:
        gemv_fp16(weight, x, y)
    else:
        quantize_rows(x, weight[IN_FEATURES], weight[BITS] == 4, codes, scales, sums)
        if use_gemm:
            gemm(weight, codes, scales, sums, y)
        else:
            gemv(weight, codes, scales, sums, y)


@jit(fastmath=True)
def layer_norm(x, norm, y):
    """Layer normalisation of x [N, D] -> y [N, D]; norm [2, D] is weight and bias."""
    size = x.shape[1]
    for row in range(x.shape[0]):
        source, target = x[row], y[row]
        mean, square = np.float32(0), np.float32(0)
        for index in range(size):
            mean += source[index]
        mean /= np.float32(size)
        for index in range(size):
            square += (source[index] - mean) ** 2
        rstd = np.float32(1) / np.sqrt(square / np.float32(size) + _EPSILON)
        for index in range(size):
            target[index] = (source[index] - mean) * rstd * norm[0, index] + norm[1, index]


@jit(fastmath=True)
def add_in_place(x, y):
    """x [N, D] += y [N, >= D]."""
    for row in range(x.shape[0]):
        for index in range(x.shape[1]):
            x[row, index] += y[row, index]


@jit(parallel=True)
def activation(x, size, gelu):
    """GELU or ReLU of the first `size` numbers of each row of x, in place."""
    for task in prange(x.shape[0] * (size // 256)):
        row, begin = task // (size // 256), task % (size // 256) * 256
        address = address_of(x[row, begin:])
        for index in range(0, 1024, 64):
            value = load_f32x16(address + index)
            value = _gelu(value) if gelu else maximum(value, splat_f32(np.float32(0)))
            store_f32x16(address + index, value)


@inline_jit()
def _gelu(x):
    """x (1 + erf(x / sqrt 2)) / 2, with erf by Abramowitz and Stegun 7.1.26 (error at most 1.5e-7)."""
    size = absolute(x)
    z = mul(size, splat_f32(np.float32(0.5**0.5)))
    t = reciprocal(fma(z, splat_f32(np.float32(0.3275911)), splat_f32(np.float32(1))))
    series = splat_f32(np.float32(1.061405429))
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = fma(series, t, splat_f32(np.float32(coefficient)))
    exponent = mul(mul(z, z), splat_f32(np.float32(-1.4426950408889634)))
    tail = mul(mul(series, t), exp2(exponent))
    # tail = 1 - erf |z|, so gelu = max(x, 0) - |x| tail / 2
    return fma(mul(size, tail), splat_f32(np.float32(-0.5)), maximum(x, splat_f32(np.float32(0))))
