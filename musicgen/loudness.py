"""Integrated loudness (ITU-R BS.1770-4).

The IIR filters are torchaudio's, whose import is fast once PyTorch is imported. Libraries that measure loudness import
scipy.signal, which takes longer than generating a short clip. tests/test_audio.py compares the results with pyloudnorm.
"""

from __future__ import annotations

import math

import torch

BLOCK_SECONDS = 0.4
"""A gating block."""
MAX_CHANNELS = 5
"""Left, right, centre and two surrounds."""
_STEP_SECONDS = 0.1
_WEIGHTS = 1.0, 1.0, 1.0, 1.41, 1.41
"""Of the channels."""
_OFFSET = -0.691
"""LUFS: a sine of 997 Hz and of amplitude 1 in one channel has -3.01."""
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
"""LUFS, and LU below the loudness of what passes the first."""


def integrated(wave: torch.Tensor, rate: int) -> float:
    """The integrated loudness in LUFS; -inf where no block passes the gates.

    Args:
        wave: [C, T], at most `MAX_CHANNELS` channels.
        rate: Hz.
    """
    from torchaudio.functional import lfilter

    wave = wave.detach().cpu().double()
    for numerator, denominator in (_high_shelf(rate), _high_pass(rate)):
        b, a = (torch.tensor(each, dtype=torch.float64) for each in (numerator, denominator))
        wave = lfilter(wave, a, b, clamp=False)
    block, step = round(BLOCK_SECONDS * rate), round(_STEP_SECONDS * rate)
    if wave.shape[1] < block:
        return -math.inf
    power = wave.square().unfold(1, block, step).mean(dim=2)  # [C, blocks]
    power = torch.tensor(_WEIGHTS[: len(wave)], dtype=torch.float64) @ power
    power = power[_lufs(power) > _ABSOLUTE_GATE]
    power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE_GATE]
    return float(_lufs(power.mean())) if len(power) else -math.inf


def _lufs(power: torch.Tensor) -> torch.Tensor:
    return _OFFSET + 10 * torch.log10(power)


def _high_shelf(rate: int) -> tuple[list[float], list[float]]:
    """The head's part of the K-weighting: 4 dB above 1.5 kHz (Bristow-Johnson's Audio EQ Cookbook, for any rate)."""
    gain, alpha, cosine = 10 ** (4.0 / 40), *_angle(rate, 1500.0, 0.5**0.5)
    root = 2 * math.sqrt(gain) * alpha
    numerator = [
        gain * (gain + 1 + (gain - 1) * cosine + root),
        -2 * gain * (gain - 1 + (gain + 1) * cosine),
        gain * (gain + 1 + (gain - 1) * cosine - root),
    ]
    denominator = [
        gain + 1 - (gain - 1) * cosine + root,
        2 * (gain - 1 - (gain + 1) * cosine),
        gain + 1 - (gain - 1) * cosine - root,
    ]
    return numerator, denominator


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """The low end's part of the K-weighting, from 38 Hz on."""
    alpha, cosine = _angle(rate, 38.0, 0.5)
    return [(1 + cosine) / 2, -1 - cosine, (1 + cosine) / 2], [1 + alpha, -2 * cosine, 1 - alpha]


def _angle(rate: int, frequency: float, quality: float) -> tuple[float, float]:
    """The cookbook's alpha, and the cosine of the angle."""
    angle = 2 * math.pi * frequency / rate
    return math.sin(angle) / (2 * quality), math.cos(angle)
