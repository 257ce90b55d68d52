"""D-Adaptation against its published algorithm, and the learning rate that it finds."""

import numpy as np
import pytest
import torch
from torch import nn

from musicgen.training.lm.config import Optimisation
from musicgen.training.lm.optimiser import optimiser

SCALES = np.array([1.0, 4.0, 0.5, 2.0])
TARGET = np.array([3.0, -1.0, 2.0, 0.5])
BETAS = (0.9, 0.95)
FIRST = 1e-6
"""The paper's d₀."""


def gradient(x: np.ndarray) -> np.ndarray:
    """Of the sum of SCALES (x - TARGET)² / 2."""
    return SCALES * (x - TARGET)


def published(steps: int) -> tuple[np.ndarray, float]:
    """Defazio and Mishchenko 2023, D-Adaptation with Adam, from x₀ = 0: x and d after so many steps.

    As the authors released it: the product in r is weighted by the v of the step before, not by the new one.
    """
    x, m, v, s = (np.zeros(4) for _ in range(4))
    r, d, root = 0.0, FIRST, np.sqrt(BETAS[1])
    for _ in range(steps):
        g = gradient(x)
        r = root * r + (1 - root) * d * float(g @ (s / (np.sqrt(v) + 1e-8)))
        v = BETAS[1] * v + (1 - BETAS[1]) * g**2
        scale = np.sqrt(v) + 1e-8
        s = root * s + (1 - root) * d * g
        m = BETAS[0] * m + (1 - BETAS[0]) * d * g
        x = x - m / scale
        d = max(d, r / ((1 - root) * float(np.abs(s).sum())))
    return x, d


@pytest.mark.parametrize("steps", [1, 10, 60])
def test_dadaptation_is_the_published_algorithm(steps: int) -> None:
    network = nn.Module()
    network.x = nn.Parameter(torch.zeros(4))
    made = optimiser(network, Optimisation(optimiser="dadaptation", learning_rate=1.0, betas=BETAS))
    for _ in range(steps):
        network.x.grad = torch.from_numpy(gradient(network.x.detach().double().numpy())).float()
        made.step()
    x, d = published(steps)
    np.testing.assert_allclose(network.x.detach().numpy(), x, rtol=1e-3, atol=1e-7)
    assert made.param_groups[0]["d"] == pytest.approx(d, rel=1e-3)


def test_dadaptation_finds_the_scale_of_the_problem() -> None:
    """From a millionth it comes to the distance of the solution, up to a small factor, without a learning rate."""
    _, d = published(200)
    distance = float(np.abs(TARGET).max())
    assert 0.01 * distance < d < distance
