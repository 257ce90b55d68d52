"""The loss balancer: several losses, one gradient at the waveform (Défossez et al. 2022, section 3.4).

The gradient of each loss is divided by the moving average of its norm, so that its weight is its share of the total gradient,
whatever the scale of the losses.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class Balancer(nn.Module):
    """Combines the gradients of losses.

    Attributes:
        norms: [losses], moving averages of the norms.
        seen: [losses], their bias corrections (as in Adam): 1 - decay^updates.
    """

    norms: torch.Tensor
    seen: torch.Tensor

    def __init__(self, weights: Mapping[str, float], decay: float = 0.999) -> None:
        super().__init__()
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.decay = decay
        self.register_buffer("norms", torch.zeros(len(self.weights)))
        self.register_buffer("seen", torch.zeros(len(self.weights)))

    def gradient(self, losses: Mapping[str, torch.Tensor], waves: torch.Tensor) -> torch.Tensor:
        """The gradient to propagate back from `waves`.

        Args:
            losses: Scalars that depend on `waves`, means over B. Those without a weight are ignored.
            waves: [B, C, T].

        Returns:
            [B, C, T]; the mean norm over the crops is about 1 / B, as for a mean over crops.
        """
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
