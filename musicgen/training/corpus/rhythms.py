"""Rhythms of melodies by style: bars from which motifs are built, and bars that end a phrase.

Patterns as in step_patterns.py. Bars of one style may differ in their number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RhythmStyle:
    """bars: for motifs; cadences: for the last bar of a phrase; leaps: how far a line tends to jump, in scale steps;
    legato: share of its written length that a note sounds."""

    bars: tuple[str, ...]
    cadences: tuple[str, ...]
    leaps: int = 2
    legato: float = 0.95


RHYTHMS: dict[str, RhythmStyle] = {
    "rock": RhythmStyle(
        ("x---x-x-x-----x-", "x-x-x-x-x---x---", "x-----x-x---x-x-", "x---x---x-x-x---", "x-----x---x-x---"),
        ("x-x-x-----------", "x-------x-----..", "x---x-----------"),
    ),
    "pop": RhythmStyle(
        ("x---x---x-x-x---", "x-----x-----x---", "x-x---x-x---x---", "..x-x-x-x---x---", "x---x-x---x-x---"),
        ("x---x-----------", "x-----x-------..", "x-------------.."),
    ),
    "funk": RhythmStyle(
        ("x-x.x--x--x-x-..", "x--x--x-..x-x---", "..x-x--x--x---..", "x-..x-x--x--x-..", "x---..x-x--x----"),
        ("x--x--x-----....", "x-x-x-------....", "x--x------------"),
        legato=0.85,
    ),
    "metal": RhythmStyle(
        ("x-x-x-x-x---x---", "x---x---x-x-x-x-", "x-----x-x-----x-", "x-x-x---x-x-x---", "x-------x---x---"),
        ("x---------------", "x---x-----------", "x-------x-------"),
    ),
    "ragtime": RhythmStyle(
        ("x-x--x-xx-x--x--", "x--x--x-x-x-x---", "x-x--x-xx---x---", "xx-xx-x-x-x-x---", "x-x-x--xx-x-x-x-"),
        ("x-x-x---x---....", "x--x--x-x-------"),
        3,
        0.9,
    ),
    "electronic": RhythmStyle(
        ("x--x--x---x-x---", "x--x--x-x--x--x-", "x-----x-----x---", "x---..x-x---x---"),
        ("x--x--x---------", "x---------------", "x-----x-------.."),
        legato=0.9,
    ),
    "long": RhythmStyle(
        ("x-------x-------", "x-----------x---", "x---------x-x---", "x-----x---------"),
        ("x---------------", "x-------x-------"),
        legato=0.98,
    ),
    "ambient": RhythmStyle(
        ("x-------x-------", "x-----------x---", "....x-------x---", "x---------------", "x---x-----------"),
        ("x---------------", "x-----------...."),
        legato=1.0,
    ),
    "laid back": RhythmStyle(
        ("x---x-x---x-----", "..x-x---x-----..", "x-----x-x---x---", "x---..x-x-------", "..x---x-x---x---"),
        ("x-----x-----....", "x-----------....", "..x-x-----------"),
        legato=0.92,
    ),
    "soaring": RhythmStyle(
        ("x-------x---x---", "x-----x-x-------", "x-------x-------", "x-----------x-x-", "x---x---x-------"),
        ("x---------------", "x-------x-------"),
        3,
        0.98,
    ),
    "bouncy": RhythmStyle(
        ("x-x-x---x-x-x---", "x---x-x-x-x-x---", "x-x---x-x---x-x-", "x-x-x-x-x---x---", "x---x---x-x-x-x-"),
        ("x-x-x-------....", "x---x---x-----..", "x-x-x-x-x-------"),
        3,
        0.85,
    ),
    "jazz": RhythmStyle(
        (
            "x-x-x---x-x-x-x-",
            "x---..x-x-x-x---",
            "..x-x-x-x---x---",
            "x-x-x-x-x-----..",
            "x-----x-x---..x-",
            "x---x-x---x-x---",
        ),
        ("x---x---------..", "x-x-------......", "x-----x-----...."),
        3,
    ),
    "blues": RhythmStyle(
        ("x--x-xx--...", "x-xx-xx-----", "..xx--x-xx--", "x-----x-xx-x", "x--x--x-x---"),
        ("x-----------", "x-xx-----...", "x--x--------"),
    ),
    "country": RhythmStyle(
        ("x---x-x-x-x-x---", "x-x-x---x---x---", "x-x-x-x-x---x-x-", "x---x---x-x-x-x-"),
        ("x---x-----------", "x-x-x-----------", "x-----x---------"),
    ),
    "jig": RhythmStyle(
        ("xxxxxx", "x-xxxx", "xxxx-x", "x-xx-x", "x-xxxx"),
        ("x-xx--", "x--x--", "xxxx--"),
        legato=0.9,
    ),
    "bossa": RhythmStyle(
        ("x--x--x---x-----", "x-----x--x--x---", "..x-x--x--x-----", "x--x--x-----x---", "x---x--x--------"),
        ("x---------------", "x--x------------", "x-----x-----...."),
    ),
    "salsa": RhythmStyle(
        ("x--x--x-", "x-x---x-", "..x-x-x-", "x---x-x-", "x--x---."),
        ("x-------", "x--x----", "x---...."),
        legato=0.88,
    ),
    "tango": RhythmStyle(
        ("x-x-x-x-x---x---", "x--x--x-x---x---", "x---x-xxx---x---", "x------xx-x-x---", "x-x-x---x-x-x---"),
        ("x---x---x---....", "x--x--x-x-------", "x-------x-x-x..."),
        legato=0.9,
    ),
    "calypso": RhythmStyle(
        ("x--x--x-x--x--x-", "x--x--x-x---x---", "x-x--x--x-x-x---", "..x-x--xx---x---"),
        ("x--x--x-x-------", "x---x-----------"),
        3,
        0.9,
    ),
    "waltz": RhythmStyle(
        ("x---x-", "x-x-x-", "x-----", "x-x-xx", "x---xx"),
        ("x-----", "x---..", "x---x-"),
    ),
    "classical": RhythmStyle(
        ("x---x-x-x---x---", "x-----x-x-x-x-x-", "x-x-x-x-x---x---", "x---x---x-x-x-x-", "x------xx---x---"),
        ("x---x---x---....", "x-------x-----..", "x---x-----------"),
        3,
    ),
    "baroque": RhythmStyle(
        ("x-x-xxxxx-x-xxxx", "x-xxx-x-x-xxx-x-", "x---x-x-xxxxx-x-", "x-x-x-x-x-x-x-x-", "xxxxx-x-x---x-x-"),
        ("x-x-x---x-------", "x---x-x-x-------"),
        legato=0.92,
    ),
    "march": RhythmStyle(
        ("x---x---x-x-x---", "x--xx---x--xx---", "x-x-x-x-x---x---", "x---x-x-x---x---", "x-----x-x---x---"),
        ("x---x---x-----..", "x--xx---x---...."),
        3,
        0.88,
    ),
}
"""Name of the style -> rhythms."""
