"""Chords, arpeggios and basses: a genre's patterns set to the bars' chords."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from musicgen.training.corpus.composition import ScoreNote
from musicgen.training.corpus.form import ENDING, Bar
from musicgen.training.corpus.genre import Bass, Layer
from musicgen.training.corpus.randomness import chance
from musicgen.training.corpus.step_patterns import hits
from musicgen.training.corpus.theory import Chord, nearest

_ACCENT, _PLAIN = 98, 82


def chords(bars: list[Bar], beats: int, layer: Layer, pattern: str, ending: float) -> list[ScoreNote]:
    """A layer's part in beats, with voices led smoothly from chord to chord; ending: beats of the last chord."""
    events: list[ScoreNote] = []
    voicing: tuple[int, ...] = ()
    last: Chord | None = None
    for index, bar in enumerate(bars):
        start = float(index * beats)
        per_chord = beats / len(bar.chords)
        figure = (
            [(0.0, ending, "x")]
            if bar.section == ENDING
            else [(hit.start, hit.length, hit.symbol) for hit in hits(pattern, index, beats)]
        )
        for at, length, symbol in figure:
            end = at + length
            while at < end - 1e-6:
                # A held sound is struck again where the chord changes under it.
                number = min(int(at / per_chord + 1e-6), len(bar.chords) - 1)
                until = end if bar.section == ENDING else min(end, (number + 1) * per_chord)
                chord = bar.chords[number]
                if chord != last:
                    voicing, last = _voice(chord, layer, voicing), chord
                events += _strike(symbol, voicing, start + at, until - at, _accent(at))
                at = until
    return events


def _accent(at: float) -> int:
    """Velocity that a beat adds: the downbeat most, so that the metre can be heard without drums."""
    return 14 if at == 0 else 8 if at % 1 == 0 else -10


def _strike(symbol: str, voicing: tuple[int, ...], start: float, length: float, accent: int) -> list[ScoreNote]:
    if symbol.isdigit():
        step = int(symbol) - 1
        pitch = voicing[step % len(voicing)] + 12 * (step // len(voicing))
        return [ScoreNote(start, length, pitch, _PLAIN + accent)]
    velocity = _ACCENT if symbol == "X" else _PLAIN + accent
    return [ScoreNote(start, length, pitch, velocity) for pitch in voicing]


def _voice(chord: Chord, layer: Layer, previous: tuple[int, ...]) -> tuple[int, ...]:
    """The close position of a chord within the layer's register that moves least from the previous one."""
    low, high = layer.register
    classes = _kept(chord, layer.voices)
    middle = (low + high) / 2
    candidates = []
    for bottom in range(low, high + 1):
        if bottom % 12 not in classes:
            continue
        pitches = [bottom]
        while len(pitches) < len(classes):
            pitches.append(
                min(
                    p
                    for p in range(pitches[-1] + 1, pitches[-1] + 13)
                    if p % 12 in classes and all((p - q) % 12 for q in pitches)
                )
            )
        candidates.append(tuple(pitches))

    def cost(pitches: tuple[int, ...]) -> tuple[float, int]:
        beyond = max(pitches[-1] - high, 0) * 10
        if len(pitches) == len(previous):
            movement = float(sum(abs(a - b) for a, b in zip(pitches, previous, strict=True)))
        else:
            movement = abs(sum(pitches) / len(pitches) - middle) * 2
        return beyond + movement, pitches[0]

    return min(candidates, key=cost)


def _kept(chord: Chord, voices: int) -> tuple[int, ...]:
    """The tones that matter most when there are more than voices: the root and the fifth go first, except from a triad."""
    tones = chord.pitch_classes
    if len(tones) <= voices:
        return tones
    if voices <= 2 or len(tones) == 3:
        return tones[:voices]
    order = [tones[1], tones[3], tones[0], *tones[4:], tones[2]]
    return tuple(order[:voices])


def bass(
    bars: list[Bar], beats: int, part: Bass, pattern: str, ending: float, rng: np.random.Generator
) -> list[ScoreNote]:
    """A bass line in beats. ending: beats of the last note."""
    events: list[ScoreNote] = []
    roots = [bar.chords[0].root for bar in bars]
    for index, (bar, following) in enumerate(pairwise([*bars, bars[-1]])):
        start = float(index * beats)
        if bar.section == ENDING:
            events.append(ScoreNote(start, ending, _low(roots[index], part.low), 100))
            continue
        for hit in hits(pattern, index, beats):
            chord = bar.chord_at(hit.start, beats)
            changes = len(bar.chords) > 1 and hit.start == beats / len(bar.chords)
            symbol = "r" if changes else hit.symbol
            towards = following.chords[0].root
            previous = events[-1].pitch if events else _low(chord.root, part.low)
            pitch = _bass_pitch(symbol, chord, towards, part.low, previous, rng)
            velocity = 98 if hit.start == 0 else 88
            events.append(ScoreNote(start + hit.start, hit.length * 0.92, pitch, velocity))
    return events


def _bass_pitch(symbol: str, chord: Chord, towards: int, low: int, previous: int, rng: np.random.Generator) -> int:
    root = _low(chord.root, low)
    tones = chord.pitch_classes
    if symbol == "r":
        return root
    if symbol == "8":
        return root + 12
    if symbol == "5":
        fifth = next(tone for tone in reversed(tones[:3]) if (tone - chord.root) % 12 in (6, 7, 8))
        return root + (fifth - chord.root) % 12
    if symbol == "3":
        return root + (tones[1] - chord.root) % 12 if len(tones) > 2 else root
    if symbol == "7":
        return root + ((tones[3] - chord.root) % 12 if len(tones) > 3 and (tones[3] - chord.root) % 12 > 7 else 9)
    target = _low(towards, low)
    if symbol == "a":
        return target + (1 if chance(rng, 0.4) and target > low else -1)
    # A walking bass goes on to another chord tone near where it is, on the way to the next root.
    near = nearest((previous + target) / 2 + float(rng.uniform(-2, 4)), tones[:3])
    return near if near != previous else nearest(previous + 3, tones[:3])


def _low(pitch_class: int, low: int) -> int:
    """The lowest pitch of that class from `low` up."""
    return low + (pitch_class - low) % 12
