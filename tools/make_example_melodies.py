"""python tools/make_example_melodies.py: the melodies that the page offers to click, demo/ui/melodies.

The melodies of three compositions, without their accompaniment: two as their lead instrument plays them, one as if somebody
hummed it. Needs the soundfont of the composed corpus.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from musicgen import audio
from musicgen.audio import Audio
from musicgen.training.corpus import SAMPLE_RATE, compose
from musicgen.training.corpus.composition import Part
from musicgen.training.corpus.renderer import stem

FOLDER = Path(__file__).parents[1] / "demo" / "ui" / "melodies"
SECONDS = 10.0
PLAYED = {"violin-waltz": ("waltz", "violin", 7_301), "harpsichord-line": ("baroque", "harpsichord", 7_302)}
"""Name of the file -> genre, lead, seed."""
HUMMED = {"hummed-tune": ("bossa nova", "flute", 7_303)}
FORMANTS = ((350.0, 120.0, 1.0), (1_100.0, 200.0, 0.12), (2_400.0, 300.0, 0.04))
"""Of a closed mouth: Hz, bandwidth in Hz, gain."""
HARMONICS = 24
GLIDE = 0.03
"""Seconds after which a hum has come closer to the next pitch by a factor of e."""


def melody(genre: str, lead: str, seed: int) -> Part:
    """The lead of a composition, from its first note on."""
    composition = compose(seed, duration=SECONDS + 8.0, genre=genre, lead=lead)
    part = composition.lead
    start = part.notes[0].onset - 0.1
    notes = tuple(
        type(note)(note.onset - start, min(note.offset - start, SECONDS), note.pitch, note.velocity)
        for note in part.notes
        if note.onset - start < SECONDS - 0.3
    )
    return Part(part.role, part.instrument, notes, part.level, 0.0, part.words)


def hum(part: Part) -> np.ndarray:
    """A part as a voice would hum it: float32 [1, T]. An octave lower than the flute, gliding, with vibrato and breath."""
    time = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    target, loud = np.zeros_like(time), np.zeros_like(time)
    for note in part.notes:
        inside = (time >= note.onset) & (time < note.offset)
        target[time >= note.onset] = note.pitch - 12
        loud[inside] = note.velocity / 127
    target[target == 0] = part.notes[0].pitch - 12
    pitch = _smooth(target, GLIDE) + 0.18 * np.sin(2 * np.pi * 5.2 * time) * _smooth(loud > 0, 0.25)
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    wave = np.zeros_like(time)
    for harmonic in range(1, HARMONICS + 1):
        heard = harmonic * frequency
        gain = sum(level / (1 + ((heard - centre) / width) ** 2) for centre, width, level in FORMANTS)
        wave += gain / harmonic * np.sin(harmonic * phase)
    breath = 0.01 * _smooth(np.random.default_rng(0).standard_normal(len(time)), 0.0005)
    return ((wave + breath) * _smooth(loud, 0.04))[None].astype(np.float32)


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """A one-pole low-pass of that time constant."""
    from scipy.signal import lfilter

    keep = np.exp(-1 / (seconds * SAMPLE_RATE))
    start = np.array([keep * float(values[0])])
    return lfilter([1 - keep], [1, -keep], np.asarray(values, dtype=np.float64), zi=start)[0]


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    waves = {name: stem(melody(*of), SECONDS).mean(axis=0, keepdims=True) for name, of in PLAYED.items()}
    waves |= {name: hum(melody(*of)) for name, of in HUMMED.items()}
    for name, wave in waves.items():
        clip = audio.normalise_loudness(Audio(torch.from_numpy(np.ascontiguousarray(wave)), SAMPLE_RATE))
        audio.write(FOLDER / f"{name}.ogg", clip)
        print(f"{name}.ogg: {(FOLDER / f'{name}.ogg').stat().st_size} bytes")


if __name__ == "__main__":
    main()
