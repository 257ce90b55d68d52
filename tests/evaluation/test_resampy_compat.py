"""The convolution against resampy itself."""

import numpy as np
import pytest
import resampy
import torch

from evaluation.clips.resampy_compat import resample


@pytest.mark.parametrize(
    ("rate", "target"),
    [(32_000, 16_000), (44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (43_997, 16_000)],
)
@pytest.mark.parametrize("length", [20_011, 130])
def test_it_is_resampy(rate: int, target: int, length: int) -> None:
    wave = np.random.default_rng(0).normal(size=length).astype(np.float32)
    ours = resample(torch.from_numpy(wave), rate, target).numpy()
    theirs = resampy.resample(wave, rate, target)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-5


def test_equal_rates_change_nothing() -> None:
    wave = torch.randn(100)
    assert resample(wave, 16_000, 16_000) is wave
