"""Keys, chords and patterns against facts from any textbook."""

import pytest

from musicgen.errors import InputError
from musicgen.training.corpus.step_patterns import hits
from musicgen.training.corpus.theory import Key, ladder, nearest, parse_chord, parse_key, scale_over


def test_key_names_and_scales() -> None:
    assert Key(3, "major").name == "Eb major"
    assert Key(6, "dorian").name == "F# minor"
    assert Key(7, "mixolydian").name == "G major"
    assert Key(9, "minor").scale == (9, 11, 0, 2, 4, 5, 7)
    for name in ("C major", "F# minor", "Bb major", "G# minor"):
        assert parse_key(name).name == name
    assert parse_key("Gb major") == parse_key("F# major")


@pytest.mark.parametrize("name", ["H major", "C", "C locrian", "", "Cbb major"])
def test_what_is_not_a_key(name: str) -> None:
    with pytest.raises(InputError, match="not a key"):
        parse_key(name)


@pytest.mark.parametrize(
    ("numeral", "key", "symbol", "pitch_classes"),
    [
        ("V7", "C major", "G7", {7, 11, 2, 5}),
        ("ii7", "C major", "Dm7", {2, 5, 9, 0}),
        ("Imaj7", "Eb major", "Ebmaj7", {3, 7, 10, 2}),
        ("i", "A minor", "Am", {9, 0, 4}),
        ("bVI", "A minor", "F", {5, 9, 0}),
        ("bVII", "E minor", "D", {2, 6, 9}),
        ("iim7b5", "A minor", "Bm7b5", {11, 2, 5, 9}),
        ("V7", "F# minor", "C#7", {1, 5, 8, 11}),
        ("#IVdim7", "C major", "F#dim7", {6, 9, 0, 3}),
    ],
)
def test_roman_numerals(numeral: str, key: str, symbol: str, pitch_classes: set[int]) -> None:
    home = parse_key(key)
    chord = parse_chord(numeral, home)
    assert chord.symbol(home) == symbol
    assert set(chord.pitch_classes) == pitch_classes


def test_unknown_numerals() -> None:
    for numeral in ("VIII", "IIIx", "hello"):
        with pytest.raises(InputError):
            parse_chord(numeral, Key(0, "major"))


def test_the_dominant_of_a_minor_key_brings_its_leading_tone() -> None:
    key = parse_key("A minor")
    harmonic_minor = (0, 2, 4, 5, 8, 9, 11)
    assert scale_over(key.scale, parse_chord("V7", key)) == harmonic_minor
    assert scale_over(key.scale, parse_chord("iv", key)) == tuple(sorted(key.scale))


def test_nearest_and_ladder() -> None:
    assert nearest(61, (0, 4, 7)) == 60
    assert nearest(62, (0, 4, 7)) == 60  # the lower of two
    assert ladder((0, 7), 60, 72) == [60, 67, 72]


def test_grid_reads_onsets_lengths_and_bars() -> None:
    tresillo = hits("x--x--x-", 0, 4)
    assert [(hit.start, hit.length) for hit in tresillo] == [(0, 1.5), (1.5, 1.5), (3, 1)]
    assert [hit.symbol for hit in hits("X.o.", 0, 2)] == ["X", "o"]
    assert hits("x...|..x.", 3, 4)[0].start == 2
    assert hits("x-.-", 0, 4)[0].length == 2  # a hold after a rest holds nothing
