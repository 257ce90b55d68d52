"""What kernels share: how one begins behind the other, what weights of 4 bits mean, what happens to a product in the end."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from musicgen.engine.linear import INT4_GROUP

FLOAT, INT8, INT4 = tl.constexpr(0), tl.constexpr(8), tl.constexpr(4)
GROUP = tl.constexpr(INT4_GROUP)


@triton.jit
def begin(OVERLAP: tl.constexpr):
    """Let the kernel behind begin, and wait for the end of the one before: what is read ahead of this must not be its work."""
    if OVERLAP:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def scales_and_zeros(scale, zero, outs, group, INPUTS: tl.constexpr):
    """[outs, groups] each, float32: a weight is scale (code - zero). Scales are 0 past the last group."""
    GROUPS: tl.constexpr = INPUTS // GROUP
    place = outs[:, None] * GROUPS + group[None, :]
    there = (group < GROUPS)[None, :]
    both = tl.load(
        zero + place // 2, mask=there, other=0
    )  # two groups a byte, and each output has an even number of them
    zeros = (both >> (4 * (place % 2)).to(tl.uint8)) & 15
    return tl.load(scale + place, mask=there, other=0.0).to(tl.float32), zeros.to(tl.float32)


@triton.jit
def leave(made, residual, out, places, inside, ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr):
    made = activated(made, ACTIVATION)
    if RESIDUAL:
        made += tl.load(residual + places, mask=inside)
    tl.store(out + places, made, mask=inside)


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "gelu":
        x = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    if ACTIVATION == "relu":
        x = tl.maximum(x, 0.0)
    return x
