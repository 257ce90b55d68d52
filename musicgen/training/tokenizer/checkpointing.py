"""The training state of a run, and its checkpoint.

A checkpoint contains everything that changes from step to step, including the state of the random generator, so a resumed run
makes the same steps as an uninterrupted one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from musicgen.checkpoint.tensors import read_pickle
from musicgen.training.moving_average import MovingAverage
from musicgen.training.tokenizer.config import Optimisation, TokenizerRecipe
from musicgen.training.tokenizer.discriminator import Discriminator
from musicgen.training.tokenizer.encodec import EncodecTrainer
from musicgen.training.tokenizer.loss_balancer import Balancer
from musicgen.training.tokenizer.losses import SpectralLosses
from musicgen.training.trainer import check_same_recipe, write_checkpoint

if TYPE_CHECKING:
    from musicgen.training.tokenizer.dac import DacTrainer

CHECKPOINT = "checkpoint.pt"
FREE = ("steps", "max_seconds", "log_every", "validate_every", "checkpoint_every", "compile")
"""Fields of `optimisation` that a resumed run may change."""


@dataclass
class TrainingState:
    """All that changes from step to step, and what it is made of."""

    recipe: TokenizerRecipe
    device: torch.device
    model: EncodecTrainer | DacTrainer
    optimiser: torch.optim.AdamW
    discriminator: Discriminator | None
    discriminator_optimiser: torch.optim.AdamW | None
    balancer: Balancer
    spectral: SpectralLosses
    average: MovingAverage
    generator: torch.Generator
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Spent on them, in all sessions."""
    validations: list[dict[str, float]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.validations,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "discriminator": self.discriminator and self.discriminator.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser and self.discriminator_optimiser.state_dict(),
            "balancer": self.balancer.state_dict(),
            "average": self.average.values,
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.step, self.seconds, self.validations = state["step"], state["seconds"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.discriminator is not None and self.discriminator_optimiser is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.balancer.load_state_dict(state["balancer"])
        for ours, theirs in zip(self.average.values, state["average"], strict=True):
            ours.copy_(theirs)
        self.generator.set_state(state["generator"].cpu())


def new_state(recipe: TokenizerRecipe, device: torch.device) -> TrainingState:
    """The state before the first step."""
    kind = EncodecTrainer if recipe.family == "encodec" else _dac_trainer()
    adversarial, discriminator, discriminator_optimiser = recipe.adversarial, None, None
    # The networks are initialised from the global stream: here it starts at the seed, and afterwards is as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        model = kind(recipe.shape, recipe.quantisation)
        if recipe.start.model and isinstance(model, EncodecTrainer):
            model.start_from(recipe.start.model, decoder_only=recipe.start.decoder_only)
        model = model.to(device)
        if adversarial is not None:
            discriminator = Discriminator(adversarial.windows, adversarial.filters).to(device)
            discriminator_optimiser = _optimiser(discriminator, recipe.optimisation, adversarial.learning_rate)
    losses = recipe.losses
    weights = {"wave": losses.wave, "mel": losses.mel, "stft": losses.stft}
    if adversarial is not None:
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
        MovingAverage(list(model.parameters()), recipe.optimisation.average),
        torch.Generator(device).manual_seed(recipe.seed),
    )


def _dac_trainer() -> type[DacTrainer]:
    from musicgen.training.tokenizer.dac import DacTrainer  # transformers' network takes seconds to import

    return DacTrainer


def resume(run: TrainingState, output: Path) -> bool:
    """Load the checkpoint in `output`; False if there is none."""
    path = output / CHECKPOINT
    if not path.is_file():
        return False
    state = read_pickle(path)
    recipe = TokenizerRecipe.from_dict(state["recipe"])
    check_same_recipe(output, _comparable(recipe), _comparable(run.recipe))
    run.load_state(state)
    return True


def save_checkpoint(run: TrainingState, output: Path) -> None:
    """Write the state, atomically."""
    write_checkpoint(output / CHECKPOINT, run.state())


def _optimiser(module: nn.Module, options: Optimisation, rate: float) -> torch.optim.AdamW:
    groups = [{"params": [weight for weight in module.parameters() if weight.requires_grad], "initial_lr": rate}]
    betas = (options.betas[0], options.betas[1])
    return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=options.weight_decay, fused=True)


def _comparable(recipe: TokenizerRecipe) -> dict[str, Any]:
    defaults = Optimisation()
    free = {name: getattr(defaults, name) for name in FREE}
    return replace(recipe, optimisation=replace(recipe.optimisation, **free)).as_dict()
