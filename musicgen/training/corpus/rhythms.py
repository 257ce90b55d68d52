"""Rhythms of melodies: bars to build motifs from, and bars to close a phrase with, a style each.

Patterns as in grid.py. Bars of one style may differ in their number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """bars: for motifs; cadences: for the last bar of a phrase; leaps: how far a line tends to jump, in scale steps;
    legato: share of its written length that a note sounds."""

    bars: tuple[str, ...]
    cadences: tuple[str, ...]
    leaps: int = 2
    legato: float = 0.95


RHYTHMS: dict[str, Style] = {
    "rock": Style(
        ("x---x-x-x-----x-", "x-x-x-x-x---x---", "x-----x-x---x-x-", "x---x---x-x-x---", "x-----x---x-x---"),
        ("x-x-x-----------", "x-------x-----..", "x---x-----------"),
    ),
    "pop": Style(
        ("x---x---x-x-x---", "x-----x-----x---", "x-x---x-x---x---", "..x-x-x-x---x---", "x---x-x---x-x---"),
        ("x---x-----------", "x-----x-------..", "x-------------.."),
    ),
    "funk": Style(
        ("x-x.x--x--x-x-..", "x--x--x-..x-x---", "..x-x--x--x---..", "x-..x-x--x--x-..", "x---..x-x--x----"),
        ("x--x--x-----....", "x-x-x-------....", "x--x------------"),
        legato=0.85,
    ),
    "metal": Style(
        ("x-x-x-x-x---x---", "x---x---x-x-x-x-", "x-----x-x-----x-", "x-x-x---x-x-x---", "x-------x---x---"),
        ("x---------------", "x---x-----------", "x-------x-------"),
    ),
    "ragtime": Style(
        ("x-x--x-xx-x--x--", "x--x--x-x-x-x---", "x-x--x-xx---x---", "xx-xx-x-x-x-x---", "x-x-x--xx-x-x-x-"),
        ("x-x-x---x---....", "x--x--x-x-------"),
        3,
        0.9,
    ),
    "electronic": Style(
        ("x--x--x---x-x---", "x--x--x-x--x--x-", "x-----x-----x---", "x---..x-x---x---"),
        ("x--x--x---------", "x---------------", "x-----x-------.."),
        legato=0.9,
    ),
    "long": Style(
        ("x-------x-------", "x-----------x---", "x---------x-x---", "x-----x---------"),
        ("x---------------", "x-------x-------"),
        legato=0.98,
    ),
    "ambient": Style(
        ("x-------x-------", "x-----------x---", "....x-------x---", "x---------------", "x---x-----------"),
        ("x---------------", "x-----------...."),
        legato=1.0,
    ),
    "laid back": Style(
        ("x---x-x---x-----", "..x-x---x-----..", "x-----x-x---x---", "x---..x-x-------", "..x---x-x---x---"),
        ("x-----x-----....", "x-----------....", "..x-x-----------"),
        legato=0.92,
    ),
    "soaring": Style(
        ("x-------x---x---", "x-----x-x-------", "x-------x-------", "x-----------x-x-", "x---x---x-------"),
        ("x---------------", "x-------x-------"),
        3,
        0.98,
    ),
    "bouncy": Style(
        ("x-x-x---x-x-x---", "x---x-x-x-x-x---", "x-x---x-x---x-x-", "x-x-x-x-x---x---", "x---x---x-x-x-x-"),
        ("x-x-x-------....", "x---x---x-----..", "x-x-x-x-x-------"),
        3,
        0.85,
    ),
    "jazz": Style(
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
    "blues": Style(
        ("x--x-xx--...", "x-xx-xx-----", "..xx--x-xx--", "x-----x-xx-x", "x--x--x-x---"),
        ("x-----------", "x-xx-----...", "x--x--------"),
    ),
    "country": Style(
        ("x---x-x-x-x-x---", "x-x-x---x---x---", "x-x-x-x-x---x-x-", "x---x---x-x-x-x-"),
        ("x---x-----------", "x-x-x-----------", "x-----x---------"),
    ),
    "jig": Style(
        ("xxxxxx", "x-xxxx", "xxxx-x", "x-xx-x", "x-xxxx"),
        ("x-xx--", "x--x--", "xxxx--"),
        legato=0.9,
    ),
    "bossa": Style(
        ("x--x--x---x-----", "x-----x--x--x---", "..x-x--x--x-----", "x--x--x-----x---", "x---x--x--------"),
        ("x---------------", "x--x------------", "x-----x-----...."),
    ),
    "salsa": Style(
        ("x--x--x-", "x-x---x-", "..x-x-x-", "x---x-x-", "x--x---."),
        ("x-------", "x--x----", "x---...."),
        legato=0.88,
    ),
    "tango": Style(
        ("x-x-x-x-x---x---", "x--x--x-x---x---", "x---x-xxx---x---", "x------xx-x-x---", "x-x-x---x-x-x---"),
        ("x---x---x---....", "x--x--x-x-------", "x-------x-x-x..."),
        legato=0.9,
    ),
    "calypso": Style(
        ("x--x--x-x--x--x-", "x--x--x-x---x---", "x-x--x--x-x-x---", "..x-x--xx---x---"),
        ("x--x--x-x-------", "x---x-----------"),
        3,
        0.9,
    ),
    "waltz": Style(
        ("x---x-", "x-x-x-", "x-----", "x-x-xx", "x---xx"),
        ("x-----", "x---..", "x---x-"),
    ),
    "classical": Style(
        ("x---x-x-x---x---", "x-----x-x-x-x-x-", "x-x-x-x-x---x---", "x---x---x-x-x-x-", "x------xx---x---"),
        ("x---x---x---....", "x-------x-----..", "x---x-----------"),
        3,
    ),
    "baroque": Style(
        ("x-x-xxxxx-x-xxxx", "x-xxx-x-x-xxx-x-", "x---x-x-xxxxx-x-", "x-x-x-x-x-x-x-x-", "xxxxx-x-x---x-x-"),
        ("x-x-x---x-------", "x---x-x-x-------"),
        legato=0.92,
    ),
    "march": Style(
        ("x---x---x-x-x---", "x--xx---x--xx---", "x-x-x-x-x---x---", "x---x-x-x---x---", "x-----x-x---x---"),
        ("x---x---x-----..", "x--xx---x---...."),
        3,
        0.88,
    ),
}
"""Style name -> rhythms."""
