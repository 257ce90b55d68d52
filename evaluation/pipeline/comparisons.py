"""Comparisons of systems: difference, interval and p-value, of the same statistic as their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from musicgen import statistics

from ..metrics.base import SystemScore
from ..metrics.registry import find_metric
from ..reports.results import Comparison


def compare_systems(
    scores: Mapping[str, Mapping[str, SystemScore]],
    systems: Sequence[str],
    metrics: Sequence[str],
    seed: int,
    resamples: int,
) -> list[Comparison]:
    """Compare every two systems by every metric, on the same clips.

    Args:
        scores: system → metric → score.
        systems: in the order in which they are compared.
        metrics: that all systems have.
        seed: of intervals and permutations.
        resamples: of the bootstrap.

    Returns:
        A comparison of every pair by every metric, p adjusted over a metric's pairs (Holm 1979).
    """
    comparisons = []
    for metric in metrics:
        rows = [
            _comparison(metric, first, second, scores[first][metric], scores[second][metric], seed, resamples)
            for first, second in combinations(systems, 2)
        ]
        tested = [row for row in rows if row.p is not None]
        adjusted = statistics.holm([row.p for row in tested if row.p is not None])
        holm = {id(row): value for row, value in zip(tested, adjusted, strict=True)}
        comparisons += [replace(row, adjusted=holm.get(id(row))) for row in rows]
    return comparisons


def _comparison(
    metric: str, first: str, second: str, a: SystemScore, b: SystemScore, seed: int, resamples: int
) -> Comparison:
    """Difference, interval and p of the same statistic: that which the two scores are."""
    difference = a.score.value - b.score.value
    if not a.parts or not b.parts:
        if a.replicates is None or b.replicates is None:
            return Comparison(metric, first, second, difference, None, None, None, None)
        # Both drew the same clips: the difference of the replicates is the paired one.
        own = (a.replicates - b.replicates).interval()
        return Comparison(metric, first, second, difference, own.low, own.high, None, None)
    # The clips of both are the same (`_score_all`).
    both = np.array([[a.parts[name], b.parts[name]] for name in a.parts])  # [n, system, (total, size)]
    totals, sizes = both[:, :, 0], both[:, :, 1]
    interval = statistics.ratio_interval(totals, sizes, np.random.default_rng(seed), resamples=resamples)
    p = statistics.paired_permutation(
        totals[:, 0], totals[:, 1], np.random.default_rng(seed), sizes=(sizes[:, 0], sizes[:, 1])
    )
    if interval is None:
        return Comparison(metric, first, second, difference, None, None, p, None)
    widest = find_metric(metric).widest_difference
    return Comparison(
        metric, first, second, difference, max(interval.low, -widest), min(interval.high, widest), p, None
    )
