"""Spectra against librosa, losses against their identities, the balancer against hand computations."""

import librosa
import numpy as np
import pytest
import torch

from musicgen.training.tokenizer.loss_balancer import Balancer
from musicgen.training.tokenizer.losses import SpectralLosses, magnitudes, mel_filters

RATE = 32_000


def noise(seed: int, batch: int = 2) -> torch.Tensor:
    return 0.3 * torch.randn(batch, 1, RATE // 2, generator=torch.Generator().manual_seed(seed))


def losses(made: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    mel, stft = SpectralLosses(RATE, (256, 1024))(made, target)
    return float(mel), float(stft)


@pytest.mark.parametrize("size", [256, 2048])
def test_magnitudes_are_librosas(size: int) -> None:
    wave = noise(0)[0, 0]
    window = np.hanning(size + 1)[:-1]
    theirs = np.abs(librosa.stft(wave.double().numpy(), n_fft=size, hop_length=size // 4, pad_mode="reflect"))
    ours = magnitudes(wave[None], torch.hann_window(size))[0]
    np.testing.assert_allclose(ours.numpy(), theirs * 2 / window.sum(), atol=2e-6)


def test_a_full_scale_sine_has_magnitude_one() -> None:
    wave = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)
    spectrum = magnitudes(wave[None], torch.hann_window(1024))[0]
    assert float(spectrum[32, 10:-10].mean()) == pytest.approx(1, abs=1e-4)  # 1000 Hz is bin 32


@pytest.mark.parametrize(("window", "bands"), [(256, 16), (2048, 128)])
def test_mel_filters_are_librosas(window: int, bands: int) -> None:
    theirs = librosa.filters.mel(sr=RATE, n_fft=window, n_mels=bands, norm=None, htk=False)
    np.testing.assert_allclose(mel_filters(RATE, window, bands).numpy(), theirs, atol=1e-4)
    assert (theirs.sum(axis=1) > 0).all()


def test_equal_waves_have_no_loss_and_louder_noise_has_more() -> None:
    wave = noise(0)
    assert losses(wave, wave) == (0.0, 0.0)
    series = [losses(wave + level * noise(1), wave) for level in (0.01, 0.03, 0.1, 0.3)]
    assert series == sorted(series)
    assert [stft for _, stft in series] == sorted(stft for _, stft in series)


def test_spectral_losses_do_not_hear_the_sign() -> None:
    made, target = noise(0), noise(1)
    assert losses(-made, target) == pytest.approx(losses(made, target), rel=1e-5)


def test_half_as_loud_is_log_two() -> None:
    wave = noise(0)
    mel, stft = losses(wave / 2, wave)
    assert mel == pytest.approx(np.log(2), rel=0.01)
    assert stft == pytest.approx(0.5 + np.log(2), rel=0.01)  # convergence |S / 2| / |S|, and the log


def test_silence_has_a_finite_gradient() -> None:
    made = torch.zeros(1, 1, RATE // 2, requires_grad=True)
    mel, stft = SpectralLosses(RATE, (256, 1024))(made, torch.zeros_like(made))
    (mel + stft).backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_balance_gives_each_loss_its_share_whatever_its_scale() -> None:
    waves = torch.zeros(4, 1, 10, requires_grad=True)
    first, second = torch.zeros(4, 1, 10), torch.zeros(4, 1, 10)
    first[..., 0], second[..., 1] = 1.0, 1.0

    def gradient(scale: float) -> torch.Tensor:
        # Means over the 4 crops, as real losses are.
        values = {"a": (waves * first).sum() / 4, "b": scale * (waves * second).sum() / 4}
        return Balancer({"a": 1.0, "b": 3.0}).gradient(values, waves)

    for scale in (1.0, 1e4):
        made = gradient(scale)
        torch.testing.assert_close(made[:, 0, 0], torch.full((4,), 0.25 / 4))
        torch.testing.assert_close(made[:, 0, 1], torch.full((4,), 0.75 / 4))


def test_balance_divides_by_the_average_length() -> None:
    waves = torch.zeros(1, 1, 1, requires_grad=True)
    balancer = Balancer({"a": 2.0, "unused": 0.0}, decay=0.5)
    lengths = [float(balancer.gradient({"a": slope * waves.sum()}, waves)) for slope in (1.0, 3.0)]
    # The average is 1 at first, then (0.25 * 1 + 0.5 * 3) / 0.75 = 7/3.
    assert lengths == pytest.approx([1.0, 9 / 7])


def test_a_loss_that_comes_later_takes_its_share_then() -> None:
    waves = torch.ones(1, 1, 1, requires_grad=True)
    balancer = Balancer({"a": 1.0, "b": 1.0})
    assert float(balancer.gradient({"a": waves.sum()}, waves)) == pytest.approx(1.0)
    both = balancer.gradient({"a": waves.sum(), "b": -5 * waves.sum()}, waves)
    assert float(both) == pytest.approx(0.0, abs=1e-6)
