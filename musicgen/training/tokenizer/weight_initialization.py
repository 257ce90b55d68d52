"""Initial weights of convolutional tokenisers."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def variance_preserving_init(network: nn.Module) -> None:
    """Give a network under weight norm initial weights that make every layer's output about as loud as its input (He et al.
    2015, equation 10). With PyTorch's own, each layer loses 5 dB, and hundreds of steps go by before any sound reaches the
    codes."""
    for layer in network.modules():
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        # A transposed convolution of twice its stride adds two taps a sample.
        taps = layer.kernel_size[0] if isinstance(layer, nn.Conv1d) else layer.kernel_size[0] / layer.stride[0]
        # An assignment, not a copy: weight norm splits it into length and direction.
        layer.weight = torch.randn_like(layer.weight) / (layer.in_channels * taps) ** 0.5
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
