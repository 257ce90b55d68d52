"""Resampling by windowed-sinc interpolation, in blocks, so that an hour of audio needs no more memory than a minute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torchaudio

_MAX_KERNEL = 1 << 22
"""Weights of a kernel: rates without a common divisor, 43 997 and 32 000 Hz say, would need gigabytes."""
_BLOCK = 1 << 20
"""Samples that are resampled at once. The convolution copies each of them a dozen times."""
_REACH = 8
"""Samples that a kernel reaches to each side, at the lower of the two rates: torchaudio's 6 crossings over its roll-off."""


def has_kernel(rate: int, target: int) -> bool:
    """Whether a table of a weight for every phase is small enough for these two rates in Hz."""
    shared = math.gcd(rate, target)
    return (rate // shared) * (target // shared) <= _MAX_KERNEL


class Resampler:
    """Takes sound [C, n] block by block and gives it at another rate; all that was given is what one call would have given.

    rate, target: Hz. torchaudio's interpolation where its kernel is small, else soxr's, which needs none for each phase.
    """

    def __init__(self, rate: int, target: int) -> None:
        self.rate, self.target = rate, target
        shared = math.gcd(rate, target)
        self._step, self._outputs = rate // shared, target // shared
        self._margin = math.ceil(_REACH * max(1.0, rate / target) / self._step + 1) * self._step
        self._waiting: list[torch.Tensor] = []
        self._before = 0  # samples at the beginning of what waits whose result was given
        self._soxr: Any = None

    def push(self, wave: torch.Tensor, last: bool = False) -> torch.Tensor:
        """float [C, n] -> [C, m], what is known by now; `last`: all of the rest."""
        if self.rate == self.target:
            return wave
        if not has_kernel(self.rate, self.target):
            return self._by_soxr(wave, last)
        self._waiting.append(wave)
        held = sum(part.shape[1] for part in self._waiting)
        if not last and held < _BLOCK + 2 * self._margin:
            return wave[:, :0]
        wave = torch.cat(self._waiting, dim=1) if len(self._waiting) > 1 else self._waiting[0]
        # In parts also where one block holds more than enough.
        made = []
        while wave.shape[1] >= _BLOCK + 2 * self._margin:
            size = _BLOCK // self._step * self._step
            made.append(self._part(wave[:, : self._before + size + self._margin], size))
            kept = self._before + size - self._margin
            wave, self._before = wave[:, max(0, kept) :], self._margin if kept >= 0 else self._before + size
        if last:
            made.append(self._part(wave, wave.shape[1] - self._before))
            self._waiting = []
        else:
            self._waiting = [wave.clone()]
        return torch.cat(made, dim=1) if len(made) != 1 else made[0]

    def _part(self, wave: torch.Tensor, size: int) -> torch.Tensor:
        """The result of `size` samples, which have their neighbours before and behind them."""
        whole = torchaudio.functional.resample(wave, self.rate, self.target)
        start = self._before // self._step * self._outputs
        return whole[:, start : start + -(-size * self._outputs // self._step)]

    def _by_soxr(self, wave: torch.Tensor, last: bool) -> torch.Tensor:
        import soxr

        if self._soxr is None:
            self._soxr = soxr.ResampleStream(self.rate, self.target, wave.shape[0])
        samples = np.ascontiguousarray(wave.detach().cpu().numpy().T, dtype=np.float32)
        made = self._soxr.resample_chunk(samples, last=last).reshape(-1, wave.shape[0])
        return torch.from_numpy(made.T.copy()).to(wave)
