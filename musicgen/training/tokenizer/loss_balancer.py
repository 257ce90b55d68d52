"""Several losses, one gradient at the waveform (Défossez et al. 2022, section 3.4).

Each loss's gradient is divided by the moving average of its length, so that its weight is its share of the whole, whatever
its scale or that of the others. It knows neither the losses nor the network behind the waveform.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class Balancer(nn.Module):
    """norms: [losses], moving averages of the gradients' lengths; seen: [losses], the share of each average that is not
    the 0 it began with."""

    norms: torch.Tensor
    seen: torch.Tensor

    def __init__(self, weights: Mapping[str, float], decay: float = 0.999) -> None:
        super().__init__()
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.decay = decay
        self.register_buffer("norms", torch.zeros(len(self.weights)))
        self.register_buffer("seen", torch.zeros(len(self.weights)))

    def gradient(self, losses: Mapping[str, torch.Tensor], waves: torch.Tensor) -> torch.Tensor:
        """Losses that depend on `waves` [B, C, T], means over B -> the gradient to send back from `waves`. Its length, in
        the mean over the crops, is about 1 / B, as that of a mean over crops. Losses without a weight are left out."""
        active = [name for name in self.weights if name in losses]
        share = sum(self.weights[name] for name in active)
        total = torch.zeros_like(waves)
        for i, name in enumerate(self.weights):
            if name not in active:
                continue
            (gradient,) = torch.autograd.grad(losses[name], waves, retain_graph=True)
            length = gradient.flatten(1).norm(dim=1).mean()
            self.norms[i] = self.decay * self.norms[i] + (1 - self.decay) * length
            self.seen[i] = self.decay * self.seen[i] + (1 - self.decay)
            average = self.norms[i] / self.seen[i]
            total += self.weights[name] / share * gradient / (average + 1e-12) / len(waves)
        return total
