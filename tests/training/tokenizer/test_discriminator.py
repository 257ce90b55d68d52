"""The discriminator's losses against hand computations, and that it can tell two sounds apart."""

import pytest
import torch

from musicgen.training.tokenizer.discriminator import (
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)


def verdict(*values: float) -> list[list[torch.Tensor]]:
    return [[torch.tensor([2.0, -2.0]), torch.tensor(values)]]


def test_hinge_losses_are_the_hand_computation() -> None:
    assert float(discriminator_loss(verdict(2.0, 0.0), verdict(-3.0, 1.0))) == pytest.approx(0.5 + 1.0)
    assert float(discriminator_loss(verdict(1.0, 5.0), verdict(-1.0, -9.0))) == 0.0
    assert float(adversarial_loss(verdict(3.0, -1.0))) == pytest.approx(1.0)


def test_feature_loss_is_relative() -> None:
    real, fake = verdict(0.0), [[torch.tensor([3.0, -2.0]), torch.tensor([7.0])]]
    assert float(feature_loss(real, real)) == 0.0
    assert float(feature_loss(real, fake)) == pytest.approx(0.5 / 2.0)  # the verdict does not count


def test_shapes_follow_windows_and_strides() -> None:
    judged = Discriminator((256, 64), filters=4)(torch.randn(2, 1, 3200))
    assert [len(scale) for scale in judged] == [6, 6]
    assert judged[0][0].shape == (2, 4, 3200 // 64 + 1, 129)
    assert judged[0][-1].shape == (2, 1, 3200 // 64 + 1, 17)  # three strides of 2 over the bins


def test_it_learns_to_tell_noise_from_a_tone() -> None:
    torch.manual_seed(0)
    model = Discriminator((256,), filters=4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tone = torch.sin(torch.arange(3200) * 0.2).expand(4, 1, -1)
    history = []
    for _ in range(30):
        loss = discriminator_loss(model(tone), model(0.5 * torch.randn(4, 1, 3200)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.3 * history[0]
