"""A true-peak limiter with look-ahead, and the gain with which a clip reaches a loudness through it.

The gain that brings a clip to its target loudness may raise peaks beyond full scale. The limiter reduces the gain for some
milliseconds around such a peak. Peaks between samples are limited too (true peak, BS.1770-4, annex 2).

Conventions: float32 [C, T]; levels in dB, the ceiling in dBTP. The gain is computed at the borders of blocks of 1 ms and
interpolated linearly. It is the same for all channels, which preserves the stereo image.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from musicgen import audio
from musicgen.audio import Audio
from musicgen.options import LIMITERS, check_limiter

CEILING = -1.0
"""dBTP, as EBU R 128 asks."""
MOST_REDUCTION = 12.0
"""dB that the limiter takes off at most: beyond, a clip stays quieter than was asked for."""

_OVERSAMPLING = 8
"""A sine at half the sample rate is read 0.17 dB too low at most; with the standard's 4 times it would be 0.69 dB."""
_REACH = 10
"""Samples that the interpolation reaches to each side."""
_MARGIN = 0.2
"""dB below the ceiling that peaks are brought to: the gain changes between the samples that a peak is interpolated from."""
_BLOCK_SECONDS = 0.001
_LOOK_AHEAD = 5
"""Blocks over which the gain falls before a peak."""
_RELEASE_SECONDS = 0.1
"""Time constant with which it rises again, in dB."""
_WRAP_SECONDS = 1.0
"""The length of a loop's end that the limiter processes before the loop's beginning, so that it has released by then."""
_TOLERANCE = 0.05
"""LU from the target that the search for the gain ends at."""
_SEARCH_STEPS = 8
_PART = 1 << 18
"""Samples that are oversampled at once: minutes would take gigabytes."""


@dataclass(frozen=True)
class Limited:
    """A clip at its loudness. reduction: dB, the most that the limiter lowered it by at any time."""

    audio: Audio
    reduction: float

    @property
    def measured(self) -> dict[str, float]:
        """The values that a file's settings store; none if nothing was limited."""
        return {"limiter_reduction": round(self.reduction, 2)} if self.reduction else {}


