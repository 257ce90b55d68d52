"""Notes with their times, composed or transcribed, and writing them as a MIDI file."""

from __future__ import annotations

import io
from dataclasses import dataclass

_TICKS = 480
"""Of a quarter note in a MIDI file."""
_DEFAULT_BPM = 120.0


@dataclass(frozen=True)
class Note:
    """onset, offset: seconds; pitch: MIDI number; velocity: 1 to 127."""

    onset: float
    offset: float
    pitch: int
    velocity: int


def midi_bytes(notes: list[Note], bpm: float | None) -> bytes:
    """A MIDI file of one track.

    Args:
        notes: in any order; several may sound at the same time.
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
