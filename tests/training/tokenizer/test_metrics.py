"""The metrics on waves whose scores are known beforehand, and Opus as a second system."""

import math

import pytest
import torch

from musicgen.errors import InputError
from musicgen.training.tokenizer.compare_with_opus import measure, through_opus
from musicgen.training.tokenizer.metrics import chroma_agreement, log_mel_distance, perplexity, si_sdr, usage

RATE = 32_000
TIME = torch.arange(2 * RATE) / RATE


def tone(hertz: float, level: float = 0.3) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hertz * TIME)


def noise(level: float) -> torch.Tensor:
    return level * torch.randn(len(TIME), generator=torch.Generator().manual_seed(0))


def test_log_mel_distance_is_the_level_in_decibels() -> None:
    wave = noise(0.3)
    assert log_mel_distance(wave, wave, RATE) == 0.0
    assert log_mel_distance(wave, wave / 2, RATE) == pytest.approx(20 * math.log10(2), abs=1e-3)
    # Both below the floor count as equal.
    assert log_mel_distance(noise(1e-7), noise(1e-8), RATE) == 0.0


def test_si_sdr_is_the_ratio_whatever_the_scale() -> None:
    original = tone(440.0)
    error = 0.1 * tone(660.0)  # orthogonal to it
    assert si_sdr(original, original + error) == pytest.approx(20, abs=0.01)
    assert si_sdr(original, 5 * (original + error)) == pytest.approx(20, abs=0.01)


def test_chroma_agrees_within_a_pitch_class_only() -> None:
    assert chroma_agreement(tone(440.0), tone(880.0), RATE) == 1.0
    assert chroma_agreement(tone(440.0), tone(466.16), RATE) == 0.0
    halves = torch.cat([tone(440.0)[:RATE], tone(660.0)[:RATE]])
    assert chroma_agreement(tone(440.0), halves, RATE) == pytest.approx(0.5, abs=0.1)


def test_silent_frames_do_not_count_as_agreement() -> None:
    original = torch.cat([tone(440.0), torch.zeros(4 * RATE)])
    made = torch.cat([tone(466.16), torch.zeros(4 * RATE)])
    assert chroma_agreement(original, made, RATE) < 0.2
    assert chroma_agreement(torch.zeros(RATE), tone(440.0)[:RATE], RATE) == 1.0


def test_other_rates_are_resampled_for_chroma() -> None:
    assert chroma_agreement(tone(440.0)[::2], tone(880.0)[::2], RATE // 2) == 1.0


def test_perplexity_and_usage_count_entries() -> None:
    even = torch.arange(8).repeat(5)[None]
    one = torch.zeros(1, 40, dtype=torch.int64)
    codes = torch.stack([even, one], dim=1)
    assert perplexity(codes, 16) == pytest.approx([8.0, 1.0])
    assert usage(codes, 16) == [0.5, 1 / 16]


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="of one length"):
        si_sdr(torch.zeros(3), torch.zeros(4))


def test_opus_comes_back_aligned() -> None:
    clip = tone(440.0) * (1 + torch.sin(2 * torch.pi * 3 * TIME)) / 2
    row = measure(through_opus(RATE), [clip], RATE)
    assert row["si_sdr_db"] > 6  # a shift of half a period would be below 0
    assert row["chroma_agreement"] == 1.0
    assert 4 < row["kbps"] < 12
