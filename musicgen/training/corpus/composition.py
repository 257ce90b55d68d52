"""A composition: parts of notes with their exact times, and the facts they were written from.

Times are seconds from the start of the audio; pitches are MIDI numbers. Before timing is applied, notes are `ScoreNote`s, in
beats.
"""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.notes import Note
from musicgen.training.corpus.theory import Chord, Key

LEAD = "lead"
DRUMS = "drums"


@dataclass(frozen=True)
class ScoreNote:
    """A note of the score: start and length in beats, velocity 1 to 127."""

    start: float
    length: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one player plays. role: "lead", "bass", "drums", or what a layer of the genre is called; level: dB relative to
    the lead; pan: -1 (left) to 1 (right); words: how a caption may put it, with {} for the instrument."""

    role: str
    instrument: str
    notes: tuple[Note, ...]
    level: float
    pan: float
    words: str


@dataclass(frozen=True)
class ChordSpan:
    """A chord and when it sounds, in seconds."""

    onset: float
    offset: float
    chord: Chord


@dataclass(frozen=True)
class Section:
    """A stretch of the form, in seconds: "intro", "A", "A'", "B", "ending"."""

    name: str
    onset: float
    offset: float


@dataclass(frozen=True)
class Composition:
    """What the composer made. bpm: the intended tempo in beats of `beats` (dotted quarters in 6/8); a sequenced composition is
    played within 6 % of it. duration: seconds."""

    seed: int
    title: str
    genre: str
    key: Key
    bpm: int
    metre: str
    duration: float
    moods: tuple[str, ...]
    sections: tuple[Section, ...]
    chords: tuple[ChordSpan, ...]
    parts: tuple[Part, ...]
    beats: tuple[float, ...]
    downbeats: tuple[float, ...]
    sequenced: bool = False

    @property
    def lead(self) -> Part:
        """The part with the melody."""
        return next(part for part in self.parts if part.role == LEAD)

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names without repeats, the lead first."""
        return tuple(dict.fromkeys(part.instrument for part in self.parts))

    @property
    def form(self) -> str:
        """The section names in order, such as "intro A A' B A' ending"."""
        return " ".join(section.name for section in self.sections)
