"""Linear layers with int8 or int4 weights.

Decoding is memory-bound: a step reads every weight once for a few rows, so its time is proportional to the bytes of the
weights. These modules define the number formats; `forward` dequantises and is the reference. The back ends multiply the
packed weights directly.

Shapes: x [..., in] -> [..., out].
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

INT4_GROUP = 128
"""Weights per quantisation group: they share a scale and a zero point."""


ROWS_AT_ONCE = 128
"""Outputs that are quantised at a time."""


class Int8Linear(nn.Module):
    """Symmetric int8 weights with one scale per output: w = scale * q, q in [-127, 127].

    Args:
        linear: The float layer to quantise; its bias is not supported.
    """

    codes: torch.Tensor
    """[out, in] int8."""
    scale: torch.Tensor
    """[out, 1] float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        low, high = weight.aminmax(dim=1, keepdim=True)
        self.register_buffer("scale", torch.maximum(-low, high).clamp(min=1e-12) / 127)
        self.register_buffer("codes", torch.empty_like(weight, dtype=torch.int8))
        # A few outputs at a time: temporary copies of whole layers would leave holes in the heap while a model is loaded.
        for outputs in (slice(i, i + ROWS_AT_ONCE) for i in range(0, len(weight), ROWS_AT_ONCE)):
            self.codes[outputs] = (weight[outputs] / self.scale[outputs]).round()

    @property
    def weight(self) -> torch.Tensor:
        """[out, in] float32, dequantised."""
        return self.codes.float() * self.scale.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        return F.linear(x, self.weight.to(x.dtype))


class Int4Linear(nn.Module):
    """Asymmetric int4 weights in groups of 128 along the input: w = scale * (q - zero), q and zero in [0, 15].

    Args:
        linear: The float layer to quantise; its bias is not supported.

    Raises:
        ValueError: If the inputs do not split into an even number of groups.
    """

    codes: torch.Tensor
    """[out, groups, 64] uint8, two weights per byte, the first in the low nibble."""
    zero: torch.Tensor
    """[out, groups / 2] uint8, packed in the same way."""
    scale: torch.Tensor
    """[out, groups, 1] float32."""

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
        """[out, in] float32, dequantised."""
        return (self.scale.float() * (_unpack(self.codes) - _unpack(self.zero)[..., None])).flatten(1)

    @property
    def shift(self) -> torch.Tensor:
        """[out, groups] float32, the zero points in units of the weights: w = scale * q - shift."""
        return self.scale[..., 0].float() * _unpack(self.zero)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        return F.linear(x, self.weight.to(x.dtype))


def fits_int4(linear: nn.Linear) -> bool:
    """Whether a layer's inputs split into an even number of whole int4 groups (zero points are packed in pairs)."""
    return linear.in_features % (2 * INT4_GROUP) == 0


def _pack(codes: torch.Tensor) -> torch.Tensor:
    codes = codes.clamp(0, 15).to(torch.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4


def _unpack(codes: torch.Tensor) -> torch.Tensor:
    return torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2).float()
