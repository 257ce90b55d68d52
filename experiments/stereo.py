"""Stereo: inter-channel coherence, and downmix of clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.signal import coherence, welch

from musicgen import audio, samples

WINDOW = 2048
"""Samples."""


def mixed_down(folder: Path, into: Path) -> Path:
    """Write the samples folder `into` with the clips of `folder` mixed down to mono."""
    writer = samples.Writer(into, "ours")
    for sample in samples.read(folder).samples:
        if sample.id not in writer:
            clip = audio.read(folder / sample.audio).mono()
            writer.add(sample.id, clip, prompt=sample.prompt, seed=sample.seed, settings=dict(sample.settings))
    return into


def similarity(file: Path) -> float:
    """Magnitude-squared coherence of left and right (Welch), the mean over frequencies weighted by their power; 1 for mono."""
    decoded = audio.read(file)
    if decoded.wave.shape[0] == 1:
        return 1.0
    left, right = (channel.double().numpy() for channel in decoded.wave)
    _, alike = coherence(left, right, decoded.rate, nperseg=WINDOW)
    power = sum(welch(channel, decoded.rate, nperseg=WINDOW)[1] for channel in (left, right))
    if power.sum() == 0:
        return 1.0
    return float(np.average(np.nan_to_num(alike, nan=1.0), weights=power))


def distances(clips: Mapping[str, Path], references: Mapping[str, Path]) -> dict[str, float]:
    """id → distance between the coherence of the clip and of its reference."""
    return {name: abs(similarity(file) - similarity(references[name])) for name, file in clips.items()}
