"""Timing: notes of the score in beats -> notes of the performance in seconds, with tempo, swing, strumming and human jitter.

The tempo is steady. A composition begins LEAD_IN seconds late, so that early notes do not start before the first sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen.notes import Note
from musicgen.training.corpus.composition import ScoreNote

LEAD_IN = 0.03
"""Seconds."""
_MOST_LATE = 0.025
"""Seconds: no note is further from its place than this."""
_MIN_LENGTH = 0.04
"""Seconds."""
_OFF_BEAT, _BETWEEN = 0.78, 0.66
"""How loud accented music is on the second half of a beat, and on its other parts."""


@dataclass(frozen=True)
class Clock:
    """Beats <-> seconds at a steady tempo. swing: share of a unit that its first half takes; unit: beats;
    accented: notes on a beat are louder than those between."""

    bpm: float
    swing: float = 0.5
    unit: float = 1.0
    accented: bool = False

    def seconds(self, beat: float) -> float:
        """When a beat is, without swing."""
        return LEAD_IN + beat * 60 / self.bpm

    def beats(self, seconds: float) -> float:
        """The beat at a time, without swing."""
        return (seconds - LEAD_IN) * self.bpm / 60

    def swung(self, beat: float) -> float:
        """When a written position is played: the halves of each unit are stretched and squeezed."""
        whole, part = divmod(beat / self.unit, 1.0)
        warped = part * 2 * self.swing if part < 0.5 else self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return self.seconds((whole + warped) * self.unit)

    def weight(self, beat: float) -> float:
        """The factor of the velocity at a written position."""
        part = beat % 1.0
        return 1.0 if part == 0 or not self.accented else _OFF_BEAT if part == 0.5 else _BETWEEN


def play(
    events: list[ScoreNote], clock: Clock, looseness: float, end: float, rng: np.random.Generator, strum: float = 0.0
) -> tuple[Note, ...]:
    """The notes in the order of their onsets. looseness: seconds, the spread of onsets; end: seconds, when all notes are
    over; strum: seconds from one note of a chord to the next, low to high."""
    notes = []
    in_chord, chord_start = 0, -1.0
    for event in sorted(events, key=lambda e: (e.start, e.pitch)):
        in_chord = in_chord + 1 if event.start == chord_start else 0
        chord_start = event.start
        late = float(np.clip(rng.normal(0, looseness), -_MOST_LATE, _MOST_LATE)) if looseness else 0.0
        onset = max(clock.swung(event.start) + late + in_chord * strum, 0.0)
        offset = min(max(clock.swung(event.start + event.length), onset + _MIN_LENGTH), end)
        spread = 5 if looseness else 2
        velocity = int(np.clip(event.velocity * clock.weight(event.start) + rng.integers(-spread, spread + 1), 1, 127))
        if onset < offset:
            notes.append(Note(round(onset, 6), round(offset, 6), event.pitch, velocity))
    return tuple(sorted(notes, key=lambda note: (note.onset, note.pitch)))
