"""Titles of the experiments' metrics: those of the evaluation, and the few that only the experiments have."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.metrics.base import Metric
from evaluation.metrics.registry import METRICS

SIDE = "side_"
"""Before the name of a metric of the evaluation: the same of the side of stereo clips."""
OWN: Mapping[str, str] = {
    "perplexity": "PPL ↓",
    "coherence": "Coherence, distance ↓",
    "side_energy": "Side energy, distance in dB ↓",
}
"""Metrics that the evaluation does not have → their titles."""


def metric_of(name: str) -> Metric | None:
    """The evaluation's metric that a name stands for; None for those of the experiments."""
    return None if name in OWN else METRICS.get(name.removeprefix(SIDE))


def is_of_set(name: str) -> bool:
    """Whether a metric has one value for a set of clips and none for a clip."""
    metric = metric_of(name)
    return metric is not None and metric.kind == "set"


def title(name: str) -> str:
    """Heading of a column, with an arrow to better values."""
    if name in OWN:
        return OWN[name]
    if name.startswith("exact "):
        return f"{name.replace('exact', 'Exact, planted')} ↑"
    metric = METRICS[name.removeprefix(SIDE)]
    side = ", side" if name.startswith(SIDE) else ""
    return f"{metric.title}{side} {'↓' if metric.direction == 'lower' else '↑'}"
