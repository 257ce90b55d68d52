"""The exponential moving average (EMA) of a model's weights, which is what is validated and exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class MovingAverage:
    """The average of the parameters that require gradients, shard by shard where they are sharded.

    As a context manager it swaps the average in: inside `with average:` the parameters have the averaged values.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        """decay: of the average in each step; 0 keeps no average, the weights are taken as they are."""
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in self.parameters]
        self._kept: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self, decay: float | None = None) -> None:
        """After a step of the optimiser. decay: in place of the average's own, for a warm-up."""
        if self.decay:
            weight = 1 - (self.decay if decay is None else decay)
            torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self.parameters], weight)

    @torch.no_grad()
    def __enter__(self) -> None:
        if self.decay:
            self._kept = [parameter.detach().clone() for parameter in self.parameters]
            for parameter, value in zip(self.parameters, self.values, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for parameter, value in zip(self.parameters, self._kept, strict=bool(self._kept)):
            parameter.copy_(value)
        self._kept = []
