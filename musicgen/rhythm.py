"""Estimation of tempo and beats of a recording with a steady tempo.

librosa's onset strength and tempo give an approximate tempo. A regular beat is a peak with harmonics in the spectrum of the
onset strength. The frequencies of these peaks give the period to a ten-thousandth, and the maxima of the onset strength give
the beats. The times of a beat tracker lie on frames of 12 to 23 ms, which is too coarse for the length of a loop.

Conventions: seconds; beats a minute. Which beat of a bar is its first is not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen import numba_cache
from musicgen.audio import Audio

RATE = 32_000
"""Hz at which sound is analysed."""
HOP = 256
"""Samples from one frame of the onset strength to the next: 8 ms."""
SHORTEST = 2.0
"""Seconds of sound that show a tempo."""

_OVERTONES = (1, 2, 4, 8)
"""Multiples of the beat's frequency at which music has its subdivisions."""
_SEARCHED = 0.06
"""Share by which the period may differ from librosa's, whose tempi lie that far apart at most."""
_STEPS = 1_001
_PHASES = 64
_LAG = 0.02
"""Seconds from a sharp onset to the peak of the onset strength."""


@dataclass(frozen=True)
class Beats:
    """The beats of a recording. period: seconds from one beat to the next; first: seconds of the first one."""

    period: float
    first: float

    @property
    def bpm(self) -> float:
        """Beats a minute."""
        return 60 / self.period


def measure(clip: Audio) -> Beats | None:
    """The beats of a recording.

    Args:
        clip: float32 [C, T].

    Returns:
        The beats; None for silence, for sound without any onset, and for what is shorter than SHORTEST.
    """
    if clip.duration < SHORTEST:
        return None
    numba_cache.provide()
    import librosa
    from librosa.onset import onset_strength

    samples = clip.mono().resampled(RATE).wave[0].cpu().numpy()
    mels = librosa.power_to_db(
        librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=1024, hop_length=HOP, n_mels=96)
    )
    strength = onset_strength(S=mels, sr=RATE, hop_length=HOP, aggregate=np.median)
    strength = np.maximum(strength - np.median(strength), 0.0)
    if not strength.any():
        return None
    tempo = float(librosa.feature.tempo(onset_envelope=strength, sr=RATE, hop_length=HOP)[0])
    period = _refined(strength, 60 / tempo)
    return Beats(period, _first(strength, period))


def _refined(strength: np.ndarray, period: float) -> float:
    """The period near another one at which the onset strength has the strongest lines."""
    times = np.arange(len(strength)) * HOP / RATE
    frequencies = np.linspace(1 - _SEARCHED, 1 + _SEARCHED, _STEPS) / period
    window = strength * np.hanning(len(strength))
    power = np.zeros(_STEPS)
    for overtone in _OVERTONES:
        power += np.abs(np.exp(-2j * np.pi * overtone * frequencies[:, None] * times) @ window)
    best = int(np.clip(np.argmax(power), 1, _STEPS - 2))
    before, at, after = power[best - 1 : best + 2]
    curvature = before - 2 * at + after
    # The top of the parabola through the three: between the steps.
    shift = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    return float(1 / (frequencies[best] + np.clip(shift, -1, 1) * (frequencies[1] - frequencies[0])))


def _first(strength: np.ndarray, period: float) -> float:
    """Seconds of the first beat."""
    frames = period * RATE / HOP
    starts = np.arange(_PHASES) / _PHASES * frames
    count = max(1, int((len(strength) - 1 - frames) // frames) + 1)
    places = starts[:, None] + np.arange(count) * frames
    sums = np.interp(places, np.arange(len(strength)), strength).mean(axis=1)
    return float((starts[int(np.argmax(sums))] * HOP / RATE - _LAG) % period)
