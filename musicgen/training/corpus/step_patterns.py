"""Step-sequencer patterns as strings: one bar of equal steps.

`.` is a rest, `-` holds the last note, and any other character starts one: "x--x--x-" is the tresillo. Bars are separated by
`|`; a bar may have any number of steps, which divide it evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Hit:
    """start and length in beats from the bar's start; symbol: the character that started it."""

    start: float
    length: float
    symbol: str


@lru_cache(maxsize=4096)
def hits(pattern: str, bar: int, beats: int) -> tuple[Hit, ...]:
    """The sounds of bar number `bar` of a pattern of one or more bars, each of that many beats."""
    bars = pattern.split("|")
    steps = bars[bar % len(bars)]
    step = beats / len(steps)
    found = []
    for index, symbol in enumerate(steps):
        if symbol in ".-":
            continue
        end = index + 1
        while end < len(steps) and steps[end] == "-":
            end += 1
        found.append(Hit(index * step, (end - index) * step, symbol))
    return tuple(found)
