"""The clips of the tests' study: two imaginary systems, recordings and melodies, made from numpy alone.

"bright" follows the melody and stays close to the recording; "dull" drifts off it, with noise. Small enough to be made
when the tests begin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from human_study.design.stimuli import Waveform
from musicgen import samples
from musicgen.audio import Audio

RATE = 32000
SECONDS = 4.0

PROMPTS = {
    "arpeggio": "a bright synthesizer arpeggio in a major key",
    "bass line": "a slow, warm bass line with soft percussion",
    "bells": "shimmering bells over a quiet pad",
    "march": "a brisk march with a clear beat",
    "lullaby": "a gentle lullaby played on a music box",
    "minor tune": "a thoughtful tune in a minor key on an organ",
}

STUDY = """\
name: example
title: {en: "Listen to music made by computers", de: "Hören Sie Musik vom Computer"}
systems: {bright: samples/bright, dull: samples/dull}
reference: samples/reference
melody: samples/melody
questions:
  - {name: OVL, method: mushra}
  - REL
  - MEL
raters_per_sample: 5
trials_per_rater: 3
open_link: true
headphone_check: record
contact: study@example.org
"""

_SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10)}


def write(folder: Path, seconds: float = SECONDS, items: int = len(PROMPTS)) -> Path:
    """Write the samples folders and STUDY.yaml into `folder`; the path of the latter."""
    made: dict[str, samples.Writer] = {}
    for index, (item, prompt) in enumerate(list(PROMPTS.items())[:items]):
        melody = _melody(index)
        waves = {
            "reference": _tune(melody, seconds, harmonics=8, noise=0.0),
            "melody": _tune(melody, seconds, harmonics=1, noise=0.0),
            "bright": _tune(melody, seconds, harmonics=6, noise=0.01),
            "dull": _tune(np.roll(melody, 3) - 5, seconds, harmonics=2, noise=0.06),
        }
        for system, wave in waves.items():
            writer = made.setdefault(system, samples.Writer(folder / "samples" / system, system))
            if item not in writer:
                clip = Audio(torch.from_numpy(wave).float(), RATE)
                writer.add(item, clip, prompt=prompt, seed=index, settings={"made_by": "tones"})
    study = folder / "STUDY.yaml"
    study.write_text(STUDY, encoding="utf-8")
    return study


def _melody(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    scale = _SCALES[index % 2 == 1]
    steps = np.cumsum(rng.integers(-2, 3, 16)) % 14
    return np.array([57 + index + scale[step % 7] + 12 * (step // 7) for step in steps])


def _tune(melody: np.ndarray, seconds: float, harmonics: int, noise: float) -> Waveform:
    rng = np.random.default_rng(int(melody.sum()))
    length = int(seconds * RATE)
    beat = RATE // 4
    time = np.arange(beat) / RATE
    notes = []
    for number in range(-(-length // beat)):
        frequency = 440 * 2 ** ((melody[number % len(melody)] - 69) / 12)
        note = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, harmonics + 1))
        kick = np.sin(2 * np.pi * 55 * time) * np.exp(-time * 18) if number % 2 == 0 else 0
        notes.append(note * np.exp(-time * 5) + 0.8 * kick)
    wave = np.concatenate(notes)[:length]
    wave = 0.2 * wave + noise * rng.standard_normal(length)
    return (wave / max(1.0, np.abs(wave).max()))[None, :]
