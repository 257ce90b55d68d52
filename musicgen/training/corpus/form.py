"""Bars in order: sections, phrases and their chords.

A composition is an optional introduction, sections of 4, 8 or 12 bars after the genre's form until the time is used up, a
cadence in the last full bar, and an ending on the tonic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from musicgen.training.corpus.genre import Genre
from musicgen.training.corpus.randomness import chance, pick
from musicgen.training.corpus.theory import Chord, Key, parse_chord

PHRASE = 4
"""Bars."""
INTRO = "intro"
ENDING = "ending"


@dataclass(frozen=True)
class Bar:
    """section: "intro", "A", "A'", "B" ... or "ending"; number: counted from the section's first bar, from 0; length: bars
    of the section; chords: equally long."""

    section: str
    number: int
    length: int
    chords: tuple[Chord, ...]

    @property
    def letter(self) -> str:
        """The section without its prime: bars with one letter share their material."""
        return self.section.rstrip("'")

    @property
    def varied(self) -> bool:
        """Whether the section repeats an earlier one with changes."""
        return self.section.endswith("'")

    @property
    def phrase(self) -> int:
        """Which four-bar phrase of the section."""
        return self.number // PHRASE

    @property
    def place(self) -> int:
        """Which bar of its phrase, from 0."""
        return self.number % PHRASE

    @property
    def closes_section(self) -> bool:
        """Whether a new section follows."""
        return self.number == self.length - 1

    @property
    def closes_phrase(self) -> bool:
        """Whether the phrase ends here."""
        return self.place == PHRASE - 1 or self.closes_section

    def chord_at(self, beat: float, beats: int) -> Chord:
        """The chord at a beat of this bar of `beats` beats."""
        return self.chords[min(int(beat / beats * len(self.chords)), len(self.chords) - 1)]


def plan(genre: Genre, key: Key, num_bars: int, bar_seconds: float, rng: np.random.Generator) -> list[Bar]:
    """`num_bars` full bars and the ending: num_bars + 1 in all."""
    progressions = dict(zip("AB", pick(rng, genre.progressions(key.quality)), strict=True))
    bars_of = {letter: _bars(numerals, key) for letter, numerals in progressions.items()}

    cadence = _bars(genre.cadences[key.quality == "minor"], key)[0]
    tonic = _tonic(bars_of["A"][0][0], key)

    bars: list[Bar] = []
    if chance(rng, 0.6):
        length = min(2 if bar_seconds < 1.8 else 1, max(num_bars - PHRASE, 0))
        bars += [Bar(INTRO, number, length, bars_of["A"][number]) for number in range(length)]
    form = pick(rng, genre.forms).split()
    section = 0
    while len(bars) < num_bars:
        name = form[section % len(form)]
        chords = bars_of[name.rstrip("'")]
        if genre.answers and name.endswith("'"):
            chords = [*chords[:-2], cadence, (tonic,)]
        length = min(len(chords), num_bars - len(bars))
        bars += [Bar(name, number, length, chords[number]) for number in range(length)]
        section += 1

    bars[-1] = replace(bars[-1], chords=cadence)
    bars.append(Bar(ENDING, 0, 1, (tonic,)))
    return bars


def _bars(numerals: str, key: Key) -> list[tuple[Chord, ...]]:
    return [tuple(parse_chord(numeral, key) for numeral in bar.split(",")) for bar in numerals.split()]


def _tonic(first: Chord, key: Key) -> Chord:
    """The opening chord where that is the tonic, so that a composition ends in its own colour."""
    return first if first.root == key.tonic else Chord(key.tonic, "" if key.quality == "major" else "m")
