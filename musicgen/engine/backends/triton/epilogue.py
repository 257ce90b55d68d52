"""Device functions that the kernels share: dependent launch, int4 scales and zero points, and the epilogue of a linear
layer."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from musicgen.engine.linear import INT4_GROUP

FLOAT, INT8, INT4 = tl.constexpr(0), tl.constexpr(8), tl.constexpr(4)
"""Kinds of weights."""
GROUP_SIZE = tl.constexpr(INT4_GROUP)


@triton.jit
def pdl_begin(PDL: tl.constexpr):
    """Let the next kernel launch, and wait for the previous one to finish. Only data that the previous kernel does not
    write, such as weights, may be loaded before this."""
    if PDL:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def load_scales_zeros(scale, zero, outs, group, K: tl.constexpr):
    """int4 scales and zero points [outs, groups], float32: weight = scale * (code - zero). Scales past the last group are 0."""
    GROUPS: tl.constexpr = K // GROUP_SIZE
    offsets = outs[:, None] * GROUPS + group[None, :]
    mask = (group < GROUPS)[None, :]
    # Zero points are packed in pairs, and every output has an even number of groups.
    packed = tl.load(zero + offsets // 2, mask=mask, other=0)
    zeros = (packed >> (4 * (offsets % 2)).to(tl.uint8)) & 15
    return tl.load(scale + offsets, mask=mask, other=0.0).to(tl.float32), zeros.to(tl.float32)


@triton.jit
def store_output(y, residual, out, offsets, mask, ACTIVATION: tl.constexpr, HAS_RESIDUAL: tl.constexpr):
    """out = residual + activation(y)."""
    y = activation(y, ACTIVATION)
    if HAS_RESIDUAL:
        y += tl.load(residual + offsets, mask=mask)
    tl.store(out + offsets, y, mask=mask)


@triton.jit
def activation(x, ACTIVATION: tl.constexpr):
    """GELU (exact), ReLU, or x itself."""
    if ACTIVATION == "gelu":
        x = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    if ACTIVATION == "relu":
        x = tl.maximum(x, 0.0)
    return x
