"""Resampling with resampy's numbers (frechet-audio-distance and torchvggish use it), many times faster.

Between two rates resampy is a periodically time-varying linear filter: M input samples and L output samples a period, where
M / L is the ratio of the rates in lowest terms. Its polyphase weights are computed once, as impulse responses of resampy, and
a clip is one strided convolution. Where the rates have no common divisor and the weights would need gigabytes, resampy
itself is called.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from musicgen import numba_cache
from musicgen.resampler import has_kernel

ZEROS = 64
"""Zero crossings on each side of resampy's default filter, kaiser_best."""


def resample(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """Resample as resampy.resample does, with zeros beyond both ends.

    Args:
        wave: [samples].
        rate: Hz of `wave`.
        target: Hz of the result.

    Returns:
        [samples * target // rate].
    """
    if rate == target:
        return wave
    if not has_kernel(rate, target):
        return torch.from_numpy(_resampy().resample(wave.numpy(), rate, target)).to(wave)
    weights, reach, step = _weights(rate, target)
    length = wave.shape[0] * target // rate
    blocks = -(-length // len(weights))
    padding = max(0, blocks * step + reach - wave.shape[0])
    padded = F.pad(wave, (reach, padding))[None, None].to(weights.dtype)
    phases = F.conv1d(padded, weights[:, None], stride=step)[0, :, :blocks]
    return phases.T.reshape(-1)[:length]


@lru_cache(maxsize=8)
def _weights(rate: int, target: int) -> tuple[torch.Tensor, int, int]:
    """(weights [L, M + 2 reach] of the input samples around a period, for each of its L outputs; reach; M)."""
    common = math.gcd(rate, target)
    step, outputs = rate // common, target // common
    reach = math.ceil(ZEROS * max(1.0, rate / target)) + 1
    periods = -(-reach // step) + 1  # periods that one sample contributes to
    impulses = np.zeros((step, (2 * periods + 1) * step), dtype=np.float64)
    impulses[np.arange(step), periods * step + np.arange(step)] = 1.0
    responses = _resampy().resample(impulses, rate, target, axis=-1).reshape(step, 2 * periods + 1, outputs)
    weights = np.zeros((outputs, step + 2 * reach))
    for block in range(2 * periods + 1):
        # The impulse's position, from the beginning of this period.
        positions = (periods - block) * step + np.arange(step) + reach
        inside = (positions >= 0) & (positions < step + 2 * reach)
        weights[:, positions[inside]] = responses[inside, block].T
    return torch.from_numpy(weights).float(), reach, step


def _resampy() -> Any:
    numba_cache.provide()
    import resampy

    return resampy
