"""Chord symbols and charts: "C G Am F" at a tempo -> the pitch classes that sound at each time.

A melody model reads chords as chroma frames with several pitch classes at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from musicgen.errors import InputError
from musicgen.options import check_number, check_text
from musicgen.suggestions import closest

BPM = (20.0, 400.0)
"""Quarter notes a minute that a chart can have."""
MAX_CHORDS = 2000
NO_CHORD = ("N", "NC", "N.C.")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
QUALITIES: dict[tuple[str, ...], tuple[int, ...]] = {
    ("", "maj", "M"): (0, 4, 7),
    ("m", "min", "-"): (0, 3, 7),
    ("dim", "o", "°"): (0, 3, 6),
    ("aug", "+"): (0, 4, 8),
    ("sus2",): (0, 2, 7),
    ("sus4", "sus"): (0, 5, 7),
    ("5",): (0, 7),
    ("6", "maj6"): (0, 4, 7, 9),
    ("m6", "min6"): (0, 3, 7, 9),
    ("7",): (0, 4, 7, 10),
    ("maj7", "M7", "Δ"): (0, 4, 7, 11),
    ("m7", "min7", "-7"): (0, 3, 7, 10),
    ("mmaj7", "minmaj7", "mM7"): (0, 3, 7, 11),
    ("dim7", "o7", "°7"): (0, 3, 6, 9),
    ("m7b5", "hdim7", "ø", "ø7"): (0, 3, 6, 10),
    ("7sus4",): (0, 5, 7, 10),
    ("add9",): (0, 2, 4, 7),
    ("9",): (0, 2, 4, 7, 10),
    ("maj9", "M9"): (0, 2, 4, 7, 11),
    ("m9", "min9"): (0, 2, 3, 7, 10),
}
"""Spellings of a quality -> its intervals above the root, in semitones."""
_INTERVALS = {spelling: intervals for spellings, intervals in QUALITIES.items() for spelling in spellings}
_SYMBOL = re.compile(r"([A-G])([#♯b♭]?):?([^/]*)(?:/([A-G])([#♯b♭]?))?")
_METRE = re.compile(r"(\d{1,2})/(1|2|4|8|16)")


def pitch_classes(symbol: str) -> frozenset[int]:
    """The pitch classes of a chord symbol, C = 0; none for "N".

    Args:
        symbol: A root (A to G, with # or b), a quality ("Am7", or "A:min7" as in Harte's notation), and perhaps a bass ("C/E").

    Raises:
        InputError: It is no chord symbol.
    """
    if symbol in NO_CHORD:
        return frozenset()
    found = _SYMBOL.fullmatch(symbol)
    if found is None or found[3] not in _INTERVALS:
        raise InputError(f"the chord {symbol[:20]!r} cannot be read: {_advice(symbol)}")
    root = _LETTERS[found[1]] + _ACCIDENTALS[found[2]]
    notes = {(root + interval) % 12 for interval in _INTERVALS[found[3]]}
    if found[4]:
        notes.add((_LETTERS[found[4]] + _ACCIDENTALS[found[5]]) % 12)
    return frozenset(notes)


def _advice(symbol: str) -> str:
    # The German B natural.
    given = f"B{symbol[1:]}" if symbol[:1] in ("H", "h") else symbol[:1].upper() + symbol[1:]
    known = [
        f"{letter}{accidental}{quality}"
        for letter in _LETTERS
        for accidental in ("", "#", "b")
        for quality in _INTERVALS
    ]
    near = closest(given[:20], known)
    hint = "a root (C, F#, Bb) and a quality (m, 7, maj7, m7, dim, aug, sus4) are expected, such as 'C', 'Am7' or 'C/E'"
    return f"did you mean {near!r}?" if near is not None and near != symbol else hint


@dataclass(frozen=True)
class ChordChart:
    """A chord progression, repeated to the end of a clip.

    Attributes:
        chords: One bar after the other, separated by spaces or |; chords of one bar separated by commas, which share it evenly:
            "C G,E7 Am F". "N" is a bar without a chord.
        bpm: Quarter notes a minute.
        metre: Beats of a bar, "4/4" or "6/8".

    Raises:
        InputError: A chord or the metre cannot be read, or the tempo is out of range.
    """

    chords: str
    bpm: float = 120.0
    metre: str = "4/4"

    def __post_init__(self) -> None:
        check_text("the chords", self.chords)
        object.__setattr__(self, "bpm", check_number("bpm", self.bpm, low=BPM[0], high=BPM[1]))
        beats = _METRE.fullmatch(self.metre) if isinstance(self.metre, str) else None
        if beats is None or int(beats[1]) == 0:
            raise InputError(f"metre is {self.metre!r}: it must be like '4/4', '3/4' or '6/8'")
        self.bars()

    def bars(self) -> list[list[frozenset[int]]]:
        """The pitch classes of the chords of each bar."""
        names = [bar.split(",") for bar in self.chords.replace("|", " ").split()]
        if not names:
            raise InputError("the chords are empty: pass something like 'C G Am F'")
        if sum(map(len, names)) > MAX_CHORDS:
            raise InputError(f"there are {sum(map(len, names))} chords: {MAX_CHORDS} at most are possible")
        return [[pitch_classes(name) for name in bar] for bar in names]

    @property
    def bar_seconds(self) -> Fraction:
        """Length of a bar."""
        count, unit = self.metre.split("/")
        return Fraction(int(count) * 4, int(unit)) * 60 / Fraction(str(self.bpm))

    @property
    def seconds(self) -> Fraction:
        """Length of the progression, after which it is repeated."""
        return self.bar_seconds * len(self.bars())

    def at(self, times: list[Fraction]) -> list[frozenset[int]]:
        """The pitch classes that sound at some times, in seconds from the beginning of the clip."""
        bars = self.bars()
        found = []
        for time in times:
            position = time / self.bar_seconds % len(bars)
            bar = bars[int(position)]
            found.append(bar[int(position % 1 * len(bar))])
        return found


def chart_of(chords: str | None, bpm: float | None = None, metre: str | None = None) -> ChordChart | None:
    """The chart of the arguments `chords`, `bpm` and `metre`, None without chords.

    Raises:
        InputError: They are no chart, or a tempo or a metre is given without chords.
    """
    given = {name: value for name, value in (("bpm", bpm), ("metre", metre)) if value is not None}
    if chords is None:
        if given:
            raise InputError(f"{' and '.join(given)} without chords: give the chords, whose times they set")
        return None
    return ChordChart(chords, **given)  # type: ignore[arg-type]
