"""AdamW, D-Adaptation or Muon, and the schedule of the learning rate (paper section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from dadaptation import DAdaptAdam
from torch import nn

from musicgen.conditioners.t5 import T5Block
from musicgen.training.lm.config import Optimisation
from musicgen.training.trainer import cosine_decay
from musicgen.transformer import Block


def optimiser(network: nn.Module, options: Optimisation) -> torch.optim.Optimizer:
    """The optimiser of the parameters that require gradients, with weight decay for matrices only."""
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

    Muon's updates are scaled to the RMS of AdamW's (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2), so both
    use one learning rate. PyTorch's two optimisers make the steps; their groups and states are combined here.
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
        """Make the two optimisers use the combined groups and state."""
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
    """The learning rate of step `step` (from 0): linear warm-up, then cosine decay to the floor at the last step."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    share = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.learning_rate * cosine_decay(share, options.floor)
