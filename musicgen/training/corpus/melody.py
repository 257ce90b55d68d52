"""Melodies: motifs that are stated, transposed and varied over the chords, phrase by phrase.

A motif is a bar's rhythm and a contour in scale steps. Sections with one letter share motifs; a phrase runs a b a' with a
cadence, and the last phrase of a section closes on the tonic where the chord allows. Long and accented notes are chord
tones, the others move by step, so that the dominant pitch class of the audio is that of the melody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen.training.corpus.composition import ScoreNote
from musicgen.training.corpus.form import ENDING, INTRO, PHRASE, Bar
from musicgen.training.corpus.genre import Genre
from musicgen.training.corpus.randomness import chance, pick
from musicgen.training.corpus.rhythms import RHYTHMS, RhythmStyle
from musicgen.training.corpus.step_patterns import Hit, hits
from musicgen.training.corpus.theory import BLUES, PENTATONICS, Chord, Key, ladder, nearest, scale_over

_PLANS = ("abac", "aabc", "abcd", "abab")
_ARCHES = ((0.0, 2.0, 3.0, -1.0), (2.0, 0.0, 1.0, -2.0), (-1.0, 1.0, 3.0, 0.0))
"""Where the four bars of a phrase lie, in semitones around the middle of the range."""
_B_LIFT = 2.5
"""Semitones that a B section lies higher."""


@dataclass(frozen=True)
class _Motif:
    rhythm: str
    contour: tuple[int, ...]
    """Scale steps of each note from the first."""


class _Motifs:
    """The material of a composition: one motif a letter of a section's plan, invented when first asked for."""

    def __init__(self, style: RhythmStyle, beats: int, rng: np.random.Generator) -> None:
        self._style, self._beats, self._rng = style, beats, rng
        self._known: dict[tuple[str, ...], _Motif] = {}
        self._plan = pick(rng, _PLANS)
        self._arch = pick(rng, _ARCHES)

    def of(self, bar: Bar) -> _Motif:
        """The motif of a bar inside a phrase."""
        # In twelve bars the third phrase answers the first two; otherwise all phrases of a section share motifs.
        stanza = "answer" if bar.phrase == 2 else "call"
        return self._remembered((bar.letter, stanza, self._plan[bar.place]), self._style.bars)

    def cadence(self, bar: Bar) -> _Motif:
        """The motif of a bar that ends a phrase."""
        closing = "close" if bar.closes_section else "open"
        return self._remembered((bar.letter, closing), self._style.cadences)

    def height(self, bar: Bar) -> float:
        """Semitones above the middle of the range."""
        return self._arch[bar.place] + (_B_LIFT if bar.letter == "B" else 0.0)

    def _remembered(self, name: tuple[str, ...], rhythms: tuple[str, ...]) -> _Motif:
        if name not in self._known:
            rhythm = pick(self._rng, rhythms)
            self._known[name] = _Motif(rhythm, self._contour(len(hits(rhythm, 0, self._beats))))
        return self._known[name]

    def _contour(self, notes: int) -> tuple[int, ...]:
        """A walk that mostly steps on in one direction, sometimes leaps, and leans back towards where it began."""
        steps, place = [0], 0
        direction = 1 if chance(self._rng, 0.5) else -1
        for _ in range(notes - 1):
            if chance(self._rng, 0.35) or abs(place) > 3:
                direction = -1 if place > 0 else 1
            size = 1 if chance(self._rng, 0.75) else int(self._rng.integers(2, self._style.leaps + 1))
            place += direction * size
            steps.append(place)
        return tuple(steps)


def compose(
    bars: list[Bar], genre: Genre, key: Key, register: tuple[int, int], ending: float, rng: np.random.Generator
) -> list[ScoreNote]:
    """The melody over `bars`, in beats; register: lowest and highest pitch; ending: beats that the last note may last."""
    style = RHYTHMS[genre.melody]
    motifs = _Motifs(style, genre.beats, rng)
    low, high = register
    middle = (low + high) / 2 - 1
    events: list[ScoreNote] = []
    recent = [nearest(middle, (key.tonic,))]
    for index, bar in enumerate(bars):
        start = float(index * genre.beats)
        if bar.section == INTRO:
            continue
        if bar.section == ENDING:
            events.append(ScoreNote(start, ending, _inside(nearest(recent[-1], (key.tonic,)), low, high), 100))
            continue
        before_end = bars[index + 1].section == ENDING
        motif = motifs.cadence(bar) if bar.closes_phrase and not before_end else motifs.of(bar)
        notes = hits(motif.rhythm, 0, genre.beats)
        pitches = _realise(motif, notes, bar, genre, key, (low, high), middle + motifs.height(bar), recent)
        if bar.closes_phrase and not before_end:
            pitches[-1] = _resting_tone(bar, key, pitches[-1], low, high)
        if bar.varied and bar.place in (1, 2) and chance(rng, 0.4):
            notes, pitches = _decorated(notes, pitches, bar, genre, key, low, high)
        for hit, pitch in zip(notes, pitches, strict=True):
            events.append(ScoreNote(start + hit.start, hit.length * style.legato, pitch, _velocity(hit, bar, genre)))
        recent = [*recent, *pitches][-2:]
    return events


