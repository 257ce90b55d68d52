"""One training step of a tokeniser: forward, losses, balanced gradient, optimisers, moving average.

Nothing here synchronises with the device: the losses stay there as scalars.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from musicgen.training.tokenizer.checkpointing import TrainingState
from musicgen.training.tokenizer.data import CropPool
from musicgen.training.tokenizer.discriminator import adversarial_loss, discriminator_loss, feature_loss
from musicgen.training.trainer import cosine_decay

FINAL_RATE = 0.01
"""The learning rate at the end, as a share of the peak."""


def train_step(run: TrainingState, waves: torch.Tensor) -> dict[str, torch.Tensor]:
    """Update the model, the codebooks, the discriminator and the moving average.

    Args:
        run: The state, changed in place.
        waves: float32 [B, 1, T] crops.

    Returns:
        Losses and the norm of the gradient, scalars on the device.
    """
    recipe = run.recipe
    quantise = run.step >= recipe.quantisation.start_step
    with _autocast(run):
        made, penalty = run.model(waves, run.generator, quantise=quantise)
    # A leaf: the losses' gradients are balanced at the waveform, then one backward pass goes through the network.
    wave = made.detach().requires_grad_()
    mel, stft = run.spectral(wave, waves)
    losses = {"wave": F.l1_loss(wave, waves), "mel": mel, "stft": stft}
    extra = {"penalty": penalty.detach()}
    if recipe.adversarial is not None and run.step >= recipe.adversarial.start_step:
        adversarial, extra["discriminator"] = _train_discriminator(run, wave, waves)
        losses |= adversarial
    gradient = run.balancer.gradient(losses, wave)
    run.optimiser.zero_grad(set_to_none=True)
    if penalty.requires_grad:
        torch.autograd.backward([made, penalty], [gradient, torch.ones_like(penalty)])
    else:
        made.backward(gradient)
    parameters = list(run.model.parameters())
    limit = recipe.optimisation.clip or math.inf
    extra["gradient"] = nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    run.optimiser.step()
    # A warm-up of the average's decay: otherwise the initial weights would dominate it for a thousand steps.
    run.average.update(min(recipe.optimisation.average, (1 + run.step) / (10 + run.step)))
    return {name: loss.detach() for name, loss in (losses | extra).items()}


@torch.no_grad()
def initialize_codebooks(run: TrainingState, pool: CropPool) -> None:
    """Initialise the codebooks by k-means on latents of random crops."""
    wanted = run.model.num_init_vectors
    if wanted == 0:
        return
    found: list[torch.Tensor] = []
    while sum(len(part) for part in found) < wanted:
        waves = pool.draw(run.recipe.optimisation.batch, run.recipe.data.gain_db, run.generator)
        with _autocast(run):
            found.append(run.model.encode(waves).transpose(1, 2).flatten(0, 1))
    run.model.initialize_codebooks(torch.cat(found), run.generator)


def set_learning_rates(run: TrainingState, share: float) -> None:
    """Set the learning rates of the next step. share: of the training done, 0 to 1."""
    warm = min(1.0, (run.step + 1) / max(1, run.recipe.optimisation.warmup))
    factor = warm * cosine_decay(share, FINAL_RATE)
    for optimiser in (run.optimiser, run.discriminator_optimiser):
        for group in optimiser.param_groups if optimiser else ():
            group["lr"] = group["initial_lr"] * factor


def _train_discriminator(
    run: TrainingState, wave: torch.Tensor, waves: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Update the discriminator. Returns the losses that it gives `wave`, and its own."""
    assert run.discriminator is not None
    assert run.discriminator_optimiser is not None
    with _autocast(run):
        real, fake = run.discriminator(waves), run.discriminator(wave.detach())
    loss = discriminator_loss(real, fake)
    run.discriminator_optimiser.zero_grad(set_to_none=True)
    loss.backward()
    run.discriminator_optimiser.step()
    with _autocast(run):
        fake = run.discriminator(wave)
    return {"adversarial": adversarial_loss(fake), "features": feature_loss(real, fake)}, loss


def _autocast(run: TrainingState) -> torch.autocast:
    return torch.autocast(run.device.type, torch.bfloat16, enabled=run.recipe.optimisation.precision == "bfloat16")
