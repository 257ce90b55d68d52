"""Linear layers whose weights are kept in 8 or 4 bits.

A step of generation reads every weight once for a row or two: its time is the bytes read. Here stands what the bits mean.
On CUDA, PyTorch's own kernels multiply by them in bfloat16; elsewhere `forward` says in float32 what they mean, and on most
CPUs the engine multiplies without unpacking (`graph.py`).
Shapes: x [..., in] -> [..., out]. It knows nothing of the model around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

INT4_GROUP = 128
"""Weights that share a scale and a zero point."""
TILES = 8
"""Of 16 inputs each, that a thread of the CUDA kernel reads at once."""


class Int8Linear(nn.Module):
    """One scale for each output, symmetric: w = scale * q, q in [-127, 127]."""

    codes: torch.Tensor
    """[out, in] int8."""
    scale: torch.Tensor
    """[out, 1] float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.register_buffer("scale", weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127)
        self.register_buffer("codes", (weight / self.scale).round().to(torch.int8))

    @property
    def weight(self) -> torch.Tensor:
        """[out, in] float32, unpacked."""
        return self.codes.float() * self.scale.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda:
            rows = x.reshape(-1, x.shape[-1])
            return torch._weight_int8pack_mm(rows, self.codes, self.scale[:, 0].to(x.dtype)).view(*x.shape[:-1], -1)
        return F.linear(x, self.weight)


class Int4Linear(nn.Module):
    """A scale and a zero point for each group of 128 weights of an output: w = scale * (q - zero), both in [0, 15]."""

    codes: torch.Tensor
    """[out, groups, 64] uint8, two weights a byte, the first in the low bits."""
    zero: torch.Tensor
    """[out, groups / 2] uint8, packed alike."""
    scale: torch.Tensor
    """[out, groups, 1] float32."""
    tiles: tuple[torch.Tensor, torch.Tensor] | None = None
    """On CUDA, what its kernel reads: the codes in tiles, and `scales_and_zeros`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        if not fits_int4(linear):
            raise ValueError(f"a layer {linear.in_features} -> {linear.out_features} does not split into int4 groups")
        groups = linear.weight.detach().float().unflatten(1, (-1, INT4_GROUP))
        low, high = groups.aminmax(dim=-1, keepdim=True)
        low, high = low.clamp(max=0), high.clamp(min=0)
        self.register_buffer("scale", ((high - low) / 15).clamp(min=1e-12))
        zero = (-low / self.scale).round()
        self.register_buffer("codes", _pack((groups / self.scale).round() + zero))
        self.register_buffer("zero", _pack(zero[..., 0]))

    @property
    def weight(self) -> torch.Tensor:
        """[out, in] float32, unpacked."""
        return (self.scale.float() * (_unpack(self.codes) - _unpack(self.zero)[..., None])).flatten(1)

    @property
    def shift(self) -> torch.Tensor:
        """[out, groups] float32, what a group's zero stands for: w = scale * q - shift."""
        return self.scale[..., 0].float() * _unpack(self.zero)

    @property
    def scales_and_zeros(self) -> torch.Tensor:
        """[groups, out, 2] bfloat16, as PyTorch's int4 kernels have them: w = scale * (q - 8) + zero."""
        scale = self.scale[..., 0].float()
        return torch.stack([scale, scale * (8 - _unpack(self.zero))], dim=-1).transpose(0, 1).contiguous().bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.tiles is not None:
            rows = x.reshape(-1, x.shape[-1])
            return torch._weight_int4pack_mm(rows, self.tiles[0], INT4_GROUP, self.tiles[1]).view(*x.shape[:-1], -1)
        return F.linear(x, self.weight)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Wherever the layer is moved."""
        super()._apply(fn, recurse)
        self.tiles = None
        if self.codes.is_cuda:
            first_high = (self.codes << 4 | self.codes >> 4).flatten(1)  # the kernel's order within a byte
            self.tiles = torch._convert_weight_to_int4pack(first_high, TILES), self.scales_and_zeros
        return self


def fits_int4(linear: nn.Linear) -> bool:
    """Whether a layer splits into whole groups, an even number of them."""
    return linear.in_features % (2 * INT4_GROUP) == 0


def _pack(codes: torch.Tensor) -> torch.Tensor:
    codes = codes.clamp(0, 15).to(torch.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4


def _unpack(codes: torch.Tensor) -> torch.Tensor:
    return torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2).float()
