"""The definition of a genre. The genres are data, in `genres/`."""

from __future__ import annotations

from dataclasses import dataclass

METRES = {"4/4": 4, "3/4": 3, "6/8": 2}
"""Time signature -> beats a bar; in 6/8 a beat is a dotted quarter."""


@dataclass(frozen=True)
class Layer:
    """An accompanying part. role: its name in the sidecar; instruments: one is drawn; patterns: one is drawn, with `x` for
    the chord, `X` for an accented one and 1 to 5 for single voices from the bottom; register: the lowest and highest
    MIDI pitch; voices: at most this number; level: dB relative to the lead; words: for captions, with {} for the instrument;
    chance: how many compositions have it; strum: seconds between neighbouring voices."""

    role: str
    instruments: tuple[str, ...]
    patterns: tuple[str, ...]
    register: tuple[int, int] = (50, 69)
    voices: int = 4
    level: float = -9.0
    words: str = "{}"
    chance: float = 1.0
    strum: float = 0.0


@dataclass(frozen=True)
class Bass:
    """The bass part. patterns: `r` root, `5` fifth, `8` octave, `3` third, `7` lower seventh or sixth, `w` a chord tone that
    moves on, `a` a step towards the next root; words: as in Layer."""

    instruments: tuple[str, ...]
    patterns: tuple[str, ...]
    low: int = 33
    level: float = -5.0
    words: str = "{}"


@dataclass(frozen=True)
class Groove:
    """A drum part. lanes: (drum, pattern) with `X` accented, `x` normal and `o` soft strokes; words: for captions, true of
    every bar; fill: a key of `drums.FILLS`, or None."""

    lanes: tuple[tuple[str, str], ...]
    words: str
    fill: str | None = "toms"


@dataclass(frozen=True)
class Genre:
    """What the composer needs to know to write in one genre.

    words: what people call it; tempo: lowest and highest bpm; modes: (mode, weight); major, minor: pairs of progressions
    (A section, B section), bars parted by spaces and chords within a bar by commas; cadences: the bar before the final
    tonic, in major and in minor; melody: a key of `rhythms.RHYTHMS`; scale: "full", "pentatonic" or "blues";
    answers: whether a varied section (A') ends with the cadence on the tonic, as an answer to its model;
    swing: share of a unit that its first half takes (0.5 straight, 2/3 triplets), swing_unit: beats;
    looseness: seconds, the spread of human timing; late_drums: how often drums wait until the introduction is over;
    reverb: seconds; wet: dB of the reverb; bandwidth: Hz of a low-pass over everything, or None; crackle: dB of record
    noise, or None; feel: what the bpm is multiplied with before a caption calls it slow or fast.
    """

    name: str
    words: tuple[str, ...]
    tempo: tuple[int, int]
    modes: tuple[tuple[str, float], ...]
    major: tuple[tuple[str, str], ...]
    minor: tuple[tuple[str, str], ...]
    cadences: tuple[str, str]
    melody: str
    leads: tuple[str, ...]
    layers: tuple[Layer, ...]
    bass: Bass | None
    kits: tuple[str, ...]
    grooves: tuple[Groove, ...]
    forms: tuple[str, ...]
    bright_moods: tuple[str, ...]
    dark_moods: tuple[str, ...]
    metre: str = "4/4"
    scale: str = "full"
    answers: bool = False
    swing: float = 0.5
    swing_unit: float = 1.0
    looseness: float = 0.005
    drum_level: float = -3.0
    late_drums: float = 0.35
    reverb: float = 1.2
    wet: float = -17.0
    bandwidth: float | None = None
    crackle: float | None = None
    feel: float = 1.0

    @property
    def beats(self) -> int:
        """Beats a bar."""
        return METRES[self.metre]

    def moods(self, quality: str) -> tuple[str, ...]:
        """The moods of its compositions in a major or a minor key."""
        return self.bright_moods if quality == "major" else self.dark_moods

    def progressions(self, quality: str) -> tuple[tuple[str, str], ...]:
        """The (A, B) progressions of its compositions in a major or a minor key."""
        return self.major if quality == "major" else self.minor
