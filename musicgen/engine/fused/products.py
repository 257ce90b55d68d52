"""Products with a layer's weights, and what comes before and after: norm; activation, residual.

    out [rows, outputs] = residual + activation(norm(x [rows, inputs]) @ weight.T), all float32 but for the weight

Rows in pairs are multiplied one number at a time, the weights read once and spread over all programs; more rows than a few,
with weights of 16 bits or fewer, by tensor cores. In float32 rows are always in pairs, so that a row's numbers do not depend on
how many there are.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import nn

from musicgen.engine.fused import OUTS, overlapping, part
from musicgen.engine.fused.ends import FLOAT, INT4, INT8
from musicgen.engine.fused.pairs import pairs, pairs_of_groups
from musicgen.engine.fused.tiles import tiles
from musicgen.engine.linear import Int4Linear, Int8Linear

IN_PAIRS = 4
"""Rows of weights of 16 bits or fewer that are still multiplied in pairs."""
OF_A_THREAD = 64
"""Weights that a thread asks for at once, where rows are in pairs."""
WARP = 32
"""Threads."""


def product(
    x: torch.Tensor,
    layer: nn.Module,
    out: torch.Tensor,
    *,
    norm: nn.LayerNorm | None = None,
    activation: str = "",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """x [rows, inputs] and residual [rows, outputs] float32; `out` may be the residual itself. layer: nn.Linear without bias,
    Int8Linear or Int4Linear; activation: gelu, relu or none. Returns `out`."""
    codes, scale, zero, kind = _parts(layer)
    rows, inputs = x.shape
    outputs = out.shape[1]
    gain, shift = (x, x) if norm is None else (norm.weight, norm.bias)
    arguments = (x, codes, scale, zero, gain, shift, out if residual is None else residual, out, rows)
    constants: dict[str, Any] = {
        "INPUTS": inputs, "LEAVING": outputs, "KIND": kind, "NORM": norm is not None, "EPS": norm.eps if norm else 0.0,
        "ACTIVATION": activation, "RESIDUAL": residual is not None, **overlapping(x.device),
    }  # fmt: skip
    if rows <= IN_PAIRS or codes.dtype == torch.float32:
        wide = triton.next_power_of_2(inputs)
        outs = 8 if wide <= 1024 else 4
        kernel = pairs_of_groups if kind == INT4.value else pairs
        warps = min(16, max(1, outs * wide // OF_A_THREAD // WARP))
        kernel[outputs // outs, -(-rows // 2)](*arguments, **constants, OUTS=outs, WIDE=wide, num_warps=warps)
    else:
        tall = 16 if rows <= 16 else 32
        grid = (outputs // OUTS, -(-rows // tall))
        tiles[grid](*arguments, **constants, ROWS=tall, OUTS=OUTS, PART=part(inputs), num_warps=4)
    return out


def _parts(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Weights or their codes, scales, zeros, kind; what a kind has not is its codes once more, and not read."""
    if isinstance(layer, Int8Linear):
        return layer.codes, layer.scale, layer.codes, INT8.value
    if isinstance(layer, Int4Linear):
        return layer.codes, layer.scale, layer.zero, INT4.value
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer.weight, layer.weight, FLOAT.value
