"""A linear layer with the layer norm before it and the activation and residual after it, as one kernel.

    out [rows, outputs] = residual + activation(norm(x [rows, inputs]) @ weight.T)       all float32 but the weight

A few rows are computed by a GEMV kernel, two rows per program; more rows, with weights of at most 16 bits, by a GEMM kernel on
tensor cores. float32 always takes the GEMV kernel, so that the result of a row does not depend on the size of the batch.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import nn

from musicgen.engine.backends.triton import BLOCK_N, block_k, pdl_options
from musicgen.engine.backends.triton.epilogue import FLOAT, INT4, INT8
from musicgen.engine.backends.triton.gemm import gemm
from musicgen.engine.backends.triton.gemv import gemv, gemv_int4
from musicgen.engine.linear import Int4Linear, Int8Linear

GEMV_MAX_ROWS = 4
"""Largest batch for which GEMV is used with weights of at most 16 bits."""
WEIGHTS_PER_THREAD = 64
"""Weights that each thread of the GEMV loads at once."""
WARP_SIZE = 32
"""Threads per warp."""


def linear(
    x: torch.Tensor,
    layer: nn.Module,
    out: torch.Tensor,
    *,
    norm: nn.LayerNorm | None = None,
    activation: str = "",
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute residual + activation(norm(x) @ weight.T).

    Args:
        x: [rows, inputs] float32.
        layer: nn.Linear without bias, Int8Linear or Int4Linear.
        out: [rows, outputs] float32, overwritten.
        norm: Layer norm of the inputs, if any.
        activation: "gelu", "relu" or "" for none.
        residual: [rows, outputs] float32; may be `out` itself.

    Returns:
        `out`.
    """
    weight, scale, zero, kind = _weight_tensors(layer)
    rows, inputs = x.shape
    outputs = out.shape[1]
    gain, shift = (x, x) if norm is None else (norm.weight, norm.bias)
    arguments = (x, weight, scale, zero, gain, shift, out if residual is None else residual, out, rows)
    constants: dict[str, Any] = {
        "K": inputs, "N": outputs, "WEIGHT_KIND": kind, "HAS_NORM": norm is not None, "EPS": norm.eps if norm else 0.0,
        "ACTIVATION": activation, "HAS_RESIDUAL": residual is not None, **pdl_options(x.device),
    }  # fmt: skip
    if rows <= GEMV_MAX_ROWS or weight.dtype == torch.float32:
        padded_inputs = triton.next_power_of_2(inputs)
        block_n = 8 if padded_inputs <= 1024 else 4
        kernel = gemv_int4 if kind == INT4.value else gemv
        warps = min(16, max(1, block_n * padded_inputs // WEIGHTS_PER_THREAD // WARP_SIZE))
        grid = (outputs // block_n, -(-rows // 2))
        kernel[grid](*arguments, **constants, BLOCK_N=block_n, BLOCK_K=padded_inputs, num_warps=warps)
    else:
        block_m = 16 if rows <= 16 else 32
        grid = (outputs // BLOCK_N, -(-rows // block_m))
        gemm[grid](*arguments, **constants, BLOCK_M=block_m, BLOCK_N=BLOCK_N, BLOCK_K=block_k(inputs), num_warps=4)
    return out


def _weight_tensors(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Weights or their codes, scales, zero points, kind. Where a kind lacks one, another tensor stands in and is not read."""
    if isinstance(layer, Int8Linear):
        return layer.codes, layer.scale, layer.codes, INT8.value
    if isinstance(layer, Int4Linear):
        return layer.codes, layer.scale, layer.zero, INT4.value
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer.weight, layer.weight, FLOAT.value
