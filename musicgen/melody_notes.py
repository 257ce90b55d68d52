"""The notes of a melody in a recording: one voice, by pYIN, as a MIDI file.

pYIN (Mauch and Dixon 2014) finds one pitch at a time: of chords and of several voices it follows the strongest. basic-pitch,
which hears several, asks for TensorFlow below 2.15.1 and resampy below 0.4.3, beside which this package's own requirements
cannot be installed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from musicgen import numba_cache
from musicgen.audio import Audio

RATE = 22_050
"""Hz at which sound is analysed."""
HOP = 512
"""Samples: 23 ms."""
LOWEST, HIGHEST = 36, 96
"""MIDI numbers of the pitches that are looked for: C2 to C7."""
SHORTEST = 0.08
"""Seconds: shorter notes are left out."""
_TICKS = 480
"""Of a quarter note in a MIDI file."""
_DEFAULT_BPM = 120.0


@dataclass(frozen=True)
class MelodyNote:
    """onset, offset: seconds; pitch: MIDI number; velocity: 1 to 127."""

    onset: float
    offset: float
    pitch: int
    velocity: int


def transcribe(clip: Audio) -> list[MelodyNote]:
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
            notes.append(MelodyNote(start * HOP / RATE, end * HOP / RATE, int(pitches[start]), velocity))
    return notes


def midi_bytes(notes: list[MelodyNote], bpm: float | None) -> bytes:
    """A MIDI file of one track.

    Args:
        notes: of the melody.
        bpm: quarter notes a minute, None where no tempo is known: 120 then.
    """
    import mido

    tempo = mido.bpm2tempo(bpm or _DEFAULT_BPM)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo, time=0)])
    # An end comes before a beginning at the same time: a repeated pitch is struck again.
    events = sorted(
        [(note.onset, 1, note.pitch, note.velocity) for note in notes]
        + [(note.offset, 0, note.pitch, 0) for note in notes]
    )
    before = 0
    for seconds, starts, pitch, velocity in events:
        now = round(mido.second2tick(seconds, _TICKS, tempo))
        track.append(
            mido.Message("note_on" if starts else "note_off", note=pitch, velocity=velocity, time=now - before)
        )
        before = now
    file = mido.MidiFile(ticks_per_beat=_TICKS, tracks=[track])
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()
