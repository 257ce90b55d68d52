"""What every metric returns: a number with all that a reader needs to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["lower", "higher", "neither"]
"""Which way is better; "neither" for a figure that only describes."""


@dataclass(frozen=True)
class Score:
    """One metric of one system.

    value: the metric; low, high: its interval over clips at `level` (None where fewer than 2 clips leave none);
    n: clips behind the value; excluded: clip id → why it does not count; version: of the metric's code and definition;
    weights: name of a network → sha256 of its weights; seed: of the interval (and of the metric where it draws);
    protocol: how the sound was prepared; details: further numbers by name; clips: clip id → the clip's own value.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    direction: Direction
    version: str
    level: float = 0.95
    seed: int = 0
    protocol: str = ""
    excluded: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, float] = field(default_factory=dict)
    clips: Mapping[str, float] = field(default_factory=dict)
