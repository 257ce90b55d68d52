"""Diagnostics of single clips, for faults that no distance between sets shows: silence, clipping, loudness, duplicates.

Conventions: wave float [C, T]; loudness in LUFS (BS.1770-4), peak in dBFS, durations in seconds, the rest as shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from musicgen import audio
from musicgen.audio import Audio

VERSION = "1"
FULL_SCALE = 0.999
"""Absolute value from which a sample counts as clipped."""
SILENCE_DB = -60.0
"""RMS in dBFS below which a frame is silent."""
FRAME_SECONDS = 0.05
SILENT_LUFS = -60.0
"""LUFS below which a whole clip is silent (BS.1770's absolute gate is at −70)."""


@dataclass(frozen=True)
class Diagnosis:
    """Of one clip.

    Attributes:
        duration: seconds.
        channels: how many.
        rate: Hz.
        loudness: LUFS, -inf for silence.
        peak: dBFS, -inf for silence.
        clipped: share of samples at full scale.
        silence: share of 50-ms frames below −60 dBFS.
    """

    duration: float
    channels: int
    rate: int
    loudness: float
    peak: float
    clipped: float
    silence: float

    @property
    def silent(self) -> bool:
        """Whether the whole clip is silent."""
        return self.silence == 1.0 or (self.loudness < SILENT_LUFS and self.duration >= audio.MIN_LOUDNESS_SECONDS)


def diagnose(clip: Audio) -> Diagnosis:
    """Measure a decoded clip."""
    wave = clip.wave.float()
    peak = float(wave.abs().max()) if wave.numel() else 0.0
    frame = max(1, round(FRAME_SECONDS * clip.rate))
    mono = wave.square().mean(dim=0)
    padding = -len(mono) % frame
    energy = torch.nn.functional.pad(mono, (0, padding)).reshape(-1, frame).sum(dim=1)
    lengths = torch.full_like(energy, frame)
    lengths[-1] -= padding
    silence = (energy / lengths < 10 ** (SILENCE_DB / 10)).float().mean()
    return Diagnosis(
        clip.duration,
        wave.shape[0],
        clip.rate,
        audio.loudness(clip),
        20 * math.log10(peak) if peak > 0 else -math.inf,
        float((wave.abs() >= FULL_SCALE).float().mean()),
        float(silence),
    )


def duplicates(hashes: Mapping[str, str]) -> dict[str, str]:
    """Clips with exactly the samples of an earlier clip.

    Args:
        hashes: clip id -> hash of its samples.

    Returns:
        id of the duplicate -> id of the first clip with these samples.
    """
    first: dict[str, str] = {}
    return {name: first[value] for name, value in hashes.items() if first.setdefault(value, name) != name}


def summary(clips: Sequence[Diagnosis]) -> dict[str, float]:
    """Means, extremes and counts over clips, by name; empty for no clips."""
    if not clips:
        return {}
    loud = [clip.loudness for clip in clips if math.isfinite(clip.loudness)]
    return {
        "duration": sum(clip.duration for clip in clips) / len(clips),
        "shortest": min(clip.duration for clip in clips),
        "longest": max(clip.duration for clip in clips),
        "loudness": sum(loud) / len(loud) if loud else -math.inf,
        "clipped": sum(clip.clipped for clip in clips) / len(clips),
        "silence": sum(clip.silence for clip in clips) / len(clips),
        "silent_clips": float(sum(clip.silent for clip in clips)),
    }
