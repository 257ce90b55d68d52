"""Initial weights of convolutional tokenisers."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def variance_preserving_init(network: nn.Module) -> None:
    """Initialise a network with weight norm so that every layer preserves the variance (He et al. 2015, equation 10).

    With PyTorch's default each layer loses 5 dB, and it takes hundreds of steps until any signal reaches the quantiser.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        # In a transposed convolution with kernel 2 * stride, two taps contribute to a sample.
        taps = layer.kernel_size[0] if isinstance(layer, nn.Conv1d) else layer.kernel_size[0] / layer.stride[0]
        # Assigned, not copied in place: weight norm splits it into norm and direction.
        layer.weight = torch.randn_like(layer.weight) / (layer.in_channels * taps) ** 0.5
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
