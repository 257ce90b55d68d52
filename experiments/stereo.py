"""Stereo signals: mid and side, inter-channel coherence, and the energy of the side.

mid = (left + right) / 2, which is also the mix to mono        side = (left - right) / 2
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.signal import coherence, welch

from musicgen import audio, samples
from musicgen.audio import Audio

WINDOW = 2048
"""Samples."""
FLOOR = -60.0
"""dB; the side of a mono clip, which has no energy, counts as this."""
Part = Literal["mid", "side"]


def part_of(clip: Audio, part: Part) -> Audio:
    """The mid or the side of a clip, as one channel; the side of a mono clip is silence."""
    if part == "mid":
        return clip.mono()
    wave = clip.wave if clip.wave.shape[0] == 2 else clip.wave.expand(2, -1)
    return Audio((wave[:1] - wave[1:]) / 2, clip.rate)


def write_part(folder: Path, into: Path, part: Part) -> Path:
    """Write the samples folder `into` with one part of each clip of `folder`; what is there already is kept."""
    writer = samples.Writer(into, "ours")
    for sample in samples.read(folder).samples:
        if sample.id not in writer:
            clip = part_of(audio.read(folder / sample.audio), part)
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


def side_energy(file: Path) -> float:
    """The energy of the side as a share of mid and side together, in dB; FLOOR at least."""
    decoded = audio.read(file)
    mid, side = (float(part_of(decoded, part).wave.double().square().sum()) for part in ("mid", "side"))
    share = side / (mid + side) if mid + side > 0 else 0.0
    return max(FLOOR, 10 * math.log10(share)) if share > 0 else FLOOR


def distances(
    measure: Callable[[Path], float], clips: Mapping[str, Path], references: Mapping[str, Path]
) -> dict[str, float]:
    """id → distance between what `measure` says of the clip and of its reference."""
    return {name: abs(measure(file) - measure(references[name])) for name, file in clips.items()}
