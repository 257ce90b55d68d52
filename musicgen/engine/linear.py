"""Linear layers with weights of 8 or 4 bits on the CPU, multiplied by PyTorch's own kernels.

A step of generation reads every weight once for a row or two: its time is the bytes read. Activations stay bfloat16.
Shapes: x [..., in] -> [..., out]. It knows nothing of the model around it.
"""

from __future__ import annotations

import torch
from torch import nn

INT4_GROUP = 128
"""Weights that share a scale and a zero point."""
INT4_ROWS = 16
"""The kernel works on this many outputs at once."""


class Int8Linear(nn.Module):
    """One scale for each output, symmetric: w = scale * q, q in [-127, 127]."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.bfloat16())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        return torch._weight_int8pack_mm(flat, self.weight, self.scale).view(*x.shape[:-1], -1)


class Int4Linear(nn.Module):
    """A scale and a zero point for each group of 128 weights of an output: w = scale * (q - 8) + zero, q in [0, 15]."""

    weight: torch.Tensor
    scale_and_zero: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        if not fits_int4(linear):
            raise ValueError(f"a layer {linear.in_features} -> {linear.out_features} does not split into int4 groups")
        groups = linear.weight.detach().float().unflatten(1, (-1, INT4_GROUP))
        low, high = groups.aminmax(dim=-1, keepdim=True)
        scale = ((high - low) / 15).clamp(min=1e-12)
        zero = low + 8 * scale
        codes = ((groups - low) / scale).round().clamp(0, 15).to(torch.int32).flatten(1)
        self.register_buffer("weight", torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 2))
        both = torch.cat([scale, zero], dim=-1).transpose(0, 1).contiguous()  # [groups, out, 2]
        self.register_buffer("scale_and_zero", both.bfloat16())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.weight, INT4_GROUP, self.scale_and_zero)
        return product.view(*x.shape[:-1], -1)


def fits_int4(linear: nn.Linear) -> bool:
    """Whether a layer splits into whole groups."""
    return linear.in_features % INT4_GROUP == 0 and linear.out_features % INT4_ROWS == 0
