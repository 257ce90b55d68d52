"""Many rows, multiplied by tensor cores, in 16 bits."""

from __future__ import annotations

import triton
import triton.language as tl

from musicgen.engine.fused.ends import FLOAT, GROUP, INT4, INT8, begin, leave, scales_and_zeros


@triton.jit
def tiles(
    x, codes, scale, zero, gain, shift, residual, out, rows,
    INPUTS: tl.constexpr, LEAVING: tl.constexpr, KIND: tl.constexpr, NORM: tl.constexpr, EPS: tl.constexpr,
    ACTIVATION: tl.constexpr, RESIDUAL: tl.constexpr, ROWS: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    """OUTS outputs of ROWS rows."""
    outs = tl.program_id(0) * OUTS + tl.arange(0, OUTS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    real = (row < rows)[:, None]
    within = tl.arange(0, PART)[None, :]
    start = x + row[:, None] * INPUTS
    begin(OVERLAP)
    if NORM:
        total = tl.zeros([ROWS, PART], tl.float32)
        for first in range(0, INPUTS, PART):
            total += tl.load(start + first + within, mask=real, other=0.0)
        mean = (tl.sum(total, 1) / INPUTS)[:, None]
        total = tl.zeros([ROWS, PART], tl.float32)
        for first in range(0, INPUTS, PART):
            apart = tl.load(start + first + within, mask=real, other=0.0) - mean
            total += apart * apart
        spread = (1 / tl.sqrt(tl.sum(total, 1) / INPUTS + EPS))[:, None]
    kind = tl.bfloat16 if KIND != FLOAT else codes.dtype.element_ty
    made = tl.zeros([ROWS, OUTS], tl.float32)
    for first in range(0, INPUTS, PART):
        inputs = tl.load(start + first + within, mask=real, other=0.0)
        if NORM:
            times = tl.load(gain + first + within).to(tl.float32)
            inputs = (inputs - mean) * spread * times + tl.load(shift + first + within).to(tl.float32)
        weights = _weights(codes, scale, zero, outs, first, INPUTS, KIND, OUTS, PART)
        made = tl.dot(inputs.to(kind), tl.trans(weights.to(kind)), made)
    if KIND == INT8:
        made *= tl.load(scale + outs).to(tl.float32)[None, :]
    leave(made, residual, out, row[:, None] * LEAVING + outs[None, :], real, ACTIVATION, RESIDUAL)


@triton.jit
def _weights(
    codes, scale, zero, outs, first,
    INPUTS: tl.constexpr, KIND: tl.constexpr, OUTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """[OUTS, PART] float32; of 8 bits not scaled yet."""
    if KIND == INT4:
        places = outs[:, None] * (INPUTS // 2) + first // 2 + tl.arange(0, PART // 2)[None, :]
        two = tl.load(codes + places)
        weights = tl.interleave(two & 15, two >> 4).to(tl.float32)
        scales, zeros = scales_and_zeros(scale, zero, outs, tl.arange(0, PART // GROUP) + first // GROUP, INPUTS)
        grouped = tl.reshape(weights, [OUTS, PART // GROUP, GROUP])
        weights = tl.reshape((grouped - zeros[:, :, None]) * scales[:, :, None], [OUTS, PART])
    else:
        places = outs[:, None] * INPUTS + first + tl.arange(0, PART)[None, :]
        weights = tl.load(codes + places).to(tl.float32)
    return weights
