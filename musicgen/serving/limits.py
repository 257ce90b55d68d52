"""Limits on the requests of visitors and clients, and on what a server stores for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIN_DURATION = 0.5
"""Seconds of the shortest clip."""


def check_positive(limits: object) -> None:
    """Raises ValueError for an attribute that is no finite number above 0."""
    for name, value in vars(limits).items():
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name} is {value}: it must be above 0")


@dataclass(frozen=True)
class Limits:
    """Limits for one visitor, and for all visitors together."""

    max_duration: float = 300.0
    """Seconds of one clip."""
    max_prompt: int = 2_000
    """Characters of a description."""
    max_variations: int = 4
    max_timeline_entries: int = 20
    queue: int = 32
    """Jobs that may wait. Further ones are refused."""
    per_visitor: int = 2
    """Jobs of one visitor that may wait or run at the same time."""
    per_address: int = 16
    """Jobs of one network address that may wait or run at the same time."""
    queue_seconds: float = 3_600.0
    """Seconds of sound that may wait or be in the making; at most half of them for one address."""
    upload_mb: int = 50
    """Megabytes of one file."""
    keep_hours: float = 6.0
    """Hours after which clips and uploads are deleted."""
    disk_gb: float = 10.0
    """Gigabytes of clips and uploads together, half of them for one network. Further ones are refused."""
    history: int = 30
    """Clips in a visitor's history."""

    def __post_init__(self) -> None:
        check_positive(self)
        if self.max_duration <= MIN_DURATION:
            raise ValueError(
                f"max_duration is {self.max_duration}: it must be above {MIN_DURATION:g} s, the shortest clip"
            )
