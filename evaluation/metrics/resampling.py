"""Bootstrap over clips for statistics that are sums over clips: a resample is a row of counts.

Conventions: counts [R, n], each row adds up to n. One clip, however many windows or frames it has, is one unit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 1 << 23
"""Bytes of counts that are held at once."""


def counts(n: int, resamples: int, rng: np.random.Generator, most: int | None = None) -> Iterator[Array]:
    """How often each of n clips is drawn, n draws with replacement: [R, n], in blocks of a few rows (`most` at most), so
    that memory does not grow with the clips. The blocks change no draw."""
    if n < 1 or resamples < 1:
        raise InputError(f"a bootstrap needs clips and resamples, not {n} and {resamples}")
    rows = max(1, min(BLOCK // (8 * n), most or resamples))
    for start in range(0, resamples, rows):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - start)).astype(np.float64)


def ratio_interval(
    totals: npt.ArrayLike,
    sizes: npt.ArrayLike,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float | None, float | None]:
    """The percentile interval (Efron 1979) of Σ totals / Σ sizes over resampled clips: a mean over all windows or frames,
    whose units are clips. totals, sizes: [n]. (None, None) for fewer than 2 clips."""
    totals, sizes = np.asarray(totals, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if totals.shape != sizes.shape or totals.ndim != 1:
        raise InputError(
            f"totals and sizes must be equally long lists, not {list(totals.shape)} and {list(sizes.shape)}"
        )
    if len(totals) < 2:
        return None, None
    both = np.stack([totals, sizes], axis=1)
    sums = np.concatenate([drawn @ both for drawn in counts(len(totals), resamples, rng)])
    some = sums[:, 1] > 0
    replicates = sums[some, 0] / sums[some, 1]
    low, high = np.quantile(replicates, tails(level))
    return float(low), float(high)


def shifted_interval(estimate: float, replicates: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """(low, high, bias) for a statistic that resampling biases, such as a distance between sets: the replicates' own
    percentiles moved by their mean excess over the estimate (Efron and Tibshirani 1993, section 10)."""
    bias = float(np.mean(replicates) - estimate)
    low, high = np.quantile(replicates - bias, tails(level))
    return float(low), float(high), bias


def tails(level: float) -> tuple[float, float]:
    """The two quantiles of a central interval."""
    if not 0 < level < 1:
        raise InputError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    return (1 - level) / 2, (1 + level) / 2
