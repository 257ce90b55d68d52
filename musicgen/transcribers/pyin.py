"""Monophonic transcription by pYIN (Mauch and Dixon 2014), which follows the strongest voice."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from musicgen import numba_cache
from musicgen.notes import Note
from musicgen.transcribers.registry import DEFAULT, Transcriber

if TYPE_CHECKING:
    from musicgen.audio import Audio

RATE = 22_050
"""Hz at which sound is analysed."""
HOP = 512
"""Samples: 23 ms."""
LOWEST, HIGHEST = 36, 96
"""MIDI numbers of the pitches that are looked for: C2 to C7."""
SHORTEST = 0.08
"""Seconds: shorter notes are left out."""


def transcribe(clip: Audio) -> list[Note]:
    """The notes of the melody of a recording, in order and without overlap.

    Args:
        clip: float32 [C, T].
    """
    numba_cache.provide()
    import librosa

    samples = clip.mono().resampled(RATE).wave[0].cpu().numpy()
    if len(samples) < 4 * HOP or not samples.any():
        return []
    low, high = librosa.midi_to_hz([LOWEST, HIGHEST])
    frequencies, voiced, _ = librosa.pyin(samples, fmin=low, fmax=high, sr=RATE, frame_length=2048, hop_length=HOP)
    levels = librosa.feature.rms(y=samples, frame_length=2048, hop_length=HOP)[0]
    pitches = np.where(voiced, np.round(librosa.hz_to_midi(np.where(voiced, frequencies, 440.0))), -1).astype(int)
    borders = np.flatnonzero(np.diff(pitches, prepend=-2, append=-2))
    loudest = max(float(levels.max()), 1e-9)
    notes = []
    for start, end in pairwise(borders.tolist()):
        if pitches[start] >= 0 and (end - start) * HOP >= SHORTEST * RATE:
            velocity = int(np.clip(round(127 * float(levels[start:end].mean()) / loudest), 1, 127))
            notes.append(Note(start * HOP / RATE, end * HOP / RATE, int(pitches[start]), velocity))
    return notes


TRANSCRIBER = Transcriber(DEFAULT, "one voice", ("vocals", "other"), "melody.mid", transcribe)
