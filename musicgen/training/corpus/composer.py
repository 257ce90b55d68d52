"""The composer: seed -> composition. Draws genre, key and tempo, plans the form, writes every part and applies timing."""

from __future__ import annotations

import math
from dataclasses import replace

from musicgen.errors import InputError
from musicgen.training.corpus import accompaniment, drums, form, melody, tempo_grid
from musicgen.training.corpus.composition import DRUMS, LEAD, ChordSpan, Composition, Part, ScoreNote, Section
from musicgen.training.corpus.genre import Genre
from musicgen.training.corpus.genres import GENRES, find_genre
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.randomness import chance, pick, pick_weighted, stream
from musicgen.training.corpus.theory import Key, parse_key
from musicgen.training.corpus.timing import Clock, play
from musicgen.training.corpus.titles import title

MIN_DURATION = 8.0
"""Seconds: four bars and an ending of most genres."""
_SHORTEST_ENDING = 1.2
"""Seconds of the last chord."""
_LONG_ENDING = 2.5
"""Seconds of the last chord that the tempo is moved to avoid."""
_NUDGE = 4
"""bpm by which a drawn tempo may move for that."""
_LATE_ENTRY = 0.35
"""How often a layer other than the first waits before it enters."""
_DRUMS_IN_FRONT = 2.5
"""dB."""
_RELEASE = 0.08
"""Seconds of silence kept for the last notes to end in."""