def _realise(
    motif: _Motif,
    notes: tuple[Hit, ...],
    bar: Bar,
    genre: Genre,
    key: Key,
    register: tuple[int, int],
    height: float,
    recent: list[int],
) -> list[int]:
    """The pitches of a motif over a bar's chords; recent: the pitches just before."""
    low, high = register
    first = bar.chord_at(notes[0].start, genre.beats)
    # A phrase that begins at home says so: on the tonic or the third, which tells major from minor.
    at_home = bar.place == 0 and first.root == key.tonic
    opening = first.pitch_classes[:2] if at_home else _stable(first)
    # Between where the phrase wants to be and where the line is, so that repeats move with the harmony but do not jump.
    anchor = _inside(nearest(0.55 * height + 0.45 * recent[-1], opening), low, high)
    pitches: list[int] = []
    for hit, step in zip(notes, motif.contour, strict=True):
        chord = bar.chord_at(hit.start, genre.beats)
        rungs = ladder(_melody_scale(genre, key, chord), low - 12, high + 12)
        origin = min(range(len(rungs)), key=lambda i: abs(rungs[i] - anchor))
        pitch = rungs[max(0, min(origin + step, len(rungs) - 1))]
        if not low <= pitch <= high:  # the contour is turned over rather than torn by an octave
            pitch = rungs[max(0, min(origin - step, len(rungs) - 1))]
        if _is_strong(hit):
            pitch = nearest(pitch, opening if not pitches else _stable(chord))
        pitch = _inside(pitch, low, high)
        before = [*recent, *pitches]
        if abs(pitch - before[-1]) > 9:
            pitch = _inside(nearest(before[-1], (pitch % 12,)), low, high)
        if len(before) > 1 and pitch == before[-1] == before[-2]:
            others = tuple(tone for tone in _stable(chord) if tone != pitch % 12) if _is_strong(hit) else ()
            pitch = _inside(nearest(pitch + 1, others) if others else _neighbour(pitch, rungs), low, high)
        pitches.append(pitch)
    return pitches


def _decorated(
    notes: tuple[Hit, ...], pitches: list[int], bar: Bar, genre: Genre, key: Key, low: int, high: int
) -> tuple[tuple[Hit, ...], list[int]]:
    """The bar with its longest note turned into a note, its neighbour and the note again."""
    longest = max(range(len(notes)), key=lambda i: notes[i].length)
    hit = notes[longest]
    if hit.length < genre.beats / 4:
        return notes, pitches
    rungs = ladder(_melody_scale(genre, key, bar.chord_at(hit.start, genre.beats)), low - 12, high + 12)
    half, quarter = hit.length / 2, hit.length / 4
    turned = (
        Hit(hit.start, half, hit.symbol),
        Hit(hit.start + half, quarter, "x"),
        Hit(hit.start + half + quarter, quarter, "x"),
    )
    pitch = pitches[longest]
    return (
        notes[:longest] + turned + notes[longest + 1 :],
        [*pitches[:longest], pitch, _inside(_neighbour(pitch, rungs), low, high), pitch, *pitches[longest + 1 :]],
    )


def _resting_tone(bar: Bar, key: Key, pitch: int, low: int, high: int) -> int:
    """Where a phrase comes to rest: the tonic at a section's end if the chord holds it, else a plain chord tone."""
    chord = bar.chords[-1]
    classes = (key.tonic,) if bar.closes_section and key.tonic in chord.pitch_classes else chord.pitch_classes[:2]
    return _inside(nearest(pitch, classes), low, high)


def _melody_scale(genre: Genre, key: Key, chord: Chord) -> tuple[int, ...]:
    if genre.scale == "full":
        return scale_over(key.scale, chord)
    steps = (PENTATONICS if genre.scale == "pentatonic" else BLUES)[key.quality]
    own = tuple((key.tonic + step) % 12 for step in steps)
    return scale_over(own, chord) if genre.scale == "pentatonic" else own


def _stable(chord: Chord) -> tuple[int, ...]:
    """The tones of a chord that a strong note may be: the triad."""
    return chord.pitch_classes[:3]


def _is_strong(hit: Hit) -> bool:
    return hit.length >= 1 or hit.start % 2 == 0


def _neighbour(pitch: int, rungs: list[int]) -> int:
    """The next scale tone above."""
    return min((rung for rung in rungs if rung > pitch), default=pitch)


def _inside(pitch: int, low: int, high: int) -> int:
    """The same pitch class within the range."""
    while pitch > high:
        pitch -= 12
    while pitch < low:
        pitch += 12
    return pitch


def _velocity(hit: Hit, bar: Bar, genre: Genre) -> int:
    """Louder on the beat and towards the middle of a phrase."""
    arch = (0, 4, 7, 2)[bar.place % PHRASE]
    accent = 14 if hit.start == 0 else 9 if hit.start == genre.beats / 2 else 6 if hit.start % 1 == 0 else 0
    return 82 + arch + accent
