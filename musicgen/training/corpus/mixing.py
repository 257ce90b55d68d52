"""Mixing and mastering: stems -> a stereo mix at a fixed loudness: levels, panning, reverb, bandwidth, limiter.

Levels are relative to the lead's, measured where each part sounds. Gains are rounded to hundredths of a decibel, so that
rounding differences between processors do not change the samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from musicgen.audio import Audio, loudness
from musicgen.training.corpus.composition import DRUMS, LEAD, Part
from musicgen.training.corpus.genre import Genre
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.randomness import stream

TARGET_LUFS = -16.0
CEILING = 10 ** (-1.2 / 20)
"""The largest sample: a little below -1 dBFS, so that 16-bit rounding stays under it as well."""

_REFERENCE = 10 ** (-20 / 20)
"""RMS of the lead before mastering."""
_GATE_BLOCK = 0.1
"""Seconds of the blocks by which it is told whether a part sounds."""
_GATE = 10 ** (-30 / 20)
"""A block counts above this share of the loudest block's RMS."""
_KNEE = 0.6
"""Share of the ceiling above which the limiter bends."""
_REVERB_SENDS = {LEAD: 1.0, "bass": 0.1, DRUMS: 0.5}
_WIDTH = 0.4
"""Share that is kept of a stereo sample's own width: some pianos are wide enough to cancel out when mixed down to mono."""
_FADE = 0.05
"""Seconds of fade at the very end."""


def mix(stems: list[tuple[Part, np.ndarray]], genre: Genre, sample_rate: int) -> np.ndarray:
    """(part, dry stem [2, T]) pairs -> the mix with its room, float32 [2, T], not yet at its final level."""
    length = stems[0][1].shape[1]
    dry = np.zeros((2, length), dtype=np.float32)
    send = np.zeros(length, dtype=np.float32)
    for part, samples in stems:
        placed = _placed(part, samples, sample_rate)
        dry += placed
        send += np.float32(_REVERB_SENDS.get(part.role, 0.8)) * placed.mean(axis=0)
    room = _room(genre.reverb, sample_rate)
    wet = np.stack([oaconvolve(send, ear)[:length] for ear in room])
    return dry + np.float32(10 ** (genre.wet / 20)) * wet.astype(np.float32)


def master(wave: np.ndarray, genre: Genre, seed: int, sample_rate: int) -> np.ndarray:
    """A mix [2, T] -> the same at TARGET_LUFS with the genre's bandwidth and noise, no sample above CEILING."""
    if genre.bandwidth is not None:
        sections = butter(3, genre.bandwidth, fs=sample_rate, output="sos")
        wave = sosfilt(sections, wave).astype(np.float32)
    level = loudness(Audio(torch.from_numpy(wave), sample_rate))
    wave = _limited(wave * np.float32(_gain(TARGET_LUFS - level)))
    if genre.crackle is not None:
        wave = _limited(wave + _crackle(wave.shape[1], genre.crackle, seed, sample_rate))
    fade = min(int(_FADE * sample_rate), wave.shape[1])
    wave[:, wave.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.ascontiguousarray(wave, dtype=np.float32)


def sounding_rms(samples: np.ndarray, sample_rate: int) -> float:
    """The RMS of a stem [2, T] over the time that it sounds; 0 for silence."""
    block = int(_GATE_BLOCK * sample_rate)
    blocks = samples[:, : samples.shape[1] // block * block].reshape(2, -1, block)
    power = np.einsum("cbt,cbt->b", blocks, blocks) / (2 * block)
    if power.size == 0 or power.max() == 0:
        return 0.0
    return float(np.sqrt(power[power > power.max() * _GATE**2].mean()))


def _placed(part: Part, samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """A stem at its level and place between the loudspeakers, [2, T]."""
    cutoff = INSTRUMENTS[part.instrument].cutoff
    if part.role == LEAD and cutoff is not None:
        samples = sosfilt(butter(2, cutoff, fs=sample_rate, output="sos"), samples).astype(np.float32)
    middle = samples.mean(axis=0)
    samples = middle + np.float32(_WIDTH) * (samples - middle)
    rms = sounding_rms(samples, sample_rate)
    if rms == 0:
        return samples
    gain = _gain(part.level + 20 * math.log10(_REFERENCE / rms))
    # Constant power: a part off the centre is as loud as one in it.
    angle = (part.pan + 1) * math.pi / 4
    sides = math.sqrt(2) * gain * np.array([[math.cos(angle)], [math.sin(angle)]])
    return samples * sides.astype(np.float32)


def _gain(decibels: float) -> float:
    return float(10 ** (round(decibels, 2) / 20))


def _limited(wave: np.ndarray) -> np.ndarray:
    """Samples above the knee bent smoothly towards the ceiling; the rest untouched."""
    knee = np.float32(_KNEE * CEILING)
    span = np.float32(CEILING) - knee
    size = np.abs(wave)
    over = size > knee
    bent = wave.copy()
    bent[over] = np.sign(wave[over]) * (knee + span * np.tanh((size[over] - knee) / span))
    return bent


@lru_cache(maxsize=16)
def _room(seconds: float, sample_rate: int) -> np.ndarray:
    """The impulse response of a plain room for two ears, of unit energy: noise that decays by 60 dB in `seconds`, its
    highs sooner, after a gap of 12 ms. [2, T]"""
    rng = stream(0, "room")
    length, gap = int(seconds * sample_rate), int(0.012 * sample_rate)
    time = np.arange(length) / sample_rate
    noise = rng.standard_normal((2, length)) * 10 ** (-3 * time / seconds)
    pole = math.exp(-2 * math.pi * 3500 / sample_rate)
    noise = lfilter([1 - pole], [1, -pole], noise)
    low_cut = butter(1, 180, "highpass", fs=sample_rate, output="sos")
    noise = sosfilt(low_cut, noise)
    noise /= np.sqrt(np.square(noise).sum(axis=1, keepdims=True))
    return np.pad(noise, ((0, 0), (gap, 0))).astype(np.float32)


def _crackle(length: int, level: float, seed: int, sample_rate: int) -> np.ndarray:
    """The noise of a worn record, [2, length]: hiss at `level` dB below full scale and about eight clicks a second."""
    rng = stream(seed, "crackle")
    noise = rng.standard_normal((2, length), dtype=np.float32) * np.float32(0.25)
    clicks = rng.integers(length, size=max(int(8 * length / sample_rate), 1))
    noise[:, clicks] += rng.uniform(4, 14, size=clicks.size).astype(np.float32)
    sections = butter(1, (400, 6000), "bandpass", fs=sample_rate, output="sos")
    return (sosfilt(sections, noise) * 10 ** (level / 20)).astype(np.float32)