def compose(
    seed: int,
    *,
    duration: float = 30.0,
    genre: str | None = None,
    key: str | None = None,
    bpm: int | None = None,
    lead: str | None = None,
    sequenced: bool = False,
) -> Composition:
    """The composition of a seed: the same for the same arguments, anywhere. What is not given is drawn from the seed.

    duration: seconds, at least 8; genre: one of GENRES; key: such as "F# minor", if the genre has that quality; bpm: any
    steady tempo from 40 to 240; lead: an instrument that can carry the melody of any genre; sequenced: played as by a
    sequencer, on the frames of a token model (tempo_grid.py), the drums in front; `bpm` stays the tempo that was meant.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}: it must be 0 or more")
    if not MIN_DURATION <= duration <= 600:
        raise InputError(f"duration is {duration} s: a composition lasts {MIN_DURATION:g} to 600 s")
    if bpm is not None and not 40 <= bpm <= 240:
        raise InputError(f"bpm is {bpm}: it must lie between 40 and 240")
    if lead is not None and (lead not in INSTRUMENTS or INSTRUMENTS[lead].drums):
        raise InputError(f"{lead!r} cannot play the melody: it is not a pitched instrument of INSTRUMENTS")
    facts = stream(seed, "facts")
    drawn = pick(facts, list(GENRES))
    wanted = find_genre(genre or drawn)
    tonic = int(facts.integers(12))
    mode = pick_weighted(facts, wanted.modes)
    player = pick(facts, wanted.leads)
    tempo = int(facts.integers(wanted.tempo[0], wanted.tempo[1] + 1))
    home = _key(key, wanted) if key else Key(tonic, mode)
    moods = wanted.moods(home.quality)
    chosen = [moods[i] for i in facts.permutation(len(moods))[: int(facts.integers(1, 4))]]
    meant = bpm or _fitting(tempo, wanted, duration)
    played = tempo_grid.nearest(meant, wanted.beats) if sequenced else meant
    if sequenced:
        wanted = replace(wanted, looseness=0.0, drum_level=wanted.drum_level + _DRUMS_IN_FRONT, late_drums=0.0)
    clock = Clock(played, wanted.swing, wanted.swing_unit, accented=sequenced)
    return _write(seed, duration, wanted, home, meant, clock, lead or player, tuple(chosen))


def _key(name: str, genre: Genre) -> Key:
    key = parse_key(name)
    modes = [mode for mode, _ in genre.modes if Key(0, mode).quality == key.quality]
    if not modes:
        raise InputError(f"{genre.name} is never written in {key.quality}: {name!r} does not fit")
    return key if key.mode in modes else Key(key.tonic, modes[0])


def _fitting(tempo: int, genre: Genre, duration: float) -> int:
    """The drawn tempo, or the nearest to it that leaves no long ending."""
    low, high = genre.tempo

    def too_long(bpm: int) -> float:
        return max(_ending(Clock(bpm), genre, duration)[1] - _LONG_ENDING, 0.0)

    near = [bpm for bpm in range(tempo - _NUDGE, tempo + _NUDGE + 1) if low <= bpm <= high]
    return min(near, key=lambda bpm: (too_long(bpm), abs(bpm - tempo), bpm))


def _ending(clock: Clock, genre: Genre, duration: float) -> tuple[int, float]:
    """(full bars before the ending, seconds of the ending)."""
    bars = int(clock.beats(duration - _SHORTEST_ENDING) // genre.beats)
    return bars, duration - clock.seconds(bars * genre.beats)


def _write(
    seed: int,
    duration: float,
    genre: Genre,
    key: Key,
    bpm: int,
    clock: Clock,
    lead: str,
    moods: tuple[str, ...],
) -> Composition:
    """bpm: the tempo that was meant; the clock has the one that is played."""
    num_bars, tail = _ending(clock, genre, duration)
    bar_seconds = genre.beats * 60 / clock.bpm
    bars = form.plan(genre, key, num_bars, bar_seconds, stream(seed, "form"))
    ending = tail * clock.bpm / 60
    end = duration - _RELEASE

    parts = [_lead(seed, genre, key, bars, clock, ending, end, lead)]
    parts += _layers(seed, genre, bars, clock, ending, end)
    if genre.bass is not None:
        rng = stream(seed, "bass")
        line = pick(rng, genre.bass.patterns)
        events = accompaniment.bass(bars, genre.beats, genre.bass, line, ending, rng)
        notes = play(events, clock, genre.looseness, end, rng)
        parts.append(Part("bass", pick(rng, genre.bass.instruments), notes, genre.bass.level, 0.0, genre.bass.words))
    if genre.grooves:
        rng = stream(seed, "drums")
        groove = pick(rng, genre.grooves)
        events = drums.drums(bars, genre.beats, groove)
        if chance(rng, genre.late_drums):
            events = _after_intro(events, bars, genre)
        notes = play(events, clock, genre.looseness / 2, end, rng)
        parts.append(Part(DRUMS, pick(rng, genre.kits), notes, genre.drum_level, 0.0, groove.words))

    starts = [clock.seconds(i * genre.beats) for i in range(len(bars))] + [duration]
    num_beats = math.ceil(clock.beats(duration) - 1e-9)
    beats = tuple(round(clock.seconds(i), 6) for i in range(num_beats))
    return Composition(
        seed=seed,
        title=title(genre.name, moods, stream(seed, "title")),
        genre=genre.name,
        key=key,
        bpm=bpm,
        metre=genre.metre,
        duration=duration,
        moods=moods,
        sections=_sections(bars, starts),
        chords=_chord_spans(bars, starts, bar_seconds),
        parts=tuple(parts),
        beats=beats,
        downbeats=beats[:: genre.beats],
        sequenced=clock.accented,
    )


def _lead(
    seed: int, genre: Genre, key: Key, bars: list[form.Bar], clock: Clock, ending: float, end: float, lead: str
) -> Part:
    rng = stream(seed, "melody")
    player = INSTRUMENTS[lead]
    events = melody.compose(bars, genre, key, (player.low, player.high), ending, rng)
    notes = play(events, clock, genre.looseness, end, stream(seed, "melody", "hands"))
    return Part(LEAD, lead, notes, 0.0, round(float(rng.uniform(-0.15, 0.15)), 2), "{}")


def _layers(seed: int, genre: Genre, bars: list[form.Bar], clock: Clock, ending: float, end: float) -> list[Part]:
    rng = stream(seed, "layers")
    side = 1 if chance(rng, 0.5) else -1
    parts: list[Part] = []
    for layer in genre.layers:
        instrument, pattern = pick(rng, layer.instruments), pick(rng, layer.patterns)
        pan = round(side * float(rng.uniform(0.35, 0.75)), 2)
        if not chance(rng, layer.chance):
            continue
        side = -side
        events = accompaniment.chords(bars, genre.beats, layer, pattern, ending)
        if parts and chance(rng, _LATE_ENTRY):
            events = _from_second_section(events, bars, genre)
        notes = play(events, clock, genre.looseness, end, stream(seed, "layers", layer.role), layer.strum)
        parts.append(Part(layer.role, instrument, notes, layer.level, pan, layer.words))
    return parts


def _after_intro(events: list[ScoreNote], bars: list[form.Bar], genre: Genre) -> list[ScoreNote]:
    """Without the introduction."""
    start = genre.beats * sum(bar.section == form.INTRO for bar in bars)
    return [event for event in events if event.start >= start]


def _from_second_section(events: list[ScoreNote], bars: list[form.Bar], genre: Genre) -> list[ScoreNote]:
    """Without the introduction and the first section, so that the texture grows; all of it in a composition of one section."""
    firsts = [i for i, bar in enumerate(bars) if bar.number == 0 and bar.section not in (form.INTRO, form.ENDING)]
    start = genre.beats * firsts[1] if len(firsts) > 1 else 0
    return [event for event in events if event.start >= start]


def _sections(bars: list[form.Bar], starts: list[float]) -> tuple[Section, ...]:
    firsts = [i for i, bar in enumerate(bars) if bar.number == 0]
    ends = [*firsts[1:], len(bars)]
    return tuple(
        Section(bars[first].section, round(starts[first], 6), round(starts[end], 6))
        for first, end in zip(firsts, ends, strict=True)
    )


def _chord_spans(bars: list[form.Bar], starts: list[float], bar_seconds: float) -> tuple[ChordSpan, ...]:
    """The chords in seconds; neighbouring equal ones are one."""
    spans: list[ChordSpan] = []
    for bar, start, next_start in zip(bars, starts, starts[1:], strict=False):
        step = bar_seconds / len(bar.chords)
        for number, chord in enumerate(bar.chords):
            onset = round(start + number * step, 6)
            offset = round(next_start if number == len(bar.chords) - 1 else start + (number + 1) * step, 6)
            if spans and spans[-1].chord == chord:
                spans[-1] = ChordSpan(spans[-1].onset, offset, chord)
            else:
                spans.append(ChordSpan(onset, offset, chord))
    return tuple(spans)
