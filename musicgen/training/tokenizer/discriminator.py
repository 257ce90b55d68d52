"""The multi-scale STFT discriminator and its losses (Défossez et al. 2022, section 3.4 and appendix A.1).

Each scale is a convolutional network on a complex spectrogram [real | imaginary, frames, bins] with its own window, and returns
logits for every position.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""

Activations = list[list[torch.Tensor]]
"""For each scale the activations of its layers; the last are the logits."""


class Scale(nn.Module):
    """One window's network."""

    window: torch.Tensor

    def __init__(self, window: int, filters: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window))
        layers = [_convolution(2, filters, (3, 9), (1, 1), 1)]
        # Dilated over frames, strided over bins.
        layers += [_convolution(filters, filters, (3, 9), (1, 2), dilation) for dilation in (1, 2, 4)]
        layers += [_convolution(filters, filters, (3, 3), (1, 1), 1), _convolution(filters, 1, (3, 3), (1, 1), 1)]
        self.layers = nn.ModuleList(layers)

    def forward(self, waves: torch.Tensor) -> list[torch.Tensor]:
        """[B, 1, T] -> activations [B, filters, frames, bins], the last of one channel."""
        size = self.window.shape[0]
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = torch.stft(waves.squeeze(1), size, size // 4, window=self.window, return_complex=True)
            hidden = torch.view_as_real(spectrum / self.window.square().sum().sqrt()).permute(0, 3, 2, 1)
        activations = []
        for layer in self.layers[:-1]:
            hidden = F.leaky_relu(layer(hidden), SLOPE)
            activations.append(hidden)
        return [*activations, self.layers[-1](hidden)]


class Discriminator(nn.Module):
    """All scales."""

    def __init__(self, windows: tuple[int, ...], filters: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Scale(window, filters) for window in windows)

    def forward(self, waves: torch.Tensor) -> Activations:
        return [scale(waves) for scale in self.scales]


def discriminator_loss(real: Activations, fake: Activations) -> torch.Tensor:
    """Hinge: 0 where real is above 1 and fake below -1."""
    losses = [
        F.relu(1 - r[-1].float()).mean() + F.relu(1 + f[-1].float()).mean() for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(fake: Activations) -> torch.Tensor:
    """Hinge, for the tokeniser: 0 where fake is above 1."""
    return torch.stack([F.relu(1 - scale[-1].float()).mean() for scale in fake]).mean()


def feature_loss(real: Activations, fake: Activations) -> torch.Tensor:
    """L1 between activations, relative to the mean size of the real ones."""
    losses = []
    for scale, other in zip(real, fake, strict=True):
        for r, f in zip(scale[:-1], other[:-1], strict=True):
            losses.append(F.l1_loss(f.float(), r.detach().float()) / r.detach().float().abs().mean().clamp(min=1e-6))
    return torch.stack(losses).mean()


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: int
) -> nn.Module:
    padding = (dilation * (kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, (dilation, 1))
    # PyTorch's default weights shrink the activations: at first the logits would hardly depend on the input.
    nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
    return weight_norm(convolution)
