"""Each view is resampled as the implementations do whose metrics take it."""

import julius
import numpy as np
import pytest
import resampy
import soundfile
import torch
import torchaudio
from encodec.utils import convert_audio

from evaluation.clips import resampy_compat
from evaluation.clips.clip import Clip, Source
from evaluation.clips.resampling import resample
from musicgen.audio import Audio
from tests.evaluation.conftest import music


@pytest.mark.parametrize(
    ("rate", "target"),
    [(32_000, 16_000), (44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (43_997, 16_000)],
)
@pytest.mark.parametrize("length", [20_011, 130])
def test_it_is_resampy(rate: int, target: int, length: int) -> None:
    wave = np.random.default_rng(0).normal(size=length).astype(np.float32)
    ours = resample(torch.from_numpy(wave), rate, target, "toolkit").numpy()
    theirs = resampy.resample(wave, rate, target)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-5


@pytest.fixture
def clip(tmp_path):
    """(a stereo file at 44.1 kHz as a reference, its channels)."""
    wave = torch.stack([music(1.0, 44_100), music(1.0, 44_100, seed=1)])
    soundfile.write(tmp_path / "x.wav", wave.numpy().T, 44_100, subtype="FLOAT")
    return Clip(Source("x", tmp_path / "x.wav", "0" * 64, "reference")), wave


def test_the_papers_views_are_resampled_as_by_audiocraft(clip):
    source, wave = clip
    at_32_khz = julius.resample_frac(wave, 44_100, 32_000).mean(dim=0)
    assert torch.allclose(source.view("paper", 32_000), at_32_khz, atol=1e-6)
    expected = julius.resample_frac(at_32_khz, 32_000, 48_000)
    assert torch.allclose(source.view("paper_whole", 48_000), expected, atol=1e-6)


def test_the_view_of_fadtk_is_resampled_by_its_call(clip):
    source, wave = clip
    resampler = torchaudio.transforms.Resample(
        44_100, 24_000, lowpass_filter_width=64, rolloff=0.9475937167399596, resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )  # fmt: skip
    assert torch.allclose(source.view("fadtk", 24_000), resampler(wave.mean(dim=0)), atol=1e-6)


def test_the_raw_view_is_resampled_as_by_encodec_and_by_all_packages_here(clip):
    source, wave = clip
    raw = source.view("raw", 24_000)
    assert torch.allclose(raw, convert_audio(wave, 44_100, 24_000, 1)[0], atol=1e-6)
    assert torch.equal(raw, Audio(wave, 44_100).mono().resampled(24_000).wave[0])


@pytest.mark.parametrize("view", ["paper", "raw", "toolkit", "fadtk"])
def test_rates_without_a_common_divisor(view):
    """A table of a weight for each phase would take gigabytes."""
    wave = torch.sin(torch.arange(43_997) * 0.1)
    made = resample(wave, 43_997, 32_000, view)
    expected = torch.sin(torch.arange(len(made)) * 0.1 * 43_997 / 32_000)
    assert len(made) == pytest.approx(32_000, abs=1)
    assert (made - expected)[500:-500].abs().max() < 1e-3


def test_equal_rates_change_nothing() -> None:
    wave = torch.randn(100)
    assert resample(wave, 16_000, 16_000) is wave
    assert resampy_compat.resample(wave, 16_000, 16_000) is wave
