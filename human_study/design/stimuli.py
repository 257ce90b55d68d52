"""Signals that the study generates or derives: anchors, headphone test tones, beeps, the practice clip.

A waveform is float64 [C, T]; rates are in Hz. This module reads and writes no files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

from musicgen.errors import InputError

Waveform = npt.NDArray[np.float64]

FADE_SECONDS = 0.005
"""Fade-in and fade-out of a clip: cutting inside a waveform would click."""


STOPBAND_DB = 60
"""Attenuation of an anchor's filter; the ripple of the passband is as small: 0.01 dB."""


def low_pass_anchor(wave: Waveform, rate: int, corner: int) -> Waveform:
    """Low-pass filter a recording to make an anchor (BS.1534-3 §5.1).

    For the anchor of 3.5 kHz the standard asks for a ripple of at most ±0.1 dB in the passband, and for an attenuation of at
    least 25 dB at 4 kHz and 50 dB at 4.5 kHz; other corners get the same mask in proportion. This filter reaches 60 dB at 8/7
    of the corner. It has linear phase, and its delay is removed, so that switching between an anchor and the other clips keeps
    the playhead.

    Args:
        wave: [C, T].
        rate: in Hz.
        corner: end of the passband in Hz.

    Returns:
        [C, T].

    Raises:
        InputError: the stopband begins above half the sample rate.
    """
    stop = corner * 8 / 7
    if stop >= rate / 2:
        raise InputError(
            f"an anchor of {corner} Hz needs a sample rate above {2 * stop:.0f} Hz, and the clips have {rate} Hz"
        )
    taps, beta = signal.kaiserord(STOPBAND_DB, (stop - corner) / (rate / 2))
    kernel = signal.firwin(taps | 1, (corner + stop) / 2, window=("kaiser", beta), fs=rate)
    return np.asarray(signal.oaconvolve(wave, kernel[None, :], mode="same", axes=-1), dtype=np.float64)


def faded(wave: Waveform, rate: int) -> Waveform:
    """Apply raised-cosine fades of `FADE_SECONDS` at both ends.

    Args:
        wave: [C, T].
        rate: in Hz.

    Returns:
        [C, T], a copy.
    """
    length = min(int(FADE_SECONDS * rate), wave.shape[1] // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(1, length))
    out = wave.copy()
    out[:, :length] *= ramp
    out[:, wave.shape[1] - length :] *= ramp[::-1]
    return out


@dataclass(frozen=True)
class HeadphoneStimulus:
    """Three tones of the headphone check.

    Attributes:
        wave: [2, T].
        answer: number of the quietest tone, 1 to 3.
    """

    wave: Waveform
    answer: int


def headphone_stimuli(rate: int) -> list[HeadphoneStimulus]:
    """The six permutations of the antiphase headphone check (Woods et al. 2017).

    One tone is plain, one is 6 dB quieter, one has its right channel inverted. Over loudspeakers the inverted tone cancels and
    seems the quietest; over headphones it does not.

    Args:
        rate: in Hz.

    Returns:
        One stimulus for each order of the three tones.
    """
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


def beeps(count: int, rate: int, most: int) -> Waveform:
    """The clip of an attention check. Its length does not depend on the number of beeps, which it would reveal.

    Args:
        count: number of beeps.
        rate: in Hz.
        most: the largest number of beeps among the clips of the study, which sets their length.

    Returns:
        [1, T].
    """
    time = np.arange(int(0.12 * rate)) / rate
    beep = 0.2 * np.sin(2 * np.pi * 880 * time) * np.hanning(len(time))
    one = np.concatenate([beep, np.zeros(int(0.28 * rate))])
    silence = np.zeros_like(one)
    return np.concatenate([np.zeros(int(0.3 * rate)), np.tile(one, count), np.tile(silence, most - count)])[None, :]


def practice_loop(rate: int, seconds: float, rng: np.random.Generator) -> Waveform:
    """A short broadband loop for the practice page: low-pass filtering it is easy to hear.

    Args:
        rate: in Hz.
        seconds: length.
        rng: source of the noise.

    Returns:
        [1, T].
    """
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
