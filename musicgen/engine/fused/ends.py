"""What the kernels for few rows and for many share: the kinds of weights, and what happens to a product in the end."""

from __future__ import annotations

import triton
import triton.language as tl

from musicgen.engine.linear import INT4_GROUP

FLOAT, INT8, INT4 = tl.constexpr(0), tl.constexpr(8), tl.constexpr(4)
GROUP = tl.constexpr(INT4_GROUP)


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
