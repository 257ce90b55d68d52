"""Tests of claims: the difference between two rows with its confidence interval over seeds.

Each seed trains both rows and tests both with the same generation seed. The differences are independent over seeds, and their
interval is Student's t interval. With a single seed the interval is over clips, which does not include the variance of
training. In addition there is a paired permutation test over the clips of all seeds, which makes a statement about these models
only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from experiments.metric_names import is_of_set
from experiments.plan import Claim
from musicgen.errors import InputError
from musicgen.statistics import paired_permutation

Z = 1.959964


@dataclass(frozen=True)
class ClaimTest:
    """The outcome.

    Attributes:
        difference: `better` minus `than`, in the metric's units (nats for perplexity).
        low, high: Its 95 % confidence interval.
        holds: "yes", "no" or "unclear".
    """

    difference: float
    low: float
    high: float
    holds: str


def evaluate_claim(better: Sequence[dict[str, Any]], than: Sequence[dict[str, Any]], metric: str) -> ClaimTest:
    """Test whether `better` beats `than`.

    Args:
        better, than: Results of the two rows, one for each seed, in the same order.
        metric: Its name.

    Raises:
        InputError: The rows have different numbers of seeds, or none.
    """
    if len(better) != len(than) or not better:
        raise InputError(f"{len(better)} runs against {len(than)}: each seed must have both rows")
    each = [_difference(one, other, metric) for one, other in zip(better, than, strict=True)]
    difference, low, high = _interval([value for value, _ in each], each[0][1])
    sign = -1.0 if direction(better[0], metric) == "lower" else 1.0
    above, below = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
    return ClaimTest(difference, low, high, "yes" if above else "no" if below else "unclear")


def clip_p_value(
    better: Sequence[dict[str, Any]], than: Sequence[dict[str, Any]], metric: str
) -> tuple[float, int] | None:
    """p of the paired permutation test over the clips of all seeds, and their number; None for metrics of sets."""
    ours: list[float] = []
    theirs: list[float] = []
    for one, other in zip(better, than, strict=True):
        first, second = _clips(one, metric), _clips(other, metric)
        common = sorted(first.keys() & second.keys())
        ours += [first[clip] for clip in common]
        theirs += [second[clip] for clip in common]
    return (paired_permutation(ours, theirs, np.random.default_rng(0)), len(ours)) if ours else None


def matched(
    rows: Mapping[str, Sequence[dict[str, Any]]], claim: Claim
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of seeds that have both rows and the claim's metric."""

    def measured(row: str) -> list[dict[str, Any]]:
        return [run for run in rows.get(row, []) if has([run], claim.metric)]

    one, other = measured(claim.better), measured(claim.than)
    seeds = {run["seed"] for run in one} & {run["seed"] for run in other}
    return [run for run in one if run["seed"] in seeds], [run for run in other if run["seed"] in seeds]


def direction(result: dict[str, Any], metric: str) -> str:
    """ "lower" or "higher": which values are better."""
    return "lower" if metric == "perplexity" else str(result["scores"][metric]["direction"])


def has(results: Sequence[dict[str, Any]], metric: str) -> bool:
    """Whether every run has the metric: FAD of the side is missing where there is no side."""
    return metric == "perplexity" or all(metric in one["scores"] for one in results)


def values(results: Sequence[dict[str, Any]], metric: str) -> list[float]:
    """The value of the metric in each run."""
    return [one["perplexity"]["value"] if metric == "perplexity" else one["scores"][metric]["value"] for one in results]


def mean_and_interval(results: Sequence[dict[str, Any]], metric: str) -> tuple[float, float, float]:
    """Mean over the seeds, and its 95 % confidence interval."""
    return _interval(values(results, metric), _variance(results[0], metric))


def _interval(each: list[float], own: float) -> tuple[float, float, float]:
    """Mean, low, high. own: the variance of the value if there is only one."""
    mean = statistics.fmean(each)
    if len(each) > 1:
        half = float(student.ppf(0.975, len(each) - 1)) * statistics.stdev(each) / math.sqrt(len(each))
    else:
        half = Z * math.sqrt(own)
    return mean, mean - half, mean + half


def _clips(result: dict[str, Any], metric: str) -> dict[str, float]:
    """Clip → its value; empty for metrics of sets, which have no values of clips."""
    if metric == "perplexity":
        return dict(result["perplexity"]["nats"])
    return {} if is_of_set(metric) else dict(result["scores"][metric]["clips"])


def _difference(better: dict[str, Any], than: dict[str, Any], metric: str) -> tuple[float, float]:
    """The difference in one seed, and its variance over clips, paired if the metric has a value for each clip."""
    ours, theirs = _clips(better, metric), _clips(than, metric)
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        (one,), (other,) = values([better], metric), values([than], metric)
        return one - other, _variance(better, metric) + _variance(than, metric)
    pairs = [ours[clip] - theirs[clip] for clip in common]
    return statistics.fmean(pairs), statistics.variance(pairs) / len(pairs) if len(pairs) > 1 else 0.0


def _variance(result: dict[str, Any], metric: str) -> float:
    """The variance of a run's value, from its interval over clips."""
    if metric == "perplexity":
        nats = list(result["perplexity"]["nats"].values())
        deviation = statistics.stdev(nats) if len(nats) > 1 else 0.0
        return float((result["perplexity"]["value"] * deviation) ** 2 / len(nats))
    score = result["scores"][metric]
    if score["low"] is None or score["high"] is None:
        return 0.0
    return float(((score["high"] - score["low"]) / (2 * Z)) ** 2)
