"""The reverse diffusion process (Ho et al. 2020, algorithm 2) on a subset of its steps: noise -> signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

NUM_STEPS = 1000
"""Of the forward process."""
VISITED = (*range(NUM_STEPS - 1, 0, -50), 0)
"""Steps of the reverse process; the network is evaluated at all but the last."""


class Transition(NamedTuple):
    """From one visited step to the next one: (x - `estimate` * network(x, `step`)) / `scale` + `noise` * z, z normal."""

    step: int
    estimate: float
    scale: float
    noise: float


@dataclass(frozen=True)
class NoiseSchedule:
    """How much noise each step of the forward process adds.

    Attributes:
        first, last: Variances of the first and the last step.
        exponent: Between them, the roots of this exponent are evenly spaced.
        clip: Largest absolute value of the signal between two steps; 0 for no limit.
        noise_scale: Factor of all noise.
    """

    first: float
    last: float
    exponent: float
    clip: float
    noise_scale: float

    def transitions(self) -> list[Transition]:
        """The steps of the reverse process, in order."""
        # In float32, as the reference counts: early variances are differences of numbers close to 1.
        roots = (self.first ** (1 / self.exponent), self.last ** (1 / self.exponent))
        betas = torch.linspace(*roots, NUM_STEPS, dtype=torch.float32) ** self.exponent
        kept = (1 - betas).cumprod(dim=0)[list(VISITED)]
        alphas = kept[:-1] / kept[1:]
        remaining = torch.stack([(1 - betas[: step + 1]).prod() for step in VISITED])
        noise = (1 - remaining[1:]) / (1 - remaining[:-1]) * (1 - alphas)
        noise[-1] = 0  # the last step adds none
        estimate = (1 - alphas) / (1 - remaining[:-1]).sqrt()
        columns = (estimate * self.noise_scale, alphas.sqrt(), noise.sqrt() * self.noise_scale)
        return [
            Transition(step, *values)
            for step, *values in zip(VISITED[:-1], *(column.tolist() for column in columns), strict=True)
        ]
