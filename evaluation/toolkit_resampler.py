"""Resampling as resampy does it, which frechet-audio-distance and torchvggish use, many times faster.

Between two rates resampy is a linear map that repeats: M samples later in, L samples later out, the same weights, where M / L
is the ratio of the rates in lowest terms. So the weights are read off its answers to single impulses, once, and a clip is
one strided convolution; resampy itself does it where the rates have no common divisor and the weights would need gigabytes.
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
"""Crossings on each side of resampy's default filter, kaiser_best."""


def resampled(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """[samples] -> [samples * target // rate], as resampy.resample; silence lies beyond both ends."""
    if rate == target:
        return wave
    if not has_kernel(rate, target):
        return torch.from_numpy(_resampy().resample(wave.numpy(), rate, target)).to(wave)
    weights, reach, step = _weights(rate, target)
    length = wave.shape[0] * target // rate
    blocks = -(-length // len(weights))
    behind = max(0, blocks * step + reach - wave.shape[0])
    padded = F.pad(wave, (reach, behind))[None, None].to(weights.dtype)
    phases = F.conv1d(padded, weights[:, None], stride=step)[0, :, :blocks]
    return phases.T.reshape(-1)[:length]


@lru_cache(maxsize=8)
def _weights(rate: int, target: int) -> tuple[torch.Tensor, int, int]:
    """[L, M + 2 reach]: of the samples around a block of M, for each of the block's L outputs; reach; M."""
    common = math.gcd(rate, target)
    step, outputs = rate // common, target // common
    reach = math.ceil(ZEROS * max(1.0, rate / target)) + 1
    around = -(-reach // step) + 1  # blocks that one sample can reach
    impulses = np.zeros((step, (2 * around + 1) * step), dtype=np.float64)
    impulses[np.arange(step), around * step + np.arange(step)] = 1.0
    answers = _resampy().resample(impulses, rate, target, axis=-1).reshape(step, 2 * around + 1, outputs)
    weights = np.zeros((outputs, step + 2 * reach))
    for block in range(2 * around + 1):
        # The impulse's place, seen from the beginning of this block.
        places = (around - block) * step + np.arange(step) + reach
        inside = (places >= 0) & (places < step + 2 * reach)
        weights[:, places[inside]] = answers[inside, block].T
    return torch.from_numpy(weights).float(), reach, step


def _resampy() -> Any:
    numba_cache.provide()
    import resampy

    return resampy
