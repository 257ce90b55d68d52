"""Composed compositions hold what they claim."""

import itertools
import math

import pytest
import torch
from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding

from musicgen.errors import InputError
from musicgen.training.corpus import GENRES, INSTRUMENTS, compose, tempo_grid
from musicgen.training.corpus.composition import DRUMS
from musicgen.training.corpus.form import INTRO
from musicgen.training.corpus.genre import METRES
from musicgen.training.corpus.tempo_grid import FRAME_RATE
from musicgen.training.corpus.timing import Clock

SEEDS = (0, 1, 2)
COMPOSITIONS = [compose(seed, genre=genre) for genre in GENRES for seed in SEEDS]


def test_there_is_enough_to_choose_from() -> None:
    played = {instrument for composition in COMPOSITIONS for instrument in composition.instruments}
    assert len(GENRES) >= 15
    assert len(played) >= 25
    assert {lead for genre in GENRES.values() for lead in genre.leads} <= set(INSTRUMENTS)


def test_same_seed_same_composition_other_seed_other_composition() -> None:
    assert compose(5) == compose(5)
    assert compose(5, duration=20.5) == compose(5, duration=20.5)
    melodies = {compose(seed, genre="pop").lead.notes for seed in range(20)}
    assert len(melodies) == 20


def test_seeds_draw_all_genres_keys_and_modes() -> None:
    compositions = [compose(seed, duration=10) for seed in range(400)]
    assert {composition.genre for composition in compositions} == set(GENRES)
    assert len({composition.key.name for composition in compositions}) == 24


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=lambda composition: f"{composition.genre}-{composition.seed}")
def test_a_composition_is_what_it_says(composition) -> None:
    genre = GENRES[composition.genre]
    assert genre.tempo[0] <= composition.bpm <= genre.tempo[1]
    assert set(composition.moods) <= set(genre.moods(composition.key.quality))
    assert composition.lead.instrument in genre.leads

    # Beats are evenly spaced at the tempo to the end; a bar begins every so many of them.
    spacing = [b - a for a, b in itertools.pairwise(composition.beats)]
    assert spacing == pytest.approx([60 / composition.bpm] * len(spacing), abs=2e-6)
    assert 0 <= composition.duration - composition.beats[-1] <= 60 / composition.bpm + 1e-6
    assert composition.downbeats == composition.beats[:: METRES[composition.metre]]

    # Sections and chords tile the composition without gaps.
    for spans in (composition.sections, composition.chords):
        assert spans[0].onset == composition.beats[0]
        assert spans[-1].offset == composition.duration
        assert all(a.offset == b.onset and a.onset < a.offset for a, b in itertools.pairwise(spans))
    assert composition.chords[-1].chord.root == composition.key.tonic

    for part in composition.parts:
        assert part.notes
        for note in part.notes:
            assert 0 <= note.onset < note.offset <= composition.duration
            assert 1 <= note.velocity <= 127
            assert 0 <= note.pitch <= 127


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=lambda composition: f"{composition.genre}-{composition.seed}")
def test_the_melody_is_a_tune_in_its_key(composition) -> None:
    notes = composition.lead.notes
    player = INSTRUMENTS[composition.lead.instrument]
    assert all(player.low <= note.pitch <= player.high for note in notes)
    assert all(a.onset < b.onset for a, b in itertools.pairwise(notes))
    assert all(abs(a.pitch - b.pitch) <= 12 for a, b in itertools.pairwise(notes))
    assert notes[-1].pitch % 12 == composition.key.tonic

    def chord_at(time: float):
        return next(span.chord for span in composition.chords if span.offset > time)

    blues = GENRES[composition.genre].scale == "blues"  # whose flat third and fifth lie outside the key
    in_key = [note.pitch % 12 in composition.key.scale for note in notes]
    explained = [
        known or note.pitch % 12 in chord_at(note.onset + 0.03).pitch_classes
        for note, known in zip(notes, in_key, strict=True)
    ]
    assert sum(in_key) / len(notes) >= (0.6 if blues else 0.7)
    assert sum(explained) / len(notes) >= (0.65 if blues else 0.93)

    # The melody is there nearly all the time after the introduction.
    start = next(section.onset for section in composition.sections if section.name != INTRO)
    assert sum(note.offset - note.onset for note in notes) > 0.55 * (composition.duration - start)


def test_melodies_keep_to_the_key() -> None:
    notes = [(note.pitch % 12, composition.key) for composition in COMPOSITIONS for note in composition.lead.notes]
    assert sum(pitch_class in key.scale for pitch_class, key in notes) / len(notes) > 0.95


def test_long_notes_fit_their_chords() -> None:
    fitting = total = 0
    for composition in COMPOSITIONS:
        for note in composition.lead.notes:
            if note.offset - note.onset < 90 / composition.bpm:
                continue
            middle = (note.onset + note.offset) / 2
            chord = next(span.chord for span in composition.chords if span.onset <= middle < span.offset)
            total += 1
            fitting += note.pitch % 12 in chord.pitch_classes
    assert total > 500
    assert fitting / total > 0.85


