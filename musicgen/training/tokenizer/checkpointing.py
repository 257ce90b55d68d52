"""A training run's state: made from a recipe, written to and read from a checkpoint.

A checkpoint holds all that changes from step to step, the random stream too, so a run that goes on from one takes the same
steps as a run that was never interrupted. It knows neither the audio nor the steps.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicgen import audio
from musicgen.checkpoint.tensors import read_pickle
from musicgen.errors import InputError
from musicgen.training.recipe import differences
from musicgen.training.tokenizer.config import Optimisation, TokenizerRecipe
from musicgen.training.tokenizer.dac import DacTrainer
from musicgen.training.tokenizer.discriminator import Discriminator
from musicgen.training.tokenizer.encodec import EncodecTrainer
from musicgen.training.tokenizer.loss_balancer import Balancer
from musicgen.training.tokenizer.losses import SpectralLosses

CHECKPOINT = "checkpoint.pt"
FREE = ("steps", "max_seconds", "log_every", "validate_every", "checkpoint_every", "compile")
"""What may change between a run and its continuation."""


@dataclass
class TrainingState:
    """The state of a run: all that changes from step to step."""

    recipe: TokenizerRecipe
    device: torch.device
    model: EncodecTrainer | DacTrainer
    optimiser: torch.optim.AdamW
    discriminator: Discriminator | None
    discriminator_optimiser: torch.optim.AdamW | None
    balancer: Balancer
    spectral: SpectralLosses
    average: list[torch.Tensor]
    """Moving averages of the model's parameters, in their order."""
    generator: torch.Generator
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Spent on them, in all sessions."""
    history: list[dict[str, float]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "discriminator": self.discriminator and self.discriminator.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser and self.discriminator_optimiser.state_dict(),
            "balancer": self.balancer.state_dict(),
            "average": self.average,
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.discriminator is not None and self.discriminator_optimiser is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.balancer.load_state_dict(state["balancer"])
        for ours, theirs in zip(self.average, state["average"], strict=True):
            ours.copy_(theirs)
        self.generator.set_state(state["generator"].cpu())


def new_state(recipe: TokenizerRecipe, device: torch.device) -> TrainingState:
    """A run before its first step."""
    kind = EncodecTrainer if recipe.family == "encodec" else DacTrainer
    judge, discriminator, discriminator_optimiser = recipe.adversarial, None, None
    # transformers initialises from the global stream: here it starts at the seed, and afterwards is as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        model = kind(recipe.shape, recipe.quantisation).to(device)
        if judge is not None:
            discriminator = Discriminator(judge.windows, judge.filters).to(device)
            discriminator_optimiser = _optimiser(discriminator, recipe.optimisation, judge.learning_rate)
    losses = recipe.losses
    weights = {"wave": losses.wave, "mel": losses.mel, "stft": losses.stft}
    if judge is not None:
        weights |= {"adversarial": losses.adversarial, "features": losses.features}
    return TrainingState(
        recipe,
        device,
        model,
        _optimiser(model, recipe.optimisation, recipe.optimisation.learning_rate),
        discriminator,
        discriminator_optimiser,
        Balancer(weights).to(device),
        SpectralLosses(recipe.shape.sample_rate, losses.windows).to(device),
        [parameter.detach().clone() for parameter in model.parameters()],
        torch.Generator(device).manual_seed(recipe.seed),
    )


def resume(run: TrainingState, output: Path) -> bool:
    """Put the run into the state of the checkpoint in `output`; False if there is none."""
    path = output / CHECKPOINT
    if not path.is_file():
        return False
    state = read_pickle(path)
    recipe = TokenizerRecipe.from_dict(state["recipe"])
    changed = differences(_comparable(recipe), _comparable(run.recipe))
    if changed:
        raise InputError(f"{output} holds a run of another recipe ({', '.join(changed)}): choose another folder")
    run.load_state(state)
    return True


def save_checkpoint(run: TrainingState, output: Path) -> None:
    """Write the run's state into `output`, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(run.state(), buffer)
    audio.write_bytes(output / CHECKPOINT, buffer.getvalue())


@contextlib.contextmanager
def averaged(run: TrainingState) -> Iterator[None]:
    """Inside, the model's weights are their moving average."""
    if run.recipe.optimisation.average == 0:
        yield
        return
    kept = [parameter.detach().clone() for parameter in run.model.parameters()]
    try:
        _overwrite(run.model, run.average)
        yield
    finally:
        _overwrite(run.model, kept)


@torch.no_grad()
def _overwrite(module: nn.Module, values: list[torch.Tensor]) -> None:
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value)


def _optimiser(module: nn.Module, options: Optimisation, rate: float) -> torch.optim.AdamW:
    groups = [{"params": list(module.parameters()), "initial_lr": rate}]
    betas = (options.betas[0], options.betas[1])
    return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=options.weight_decay, fused=True)


def _comparable(recipe: TokenizerRecipe) -> dict[str, Any]:
    defaults = Optimisation()
    free = {name: getattr(defaults, name) for name in FREE}
    return replace(recipe, optimisation=replace(recipe.optimisation, **free)).as_dict()
