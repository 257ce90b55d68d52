"""Frequency bands of a waveform, evenly spaced on the mel scale: differences of windowed-sinc low-pass filters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

ZERO_CROSSINGS = 8
"""Of the sinc of the lowest cutoff; all filters have its length."""


def split(wave: torch.Tensor, count: int, rate: int) -> Iterator[torch.Tensor]:
    """The bands of a waveform, from the lowest to the highest. Their sum is the waveform.

    Args:
        wave: float32 [B, C, samples].
        count: Number of bands.
        rate: Hz.

    Yields:
        float32 [B, C, samples], one at a time.
    """
    length = wave.shape[-1]
    cutoffs = _cutoffs(count, rate)
    radius = int(ZERO_CROSSINGS / min(cutoffs) / 2) if cutoffs else 0
    padded = F.pad(wave, (radius, radius), mode="replicate")
    size = 1 << (padded.shape[-1] - 1).bit_length()
    spectrum = torch.fft.rfft(padded, size)
    below = torch.zeros_like(wave)
    for cutoff in cutoffs:
        response = torch.fft.rfft(_low_pass(cutoff, radius).to(wave), size)
        low = torch.fft.irfft(spectrum * response, size)[..., 2 * radius : 2 * radius + length]
        yield low - below
        below = low
    yield wave - below


def _cutoffs(count: int, rate: int) -> list[float]:
    """The limits between the bands, as shares of the sample rate (mel scale of O'Shaughnessy 1987)."""
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    mels = [highest * band / count for band in range(1, count)]
    return [700 * (10 ** (mel / 2595) - 1) / rate for mel in mels]


def _low_pass(cutoff: float, radius: int) -> torch.Tensor:
    """The taps of a low-pass filter, [2 * radius + 1], which keeps a constant as it is."""
    time = torch.arange(-radius, radius + 1)
    taps = torch.hann_window(2 * radius + 1, periodic=False) * torch.sinc(2 * cutoff * time)
    return taps / taps.sum()
