"""One training step: a batch of crops in, the losses out, everything that learns moved a little.

Nothing here waits for the device: the losses stay there as scalars. It knows neither files nor how long training goes on.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from musicgen.training.tokenizer.checkpointing import TrainingState
from musicgen.training.tokenizer.data import CropPool
from musicgen.training.tokenizer.discriminator import adversarial_loss, discriminator_loss, feature_loss

FINAL_RATE = 0.01
"""The learning rate at the end, as a share of the peak."""


def train_step(run: TrainingState, waves: torch.Tensor) -> dict[str, torch.Tensor]:
    """One step on crops [B, 1, T]: move the model, the codebooks, the discriminator and the average. Returns the losses,
    scalars on the device."""
    recipe = run.recipe
    quantise = run.step >= recipe.quantisation.start_step
    with _autocast(run):
        made, penalty = run.model(waves, run.generator, quantise=quantise)
    # The losses see the wave as their input: their gradients meet there, and the network is walked back once.
    wave = made.detach().requires_grad_()
    mel, stft = run.spectral(wave, waves)
    losses = {"wave": F.l1_loss(wave, waves), "mel": mel, "stft": stft}
    extra = {"penalty": penalty.detach()}
    if recipe.adversarial is not None and run.step >= recipe.adversarial.start_step:
        judged, extra["discriminator"] = _train_discriminator(run, wave, waves)
        losses |= judged
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
    with torch.no_grad():
        # Early on the average follows closely: it would else hold the first weights for a thousand steps.
        decay = min(recipe.optimisation.average, (1 + run.step) / (10 + run.step))
        torch._foreach_lerp_(run.average, [parameter.detach() for parameter in parameters], 1 - decay)
    return {name: loss.detach() for name, loss in (losses | extra).items()}


@torch.no_grad()
def initialize_codebooks(run: TrainingState, pool: CropPool) -> None:
    """Set the codebooks by k-means of what the encoder makes of crops."""
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
    """The learning rates of the next step; share: of the training done, 0 to 1."""
    warm = min(1.0, (run.step + 1) / max(1, run.recipe.optimisation.warmup))
    factor = warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * share)))
    for optimiser in (run.optimiser, run.discriminator_optimiser):
        for group in optimiser.param_groups if optimiser else ():
            group["lr"] = group["initial_lr"] * factor


def _train_discriminator(
    run: TrainingState, wave: torch.Tensor, waves: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Move the discriminator, then ask it -> the losses of `wave`, and its own."""
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
