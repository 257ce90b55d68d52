"""Intervals and tests over clips: bootstrap, paired tests, Holm's correction.

Conventions: clips are the units, along the first axis of an array; a test is two-sided; everything random takes its own
generator. Pure functions on arrays: nothing here knows what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], float]
"""A number from clips [n, …]. It is called once a resample."""

RESAMPLES = 9999
BLOCK = 1 << 22
"""Bytes of signs that are held at once."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval around an estimate; level: its nominal coverage."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


def mean(values: Array) -> float:
    """The default statistic."""
    return float(np.mean(values))


def bootstrap_percentile(
    values: npt.ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The percentile interval (Efron 1979): the middle `level` of the statistic over resampled clips."""
    clips = _clips(values, level, resamples)
    replicates = _replicates(clips, rng, statistic, resamples)
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(statistic(clips), float(low), float(high), level)


def bootstrap_bca(
    values: npt.ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987): percentiles shifted for the bias of the replicates
    (z0) and for how the spread follows the value (a, from the jackknife)."""
    clips = _clips(values, level, resamples)
    estimate = statistic(clips)
    replicates = _replicates(clips, rng, statistic, resamples)
    # A replicate equal to the estimate counts half on each side: rounded data have many.
    share = (np.sum(replicates < estimate) + np.sum(replicates <= estimate)) / (2 * resamples)
    if share in (0, 1):
        return Interval(estimate, float(replicates.min()), float(replicates.max()), level)
    bias = stats.norm.ppf(share)
    jackknife = np.array([statistic(np.delete(clips, index, axis=0)) for index in range(len(clips))])
    deviation = jackknife.mean() - jackknife
    spread = np.sum(deviation**2)
    acceleration = np.sum(deviation**3) / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(replicates, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return Interval(estimate, float(low), float(high), level)


def paired_permutation(
    first: npt.ArrayLike, second: npt.ArrayLike, rng: np.random.Generator, permutations: int = RESAMPLES
) -> float:
    """p of the mean difference when the two values of a clip may change places. Exact where all 2^n signs are no more
    than `permutations`; otherwise random signs, the observed one among them, so that p is never 0."""
    difference = _differences(first, second)
    observed = abs(difference.sum())
    # Sums of the same numbers in another order differ in the last bits: they are equal here.
    threshold = observed - 1e-9 * max(1.0, float(np.abs(difference).sum()))
    n = len(difference)
    if 2**n <= permutations:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ difference) >= threshold))
    extreme = 1
    rows = max(1, BLOCK // (8 * n))  # so that memory does not grow with the clips; it changes no draw
    for start in range(0, permutations, rows):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(rows, permutations - start), n))
        extreme += int(np.sum(np.abs(signs @ difference) >= threshold))
    return extreme / (permutations + 1)


def wilcoxon(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """p of Wilcoxon's signed-rank test; pairs without a difference are ranked and split (Pratt's advice), and 1 where no
    pair differs."""
    difference = _differences(first, second)
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that hold the family-wise error (Holm 1979), in the order they came."""
    for p in p_values:
        if not 0 <= p <= 1:
            raise InputError(f"p value is {p}: it must lie between 0 and 1")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _clips(values: npt.ArrayLike, level: float, resamples: int) -> Array:
    clips = np.asarray(values, dtype=np.float64)
    if clips.ndim == 0 or len(clips) < 2:
        raise InputError(f"a bootstrap needs at least 2 clips, and has {clips.size}")
    if not np.isfinite(clips).all():
        raise InputError("a bootstrap met NaN or infinite values: drop the clips without a score first")
    if not 0 < level < 1:
        raise InputError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    if resamples < 100:
        raise InputError(f"resamples is {resamples}: at least 100 are needed for an interval")
    return clips


def _replicates(clips: Array, rng: np.random.Generator, statistic: Statistic, resamples: int) -> Array:
    n = len(clips)
    return np.array([statistic(clips[rng.integers(0, n, n)]) for _ in range(resamples)])


def _differences(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise InputError(f"a paired test needs two equally long lists, not {list(a.shape)} and {list(b.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("a paired test met NaN or infinite values: drop the pairs without a score first")
    return a - b