def true_peak(wave: np.ndarray) -> float:
    """The true peak in dBTP, by oversampling.

    Args:
        wave: float [C, T].

    Returns:
        The highest peak over channels; -inf for silence.

    Source: ITU-R BS.1770-4, annex 2.
    """
    peak = float(_block_peaks(wave, _PART).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def reach_loudness(clip: Audio, target: float, limiter: str = LIMITERS[-1], *, loop: bool = False) -> Limited:
    """Bring a clip to a loudness.

    Args:
        clip: float32 [C, T].
        target: LUFS.
        limiter: of LIMITERS.
        loop: whether the clip repeats without a gap: the limiter then goes on from its end to its beginning.

    Returns:
        The clip and what the limiter took off. What `audio.loudness_gain` leaves alone is returned as it is. With the limiter
        the loudness is the target's, unless MOST_REDUCTION is reached, and the true peak is CEILING at most.

    Raises:
        InputError: an unknown limiter, or more channels than loudness is defined for.
    """
    if check_limiter(limiter) == "none":
        return Limited(audio.normalise_loudness(clip, target), 0.0)
    gain = audio.loudness_gain(clip, target)
    if gain == 1:
        return Limited(clip, 0.0)
    wave = clip.wave.detach().cpu().float().numpy()
    before = min(round(_WRAP_SECONDS * clip.rate), wave.shape[1]) if loop else 0
    after = min((_LOOK_AHEAD + 2) * _block(clip.rate), wave.shape[1]) if loop else 0
    whole = np.concatenate([wave[:, wave.shape[1] - before :], wave, wave[:, :after]], axis=1)
    peaks = _block_peaks(whole, _block(clip.rate))
    # The peaks' gain grows with the clip's, so the search looks at a block's peak once.
    most = 10 ** ((MOST_REDUCTION + CEILING - _MARGIN) / 20) / float(peaks.max())

    def at(factor: float) -> Limited:
        curve = _Gain(clip.rate, CEILING)
        gains = np.concatenate([curve.push(peaks * factor), curve.end()])
        made = _applied(whole * np.float32(factor), gains, _block(clip.rate))
        return Limited(
            Audio(torch.from_numpy(made[:, before : made.shape[1] - after].copy()), clip.rate), curve.reduction
        )

    limited = at(factor := min(gain, most))
    for _ in range(_SEARCH_STEPS):
        lacking = target - audio.loudness(limited.audio)
        if abs(lacking) <= _TOLERANCE or (lacking > 0 and factor >= most):
            break
        limited = at(factor := min(factor * 10 ** (lacking / 20), most))
    return Limited(limited.audio, min(limited.reduction, MOST_REDUCTION))


class TruePeakLimiter:
    """Takes sound [C, n] block by block and gives it with its true peaks below a ceiling, a few milliseconds later.

    All that was given is what one call would have given.

    Args:
        rate: Hz.
        ceiling: dBTP.
    """

    def __init__(self, rate: int, ceiling: float = CEILING) -> None:
        self._size = _block(rate)
        self._curve = _Gain(rate, ceiling)
        self._held: np.ndarray | None = None
        self._given = 0  # samples at the beginning of what is held that were given, kept for the interpolation
        self._measured = 0  # blocks behind them whose peaks the curve has
        self._gains = np.empty(0, np.float32)  # from the border behind what was given on

    @property
    def reduction(self) -> float:
        """dB, the most that the sound was lowered by until now."""
        return self._curve.reduction

    def push(self, wave: np.ndarray, last: bool = False) -> np.ndarray:
        """float32 [C, n] -> [C, m], what is known by now; `last`: all of the rest."""
        held = wave if self._held is None else np.concatenate([self._held, wave], axis=1)
        start = self._given + self._measured * self._size
        whole = max(0, (held.shape[1] - _REACH - start) // self._size)
        peaks = _block_peaks(held, self._size, start, held.shape[1] if last else start + whole * self._size)
        gains = [self._gains, self._curve.push(peaks), *([self._curve.end()] if last else [])]
        self._gains = np.concatenate(gains)
        ready = held.shape[1] if last else self._given + max(0, len(self._gains) - 1) * self._size
        made = _applied(held[:, self._given : ready], self._gains, self._size)
        blocks = -(-made.shape[1] // self._size)
        self._measured += len(peaks) - blocks
        self._gains = self._gains[blocks:]
        self._given = min(ready, _REACH)
        self._held = held[:, ready - self._given :].copy()
        return made


class _Gain:
    """Peaks of blocks -> the gain at the borders between blocks.

    What a block asks for holds at both of its borders and decays by the release. The reduction at a border is the largest of
    the next _LOOK_AHEAD + 1 borders, averaged over as many windows, the last of which begins there. Each of these windows
    contains the border, so the mean is never less than what its peaks ask for.
    """

    def __init__(self, rate: int, ceiling: float) -> None:
        self._ceiling = ceiling - _MARGIN
        self._decay = math.exp(-_block(rate) / rate / _RELEASE_SECONDS)
        self._asked = 0.0  # dB, of the block before
        self._released = 0.0  # dB, of the border before
        self._held = np.zeros(_LOOK_AHEAD)
        self.reduction = 0.0

    def push(self, peaks: np.ndarray) -> np.ndarray:
        """[blocks] -> gains [borders], those that are known by now, from the one before the first block on."""
        with np.errstate(divide="ignore"):
            asked = np.maximum(20 * np.log10(peaks.astype(np.float64)) - self._ceiling, 0.0)
        return self._smoothed(asked.tolist())

    def end(self) -> np.ndarray:
        """The gains of the borders that are left, as if silence followed."""
        return self._smoothed([0.0] * (_LOOK_AHEAD + 1))

    def _smoothed(self, asked: list[float]) -> np.ndarray:
        released = []
        for now in asked:
            self._released = max(self._asked, now, self._released * self._decay)
            self._asked = now
            released.append(self._released)
        held = np.concatenate([self._held, released])
        if len(held) <= 2 * _LOOK_AHEAD:
            self._held = held
            return np.empty(0, np.float32)
        self._held = held[-2 * _LOOK_AHEAD :]
        highest = sliding_window_view(held, _LOOK_AHEAD + 1).max(axis=1)
        reductions = sliding_window_view(highest, _LOOK_AHEAD + 1).mean(axis=1)
        self.reduction = max(self.reduction, float(reductions.max()))
        return (10 ** (-reductions / 20)).astype(np.float32)


def _block(rate: int) -> int:
    """Samples of a block."""
    return max(1, round(_BLOCK_SECONDS * rate))


def _applied(wave: np.ndarray, gains: np.ndarray, size: int) -> np.ndarray:
    """[C, T] with gains [borders], linear over each block of `size` samples."""
    blocks = -(-wave.shape[1] // size)
    ramp = np.arange(size, dtype=np.float32) / np.float32(size)
    curve = gains[:blocks, None] + np.diff(gains[: blocks + 1])[:, None] * ramp
    return wave * curve.reshape(-1)[: wave.shape[1]]


def _block_peaks(wave: np.ndarray, size: int, start: int = 0, end: int | None = None) -> np.ndarray:
    """The true peak of each block of `size` samples between two places, the highest of all channels."""
    end = wave.shape[1] if end is None else end
    step = max(1, _PART // size) * size
    peaks = []
    for begin in range(start, end, step):
        part = _oversampled_peaks(wave[:, max(0, begin - _REACH) : min(end, begin + step) + _REACH])
        part = part[min(begin, _REACH) :][: min(end - begin, step)]
        peaks.append(np.pad(part, (0, -len(part) % size)).reshape(-1, size).max(axis=1))
    return np.concatenate(peaks) if peaks else np.empty(0, np.float32)


def _oversampled_peaks(wave: np.ndarray) -> np.ndarray:
    """The largest magnitude from each sample to the next, over channels: [C, T] -> [T]."""
    if not wave.size:
        return np.zeros(wave.shape[1], np.float32)
    x = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[:, None]
    between = torch.nn.functional.conv1d(x, _phases(), padding=_REACH).abs().amax(dim=(0, 1)).numpy()
    return np.maximum(between, np.abs(wave).max(axis=0))


@functools.cache
def _phases() -> torch.Tensor:
    """The filter of the oversampling, a row for each place between two samples: [places, 1, taps].

    A windowed sinc, that of scipy.signal.resample_poly, which takes as long to import as a short clip to generate.
    """
    half = _REACH * _OVERSAMPLING
    taps = np.sinc(np.arange(-half, half + 1) / _OVERSAMPLING) * np.kaiser(2 * half + 1, 5.0)
    taps *= _OVERSAMPLING / taps.sum()
    padded = np.pad(taps, (0, _OVERSAMPLING - 1)).reshape(-1, _OVERSAMPLING)  # [taps of a place, places]
    return torch.from_numpy(np.ascontiguousarray(padded.T[:, ::-1], dtype=np.float32))[:, None]