def test_sections_of_one_letter_share_their_rhythm() -> None:
    shared = 0
    for seed in range(10):
        composition = compose(seed, genre="chiptune")  # no human timing: onsets are exact
        starts = {}
        for section in composition.sections:
            bars = 3 * 4 * 60 / composition.bpm  # the fourth bar is a cadence, which may differ
            onsets = tuple(
                round(note.onset - section.onset, 3)
                for note in composition.lead.notes
                if section.onset <= note.onset < section.onset + bars - 1e-3
            )
            if section.offset - section.onset >= bars:
                starts.setdefault(section.name, []).append(onsets)
        shared += sum(a == b for group in starts.values() for a, b in itertools.pairwise(group))
        assert len(set(itertools.chain(*starts.values()))) > 1
    assert shared > 0


def test_a_varied_section_answers_on_the_tonic() -> None:
    answered = 0
    for seed in range(10):
        composition = compose(seed, duration=40, genre="classical")
        for section in composition.sections[:-2]:  # the last one may be cut short by the end
            if section.name == "A'":
                last = next(span for span in composition.chords if span.offset >= section.offset)
                assert last.chord.root == composition.key.tonic
                answered += 1
    assert answered >= 5


def test_facts_can_be_given() -> None:
    composition = compose(3, duration=12.5, genre="jazz", key="F# minor", bpm=151, lead="flute")
    assert (composition.genre, composition.key.name, composition.bpm, composition.lead.instrument) == (
        "jazz",
        "F# minor",
        151,
        "flute",
    )
    assert composition.duration == 12.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"duration": 3}, "duration is 3"),
        ({"duration": float("nan")}, "duration is nan"),
        ({"genre": "polka"}, "no genre 'polka'"),
        ({"genre": "metal", "key": "C major"}, "never written in major"),
        ({"key": "nonsense"}, "not a key"),
        ({"bpm": 500}, "bpm is 500"),
        ({"lead": "drums"}, "cannot play the melody"),
        ({"lead": "kazoo"}, "cannot play the melody"),
    ],
)
def test_what_cannot_be_composed(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compose(**{"seed": 0, **arguments})


def test_drums_are_on_the_beat_where_machines_play() -> None:
    composition = compose(1, genre="house")
    kicks = [note.onset for part in composition.parts if part.role == DRUMS for note in part.notes if note.pitch == 36]
    beats = set(composition.beats)
    assert sum(round(kick, 6) in beats for kick in kicks) / len(kicks) > 0.9


def test_swing_stretches_the_first_half_of_a_beat() -> None:
    clock = Clock(bpm=60, swing=2 / 3)
    origin = clock.seconds(0)
    assert clock.swung(3.0) - origin == pytest.approx(3.0)
    assert clock.swung(3.5) - origin == pytest.approx(3 + 2 / 3)
    assert clock.swung(3.75) - origin == pytest.approx(3 + 5 / 6)
    assert clock.beats(clock.seconds(7.25)) == pytest.approx(7.25)


@pytest.mark.parametrize("genre", GENRES)
def test_a_sequenced_composition_lies_on_the_frames_of_a_token_model(genre: str) -> None:
    loose, composition = compose(3, genre=genre), compose(3, genre=genre, sequenced=True)
    # The same music, at nearly the same tempo, which captions name.
    assert (composition.bpm, composition.key, composition.form.split()[0]) == (
        loose.bpm,
        loose.key,
        loose.form.split()[0],
    )
    beat = composition.beats[1] - composition.beats[0]
    assert beat == pytest.approx(60 / composition.bpm, rel=0.06)
    bars = [(bar - composition.downbeats[0]) * FRAME_RATE for bar in composition.downbeats]
    assert bars == pytest.approx([round(bar) for bar in bars], abs=1e-3)

    # Nobody is late: without swing and strumming, notes lie where bars repeat them.
    if GENRES[genre].swing == 0.5 and DRUMS in {part.role for part in composition.parts}:
        drums = next(part for part in composition.parts if part.role == DRUMS)
        steps = [(note.onset - composition.beats[0]) / beat * 24 for note in drums.notes]
        assert steps == pytest.approx([round(step) for step in steps], abs=1e-3)
        assert min(note.onset for note in drums.notes) < composition.downbeats[1]


def test_beats_are_as_long_as_the_models_position_sinusoids() -> None:
    # transformers' own table says which periods there are: the cosines of row 1 are those of the frequencies.
    table = MusicgenSinusoidalPositionalEmbedding(4, 192).weights
    periods = 2 * math.pi / torch.arccos(table[1, :96].double())
    for bpm in range(60, 200):
        beat = 60 * FRAME_RATE / tempo_grid.nearest(bpm, 4)
        assert min(abs(periods / beat - 1)) < 0.01
        assert beat == pytest.approx(60 * FRAME_RATE / bpm, rel=0.06)


def test_accents_make_the_beat_louder() -> None:
    clock = Clock(120, accented=True)
    assert [clock.weight(beat) for beat in (3.0, 0.5, 0.25)] == sorted([1.0, 0.78, 0.66], reverse=True)
    assert Clock(120).weight(0.25) == 1.0
