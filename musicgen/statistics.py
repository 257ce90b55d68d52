"""Intervals and tests over clips: studentised bootstrap, paired tests, Holm's correction.

Conventions: clips are the units, along the first axis of an array. A statistic is a ratio of sums over clips (for a mean over
clips all sizes are 1), and estimate, interval and p-value of a comparison are computed on the same ratios. Tests are two-sided.
Functions that use random numbers take a generator. All functions are pure functions on arrays, independent of what was
measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]

LEVEL = 0.95
MIN_CLIPS = 5
"""Clips from which there is an interval: fewer do not show how much clips vary (docs/metrics/intervals.md has the coverage)."""
RESAMPLES = 9999
BLOCK = 1 << 22
"""Bytes of signs or counts that are held at once."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval around an estimate; level: its nominal coverage."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL


def counts(n: int, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    """Draw n of n clips with replacement, R times.

    Args:
        n: clips.
        resamples: R.
        rng: draws them; the same draws whatever the blocks.

    Returns:
        How often each clip is drawn, [R, n] in blocks of rows, so that memory does not grow with the number of clips.

    Raises:
        InputError: n or R is below 1.
    """
    if n < 1 or resamples < 1:
        raise InputError(f"a bootstrap needs clips and resamples, not {n} and {resamples}")
    rows = max(1, min(BLOCK // (8 * n), resamples))
    for start in range(0, resamples, rows):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - start)).astype(np.float64)


def ratio_interval(
    totals: npt.ArrayLike,
    sizes: npt.ArrayLike,
    rng: np.random.Generator,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """The studentised bootstrap interval (Efron 1979; Hall 1988) of Σ totals / Σ sizes over clips, or of the difference of two
    such ratios of the same clips. Numerators and denominators are resampled together; a resample's standard error is that of
    the linearised ratio. Neither side is shorter than Student's interval, which matters where few values differ.

    Args:
        totals: of each clip [n]; of each clip in two systems [n, 2] for the difference, first minus second.
        sizes: of each clip, as `totals`; all 1 for a mean over clips.
        rng: draws the clips.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        The interval around the ratio or the difference; None for fewer than MIN_CLIPS clips.

    Raises:
        InputError: the shapes are unequal, a value is not finite, a size is negative or all are 0, or `level` is not inside
            0 … 1.
    """
    columns, signs = _ratio_columns(totals, sizes)
    if not 0 < level < 1:
        raise InputError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    n = len(columns)
    if n < MIN_CLIPS:
        return None
    estimate, error = (float(each[0]) for each in _ratios(np.ones((1, n)), columns, signs))
    t = float(stats.t.ppf((1 + level) / 2, n - 1))
    if error == 0:
        return Interval(estimate, estimate, estimate, level)
    parts = [_ratios(block, columns, signs) for block in counts(n, resamples, rng)]
    values, errors = (np.concatenate(each) for each in zip(*parts, strict=True))
    usable = np.isfinite(values) & (errors > 1e-9 * error)  # a resample of equal clips has no error of its own
    low, high = np.quantile((values[usable] - estimate) / errors[usable], [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, estimate - max(float(high), t) * error, estimate - min(float(low), -t) * error, level)


def paired_permutation(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    rng: np.random.Generator,
    permutations: int = RESAMPLES,
    sizes: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> float:
    """p of a difference when the two values of a clip may change places. Exact where all 2^n exchanges are no more than
    `permutations`; otherwise random ones, the observed one among them, so that p is never 0.

    Args:
        first, second: of each clip [n].
        rng: draws the exchanges.
        permutations: how many.
        sizes: of each clip on both sides, which change places with the values; the difference is that of Σ values / Σ sizes.
            None for the difference of the means.

    Raises:
        InputError: the lists are not equally long, or a value is not finite.
    """
    difference = _differences(first, second)
    n = len(difference)
    total = np.asarray(first, dtype=np.float64) + np.asarray(second, dtype=np.float64)
    a, b = (np.ones(n), np.ones(n)) if sizes is None else (np.asarray(one, dtype=np.float64) for one in sizes)
    size_difference = _differences(a, b)
    value, size = total.sum(), (a + b).sum()

    def distances(signs: npt.NDArray[Any]) -> Array:
        values, widths = signs @ difference, signs @ size_difference
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.abs((value + values) / (size + widths) - (value - values) / (size - widths))

    observed = float(distances(np.ones((1, n)))[0])
    # Sums of the same numbers in another order differ in the last bits: they are equal here.
    threshold = observed - 1e-9 * max(1.0, float(np.abs(difference).sum())) / n
    if 2**n <= permutations:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(distances(signs) >= threshold))
    extreme = 1
    rows = max(1, BLOCK // (8 * n))  # so that memory does not grow with the clips; it changes no draw
    for start in range(0, permutations, rows):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(rows, permutations - start), n))
        extreme += int(np.sum(distances(signs) >= threshold))
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


def _ratio_columns(totals: npt.ArrayLike, sizes: npt.ArrayLike) -> tuple[Array, Array]:
    """(columns [n, 2k]: total and size of each ratio; signs [k] of the ratios)."""
    t, s = np.asarray(totals, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if t.shape != s.shape or t.ndim not in (1, 2) or len(t) == 0 or (t.ndim == 2 and t.shape[1] != 2):
        raise InputError(f"totals and sizes must be [n] or [n, 2], both alike, not {list(t.shape)} and {list(s.shape)}")
    if not (np.isfinite(t).all() and np.isfinite(s).all()):
        raise InputError("a bootstrap met NaN or infinite values: drop the clips without a score first")
    t, s = t.reshape(len(t), -1), s.reshape(len(s), -1)
    if (s < 0).any() or (s.sum(axis=0) == 0).any():
        raise InputError("sizes must be 0 or more, and one of them above 0")
    columns = np.stack([t, s], axis=2).reshape(len(t), -1)
    return columns, np.array([1.0, -1.0])[: t.shape[1]]


def _ratios(counts: Array, columns: Array, signs: Array) -> tuple[Array, Array]:
    """The statistic of resamples [R] and its standard errors [R], from the gradient with respect to the columns' means."""
    n = columns.shape[0]
    rows, others = np.triu_indices(columns.shape[1])
    means = counts @ columns / n  # [R, 2k]
    moments = counts @ (columns[:, rows] * columns[:, others]) / n
    t, s = means[:, 0::2], means[:, 1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = t / s
        gradient = np.stack([signs / s, -signs * ratios / s], axis=2).reshape(len(counts), -1)
        # The linearised statistic has mean 0, so that its second moment is its variance.
        twice = np.where(rows == others, 1.0, 2.0)
        variance = np.sum(twice * moments * gradient[:, rows] * gradient[:, others], axis=1)
    return ratios @ signs, np.sqrt(np.maximum(variance, 0.0) / max(1, n - 1))


def _differences(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise InputError(f"a paired test needs two equally long lists, not {list(a.shape)} and {list(b.shape)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("a paired test met NaN or infinite values: drop the pairs without a score first")
    return a - b
