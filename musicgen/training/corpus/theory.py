"""Keys, scales and chords.

Pitch classes count semitones from C (0 to 11); pitches are MIDI numbers (60 is middle C). Chords are written as Roman
numerals relative to the tonic's MAJOR scale, so that a minor key's usual chords are i, iv, bVI and bVII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from musicgen.errors import InputError
from musicgen.tonality import MAJOR_NAMES, MINOR_NAMES

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
}
"""Mode -> semitones above the tonic."""

PENTATONICS = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}
BLUES = {"major": (0, 2, 3, 4, 7, 9), "minor": (0, 3, 5, 6, 7, 10)}

QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "5": (0, 7),
    "dim": (0, 3, 6),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "add9": (0, 4, 7, 2),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "m9": (0, 3, 7, 10, 2),
    "7b9": (0, 4, 7, 10, 1),
}
"""Chord quality -> semitones above the root, the root first."""

_DEGREES = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_NUMERAL = re.compile(r"([b#]?)(VII|VI|IV|V|III|II|I)(.*)", re.IGNORECASE)
_LOWER_CASE = {"": "m", "5": "5", "6": "m6", "7": "m7", "9": "m9", "dim": "dim", "dim7": "dim7", "m7b5": "m7b5"}


@dataclass(frozen=True)
class Key:
    """tonic: pitch class; mode: one of SCALES."""

    tonic: int
    mode: str

    def __post_init__(self) -> None:
        if not 0 <= self.tonic < 12 or self.mode not in SCALES:
            raise InputError(
                f"no key with tonic {self.tonic} and mode {self.mode!r}: 0 to 11, one of {', '.join(SCALES)}"
            )

    @property
    def quality(self) -> str:
        """ "major" or "minor", whichever the mode belongs to."""
        return "major" if 4 in SCALES[self.mode] else "minor"

    @property
    def name(self) -> str:
        """Such as "Eb major": one of 24."""
        names = MAJOR_NAMES if self.quality == "major" else MINOR_NAMES
        return f"{names[self.tonic]} {self.quality}"

    @property
    def scale(self) -> tuple[int, ...]:
        """The pitch classes, the tonic first."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])


@dataclass(frozen=True)
class Chord:
    """root: pitch class; quality: one of QUALITIES."""

    root: int
    quality: str

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """The root first."""
        return tuple((self.root + step) % 12 for step in QUALITIES[self.quality])

    def symbol(self, key: Key) -> str:
        """Such as "Bbm7", spelled as the key is."""
        sharps = (
            "#" in key.name or key.name.split()[0] in ("E", "B", "A") or key.name in ("D major", "G major", "E minor")
        )
        names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B") if sharps else MAJOR_NAMES
        return names[self.root] + self.quality


def parse_key(name: str) -> Key:
    """ "F# minor" -> its Key; sharps and flats are both read."""
    letter, _, mode = name.strip().partition(" ")
    steps = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    shift = {"": 0, "#": 1, "b": -1}
    if letter[:1].upper() not in steps or letter[1:] not in shift or mode not in SCALES:
        raise InputError(f"{name!r} is not a key: write it like 'Eb major' or 'F# minor'")
    return Key((steps[letter[0].upper()] + shift[letter[1:]]) % 12, mode)


def parse_chord(numeral: str, key: Key) -> Chord:
    """ "V7" or "bVI" or "ii7" in a key -> the chord. Lower case means minor."""
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise InputError(f"{numeral!r} is not a Roman numeral")
    accidental, degree, suffix = match.groups()
    root = key.tonic + _DEGREES[degree.upper()] + {"b": -1, "#": 1, "": 0}[accidental]
    quality = _LOWER_CASE[suffix] if degree.islower() else suffix
    if quality not in QUALITIES:
        raise InputError(f"{numeral!r} has an unknown quality {quality!r}")
    return Chord(root % 12, quality)


def scale_over(pitch_classes: tuple[int, ...], chord: Chord) -> tuple[int, ...]:
    """A scale bent to a chord: a foreign chord tone takes the place of the scale tone a semitone away, as the leading tone
    replaces the seventh degree over a minor key's dominant. Sorted pitch classes."""
    bent = list(pitch_classes)
    for tone in chord.pitch_classes:
        if tone in pitch_classes:
            continue
        below, above = (tone - 1) % 12, (tone + 1) % 12
        # Between two scale tones, a major third or a diminished chord's tone is a raised degree, any other a lowered one.
        raised = tone == (chord.root + 4) % 12 or chord.quality.startswith("dim")
        replaced = below if below in bent and (raised or above not in bent) else above
        bent = [other for other in bent if other != replaced] + [tone]
    return tuple(sorted(bent))


def nearest(pitch: float, pitch_classes: tuple[int, ...]) -> int:
    """The pitch of one of these classes closest to `pitch`; the lower of two."""
    around = range(int(pitch) - 12, int(pitch) + 13)
    return min((p for p in around if p % 12 in pitch_classes), key=lambda p: (abs(p - pitch), p))


def ladder(pitch_classes: tuple[int, ...], low: int, high: int) -> list[int]:
    """All pitches of these classes from low to high, ascending."""
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in pitch_classes]
