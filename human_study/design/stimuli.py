"""Sounds that the study itself makes or derives: anchors, headphone tones, beeps, a practice clip; and true peak.

A waveform is float64 [C, T] here, beside its rate in Hz. Nothing in this file reads or writes files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

from musicgen.errors import InputError

Waveform = npt.NDArray[np.float64]

OVERSAMPLING = 4
"""BS.1770-4, annex 2: true peak is read from the signal at four times its rate (at 32 kHz and above)."""

FADE_SECONDS = 0.005
"""At both ends of a clip: a cut through a wave would click."""


def true_peak(wave: Waveform) -> float:
    """Highest peak of the continuous signal in dBTP, by 4× oversampling; -inf for silence."""
    peak = max(float(np.abs(signal.resample_poly(wave, OVERSAMPLING, 1, axis=-1)).max()), float(np.abs(wave).max()))
    return float(20 * np.log10(peak)) if peak > 0 else float("-inf")


def low_pass_anchor(wave: Waveform, rate: int, corner: int) -> Waveform:
    """An anchor of BS.1534-3 §5.1: flat up to `corner` Hz, over 50 dB down from 9/7 of it. Linear phase, no delay, so
    that switching to and from it keeps the place."""
    stop = corner * 9 / 7
    if stop >= rate / 2:
        raise InputError(f"an anchor of {corner} Hz needs audio of more than {2 * stop:.0f} Hz, and this is {rate} Hz")
    taps, beta = signal.kaiserord(60, (stop - corner) / (rate / 2))
    kernel = signal.firwin(taps | 1, (corner + stop) / 2, window=("kaiser", beta), fs=rate)
    return np.asarray(signal.oaconvolve(wave, kernel[None, :], mode="same", axes=-1), dtype=np.float64)


def faded(wave: Waveform, rate: int) -> Waveform:
    """The same sound with raised-cosine ends."""
    length = min(int(FADE_SECONDS * rate), wave.shape[1] // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(1, length))
    out = wave.copy()
    out[:, :length] *= ramp
    out[:, wave.shape[1] - length :] *= ramp[::-1]
    return out


@dataclass(frozen=True)
class HeadphoneStimulus:
    """Three tones; `answer` (1 to 3) is the quietest one."""

    wave: Waveform
    answer: int


def headphone_stimuli(rate: int) -> list[HeadphoneStimulus]:
    """The six orders of the antiphase test (Woods et al. 2017): one tone plain, one 6 dB quieter, one with its right
    channel inverted. Over loudspeakers the inverted one cancels in the air and seems quietest; over headphones it does
    not."""
    time = np.arange(int(0.7 * rate)) / rate
    ramp = np.clip(np.minimum(time, time[-1] - time) / 0.1, 0, 1)
    tone = 0.25 * np.sin(2 * np.pi * 200 * time) * (0.5 - 0.5 * np.cos(np.pi * ramp))
    plain = np.stack([tone, tone])
    kinds = {"plain": plain, "quiet": plain * 10 ** (-6 / 20), "inverted": np.stack([tone, -tone])}
    gap = np.zeros((2, int(0.3 * rate)))
    clips = []
    for order in itertools.permutations(kinds):
        parts = [part for kind in order for part in (kinds[kind], gap)]
        clips.append(HeadphoneStimulus(np.concatenate(parts[:-1], axis=1), order.index("quiet") + 1))
    return clips


def beeps(count: int, rate: int) -> Waveform:
    """`count` clear beeps: the clip of an attention check."""
    time = np.arange(int(0.12 * rate)) / rate
    beep = 0.2 * np.sin(2 * np.pi * 880 * time) * np.hanning(len(time))
    one = np.concatenate([beep, np.zeros(int(0.28 * rate))])
    return np.concatenate([np.zeros(int(0.3 * rate)), np.tile(one, count)])[None, :]


def practice_loop(rate: int, seconds: float, rng: np.random.Generator) -> Waveform:
    """A short broadband loop, so that the difference between a clip and its low-passed copies is easy to hear."""
    step = 0.25
    time = np.arange(int(step * rate)) / rate
    notes = []
    for midi in itertools.islice(itertools.cycle((60, 64, 67, 72, 69, 65, 62, 67)), int(np.ceil(seconds / step))):
        frequency = 440 * 2 ** ((midi - 69) / 12)
        harmonics = [k for k in range(1, 40) if k * frequency < 0.45 * rate]
        note = np.sum([np.sin(2 * np.pi * k * frequency * time) / k for k in harmonics], axis=0)
        hiss = rng.standard_normal(len(time)) * np.exp(-time * 40)
        notes.append((note * np.exp(-time * 6) + 0.5 * hiss) * 0.2)
    return np.concatenate(notes)[None, : int(seconds * rate)]
