"""Results: everything a table is made of, in one file of JSON that says how each number came about."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musicgen import audio
from musicgen.errors import InputError

from .metrics.score import Score

FORMAT = 1
"""Of the file."""


@dataclass(frozen=True)
class Comparison:
    """Two systems by one metric. difference: first − second, with its interval; p: two-sided, of a paired permutation
    test, None for metrics of sets; adjusted: the same after Holm's correction over the metric's comparisons."""

    metric: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    adjusted: float | None


@dataclass(frozen=True)
class SystemResult:
    """One system. diagnostics: means and counts over its clips; flags: clip id → what is odd about it, though it counts."""

    name: str
    scores: Sequence[Score]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def score(self, metric: str) -> Score | None:
        """By name; None where it was not computed."""
        return next((score for score in self.scores if score.metric == metric), None)


@dataclass(frozen=True)
class Results:
    """suite: name and version; ids: the clips that were compared, the same for all systems; excluded: the others, and why."""

    suite: str
    metrics: Sequence[str]
    systems: Sequence[SystemResult]
    comparisons: Sequence[Comparison]
    ids: Sequence[str]
    excluded: Mapping[str, str]
    environment: Mapping[str, str]

    def save(self, file: Path) -> None:
        """As JSON, whole or not at all."""
        entry = _plain({"format": FORMAT, **asdict(self)})
        audio.write_bytes(file, (json.dumps(entry, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def load(file: Path) -> Results:
    """What `save` wrote."""
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error})") from error
    if not isinstance(entry, dict) or entry.pop("format", None) != FORMAT:
        raise InputError(f"{file}: not results of this version of the program (format {FORMAT})")
    try:
        systems = [
            SystemResult(**{**system, "scores": [Score(**score) for score in system["scores"]]})
            for system in entry.pop("systems")
        ]
        comparisons = [Comparison(**comparison) for comparison in entry.pop("comparisons")]
        return Results(systems=systems, comparisons=comparisons, **entry)
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: not results of this program ({error})") from error


def _plain(value: Any) -> Any:
    """JSON has neither tuples nor infinities: the loudness of silence becomes null."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
