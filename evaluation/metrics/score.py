"""The score of one system by one metric, with its interval and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["lower", "higher", "neither"]
"""Which way is better; "neither" for a descriptive number."""


@dataclass(frozen=True)
class Score:
    """One metric of one system.

    Attributes:
        metric: its name.
        value: the metric.
        low, high: its confidence interval over clips; None for too few clips.
        n: clips that were scored.
        direction: which way is better.
        version: of the metric and its embedders.
        level: of the interval.
        seed: of the interval, and of the metric if it draws.
        protocol: how the audio was prepared.
        excluded: clip id → why it was not scored.
        weights: name of a network → sha256 of its weights.
        details: further numbers by name.
        clips: clip id → the clip's own value.
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
