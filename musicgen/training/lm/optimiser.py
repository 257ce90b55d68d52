"""AdamW or D-Adaptation, the schedule of the learning rate, the moving average of the weights (paper section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from dadaptation import DAdaptAdam
from torch import nn

from musicgen.training.lm.config import Optimisation


def optimiser(network: nn.Module, options: Optimisation) -> torch.optim.Optimizer:
    """Weight decay for matrices only."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (options.betas[0], options.betas[1])
    if options.optimiser == "dadaptation":
        return DAdaptAdam(groups, lr=options.learning_rate, betas=betas, decouple=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=betas, fused=True)


def rate(options: Optimisation, step: int) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, then a cosine down to the floor at the last step."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    share = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.learning_rate * (options.floor + (1 - options.floor) * (1 + math.cos(math.pi * share)) / 2)


class Average:
    """The moving average of the parameters that learn, shard by shard where they are sharded."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in self.parameters]
        self._kept: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        """After a step."""
        if self.decay:
            torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for ours, theirs in zip(self.values, state["values"], strict=True):
            ours.copy_(theirs)

    @torch.no_grad()
    def __enter__(self) -> None:
        """Inside, the parameters are their average."""
        if self.decay:
            self._kept = [parameter.detach().clone() for parameter in self.parameters]
            for parameter, value in zip(self.parameters, self.values, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for parameter, value in zip(self.parameters, self._kept, strict=bool(self._kept)):
            parameter.copy_(value)
        self._kept = []
