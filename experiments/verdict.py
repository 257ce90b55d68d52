"""Does a claim hold here? The difference of two rows with its interval, over seeds and clips.

Metrics with a value for each clip: a two-level bootstrap (Davison and Hinkley 1997, section 3.8): seeds are drawn, then clips,
the same for both rows, which met the same captions. Metrics of sets (FAD, KAD): the normal interval, with the variance
between seeds and that of each run's own interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen.errors import InputError

RESAMPLES = 2000
Z = 1.959964


@dataclass(frozen=True)
class Verdict:
    """difference: `better` minus `than`, in the metric's own units (nats for perplexity); holds: yes, no or unclear."""

    difference: float
    low: float
    high: float
    holds: str


def judge(better: Sequence[dict[str, Any]], than: Sequence[dict[str, Any]], metric: str) -> Verdict:
    """`better`, `than`: results of the two rows, one for each seed, in the same order."""
    if len(better) != len(than) or not better:
        raise InputError(f"{len(better)} runs against {len(than)}: each seed must have both rows")
    ours, theirs = [_clips(one, metric) for one in better], [_clips(one, metric) for one in than]
    if all(ours) and all(theirs):
        difference, low, high = _paired(ours, theirs)
    else:
        difference, low, high = _sets(better, than, metric)
    sign = -1.0 if direction(better[0], metric) == "lower" else 1.0
    above, below = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
    return Verdict(difference, low, high, "yes" if above else "no" if below else "unclear")


def direction(result: dict[str, Any], metric: str) -> str:
    """Which way is better."""
    return "lower" if metric == "perplexity" else str(result["scores"][metric]["direction"])


def values(results: Sequence[dict[str, Any]], metric: str) -> list[float]:
    """The metric of each run."""
    return [one["perplexity"]["value"] if metric == "perplexity" else one["scores"][metric]["value"] for one in results]


def spread(results: Sequence[dict[str, Any]], metric: str) -> tuple[float, float, float]:
    """Mean over the seeds and its 95 % interval; without a second seed the run's own interval."""
    each = values(results, metric)
    mean = statistics.fmean(each)
    variance = statistics.variance(each) / len(each) if len(each) > 1 else 0.0
    variance += statistics.fmean(_variance(one, metric) for one in results) / len(each)
    half = Z * math.sqrt(variance)
    return mean, mean - half, mean + half


def _clips(result: dict[str, Any], metric: str) -> dict[str, float]:
    if metric == "perplexity":
        return dict(result["perplexity"]["nats"])
    return dict(result["scores"][metric]["clips"])


def _paired(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> tuple[float, float, float]:
    common = sorted(set.intersection(*(set(one) for one in (*ours, *theirs))))
    differences = np.array([[a[clip] - b[clip] for clip in common] for a, b in zip(ours, theirs, strict=True)])
    random = np.random.default_rng(0)
    seeds, clips = differences.shape
    drawn = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        chosen = random.integers(seeds, size=seeds)
        drawn[index] = differences[chosen][:, random.integers(clips, size=clips)].mean()
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def _sets(better: Sequence[dict[str, Any]], than: Sequence[dict[str, Any]], metric: str) -> tuple[float, float, float]:
    differences = [a - b for a, b in zip(values(better, metric), values(than, metric), strict=True)]
    mean = statistics.fmean(differences)
    variance = statistics.variance(differences) / len(differences) if len(differences) > 1 else 0.0
    variance += sum(_variance(one, metric) for one in (*better, *than)) / len(differences) ** 2
    half = Z * math.sqrt(variance)
    return mean, mean - half, mean + half


def _variance(result: dict[str, Any], metric: str) -> float:
    """Of a run's own value, from its interval over clips."""
    if metric == "perplexity":
        nats = list(result["perplexity"]["nats"].values())
        deviation = statistics.stdev(nats) if len(nats) > 1 else 0.0
        return float((result["perplexity"]["value"] * deviation) ** 2 / len(nats))
    score = result["scores"][metric]
    if score["low"] is None or score["high"] is None:
        return 0.0
    return float(((score["high"] - score["low"]) / (2 * Z)) ** 2)
