"""AdamW, D-Adaptation or Muon, the schedule of the learning rate, the moving average of the weights (paper section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from dadaptation import DAdaptAdam
from torch import nn
from transformers.models.t5.modeling_t5 import T5Block

from musicgen.training.lm.config import Optimisation
from musicgen.transformer import Block


def optimiser(network: nn.Module, options: Optimisation) -> torch.optim.Optimizer:
    """Weight decay for matrices only."""
    betas = (options.betas[0], options.betas[1])
    if options.optimiser == "muon":
        return Muon(network, options.learning_rate, options.weight_decay, betas)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimiser == "dadaptation":
        return DAdaptAdam(groups, lr=options.learning_rate, betas=betas, decouple=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=betas, fused=True)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the matrices inside the transformers, AdamW for tables, heads and vectors.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2), so
    both take the same learning rate. The two of PyTorch do the work, on groups and states that are kept here as one.
    """

    def __init__(
        self, network: nn.Module, learning_rate: float, weight_decay: float, betas: tuple[float, float]
    ) -> None:
        layers = [module for module in network.modules() if isinstance(module, (Block, T5Block))]
        inner = {
            parameter
            for layer in layers
            for module in layer.modules()
            if isinstance(module, nn.Linear)
            for parameter in module.parameters()
            if parameter.requires_grad and parameter.dim() == 2
        }
        rest = [p for p in network.parameters() if p.requires_grad and p not in inner]
        groups = [
            {"params": [p for p in network.parameters() if p in inner], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
        ]
        muon = torch.optim.Muon(groups[:1], lr=learning_rate, adjust_lr_fn="match_rms_adamw") if inner else None
        adamw = torch.optim.AdamW([g for g in groups[1:] if g["params"]], lr=learning_rate, betas=betas, fused=True)
        self._parts = [part for part in (muon, adamw) if part is not None]
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give the two parts the groups and the states that lie here."""
        groups = iter(self.param_groups)
        for part in self._parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise NotImplementedError("Muon takes no closure")
        for part in self._parts:
            part.step()


def learning_rate(options: Optimisation, step: int) -> float:
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
