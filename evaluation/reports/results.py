"""Results of a scoring run: every score with its provenance, in one JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from musicgen import audio, textfiles
from musicgen.errors import InputError

from ..metrics.score import Score

FORMAT = 1
"""Version of the file's format."""
REFERENCES, SHUFFLED_REFERENCES = "references", "references, shuffled"
"""Names of the bounds: every reference against itself, and against the caption and the reference of the next item."""
BOUNDS = (REFERENCES, SHUFFLED_REFERENCES)


@dataclass(frozen=True)
class Comparison:
    """Two systems by one metric.

    Attributes:
        metric: its name.
        first, second: names of the systems.
        difference: first − second.
        low, high: its 95 % interval, None for none.
        p: two-sided, of a paired permutation test; None for metrics of sets.
        adjusted: p after Holm's correction over the metric's comparisons.
    """

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
    """One system.

    Attributes:
        name: in tables.
        scores: one for each metric.
        diagnostics: means and counts over its clips.
        flags: clip id → an anomaly of a clip that is scored, such as "silent".
        settings: of the generation.
    """

    name: str
    scores: Sequence[Score]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def score(self, metric: str) -> Score | None:
        """The score of a metric, None if it was not computed."""
        return next((score for score in self.scores if score.metric == metric), None)


@dataclass(frozen=True)
class Results:
    """One scoring run.

    Attributes:
        suite: name and version.
        metrics: names, in the order of tables.
        systems: the bounds first.
        comparisons: every two systems by every metric.
        ids: of the scored clips, the same for all systems.
        excluded: id → why the clip is not scored.
        environment: versions of Python and of packages.
        missing: metric → why it could not be computed of these clips.
    """

    suite: str
    metrics: Sequence[str]
    systems: Sequence[SystemResult]
    comparisons: Sequence[Comparison]
    ids: Sequence[str]
    excluded: Mapping[str, str]
    environment: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the JSON file, atomically."""
        values = _plain({"format": FORMAT, **asdict(self)})
        audio.write_bytes(file, (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def load_results(file: Path) -> Results:
    """Read what `Results.save` wrote.

    Raises:
        InputError: the file cannot be read or is not such a file.
    """
    values = textfiles.json_value(file)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise InputError(f"{file}: not results of this version of the program (format {FORMAT})")
    try:
        systems = [
            SystemResult(**{**system, "scores": [Score(**score) for score in system["scores"]]})
            for system in values.pop("systems")
        ]
        comparisons = [Comparison(**comparison) for comparison in values.pop("comparisons")]
        return Results(systems=systems, comparisons=comparisons, **values)
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: not results of this program ({error})") from error


def _plain(value: Any) -> Any:
    """Values that JSON has: tuples become lists, infinities (the loudness of silence) null."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
