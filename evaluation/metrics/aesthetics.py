"""Audiobox aesthetics: four predicted listener scores from 1 to 10, without a reference (Tjandra et al. 2025).

Conventions: rows [windows, 5] of the embedder `aesthetics`: four scores, and the window's weight; a clip's score is the
weighted mean over its windows, the metric the mean over clips.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..embedders.aesthetics import AXES
from .base import ClipResult, Metric, MetricInputs
from .score import Direction

VERSION = "1"


def _compute(axis: str, inputs: MetricInputs) -> ClipResult:
    column = AXES.index(axis)
    rows = {pair.id: inputs.embedding("aesthetics", pair.generated) for pair in inputs.pairs}
    return ClipResult.mean(
        {name: float(np.average(each[:, column], weights=each[:, -1])) for name, each in rows.items()}
    )


def _metric(axis: str, title: str, direction: Direction) -> Metric:
    name = f"aesthetics_{axis.lower()}"
    return Metric(name, title, "single", ("aesthetics",), direction, VERSION, partial(_compute, axis))


METRICS = (
    _metric("CE", "Enjoyment (Audiobox)", "higher"),
    _metric("CU", "Usefulness (Audiobox)", "higher"),
    _metric("PC", "Complexity (Audiobox)", "neither"),
    _metric("PQ", "Quality (Audiobox)", "higher"),
)
