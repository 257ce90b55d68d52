"""Bootstrap over clips, for statistics that are sums over clips: a resample is a row of counts.

Conventions: counts [R, n], each row sums to n. The unit is a clip, whatever its number of windows or frames.
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
"""Bytes of counts in memory at once."""


def counts(n: int, resamples: int, rng: np.random.Generator, most: int | None = None) -> Iterator[Array]:
    """Draw n of n clips with replacement, R times.

    Args:
        n: clips.
        resamples: R.
        rng: draws them; the same draws whatever the blocks.
        most: rows of a block at most.

    Returns:
        How often each clip is drawn, [R, n] in blocks of rows, so that memory does not grow with the number of clips.

    Raises:
        InputError: n or R is below 1.
    """
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
    """The percentile interval (Efron 1979) of Σ totals / Σ sizes over resampled clips: of a mean over windows or frames, whose
    units are clips.

    Args:
        totals: of each clip [n].
        sizes: of each clip [n].
        rng: draws the clips.
        resamples: of the bootstrap.
        level: of the interval.

    Returns:
        (low, high); (None, None) for fewer than 2 clips.

    Raises:
        InputError: the shapes are unequal.
    """
    totals, sizes = np.asarray(totals, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if totals.shape != sizes.shape or totals.ndim != 1:
        raise InputError(
            f"totals and sizes must be equally long lists, not {list(totals.shape)} and {list(sizes.shape)}"
        )
    if len(totals) < 2:
        return None, None
    both = np.stack([totals, sizes], axis=1)
    sums = np.concatenate([block @ both for block in counts(len(totals), resamples, rng)])
    valid = sums[:, 1] > 0
    replicates = sums[valid, 0] / sums[valid, 1]
    low, high = np.quantile(replicates, tails(level))
    return float(low), float(high)


def shifted_interval(estimate: float, replicates: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """The interval of a statistic whose replicates are biased, such as a distance between sets: their percentiles, shifted by
    the bias (Efron and Tibshirani 1993, section 10).

    Args:
        estimate: the statistic.
        replicates: [R].
        level: of the interval.

    Returns:
        (low, high, bias), the bias being the replicates' mean minus the estimate.
    """
    bias = float(np.mean(replicates) - estimate)
    low, high = np.quantile(replicates - bias, tails(level))
    return float(low), float(high), bias


def tails(level: float) -> tuple[float, float]:
    """The two quantiles of a central interval, such as (0.025, 0.975). Raises InputError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise InputError(f"level is {level}: it must lie between 0 and 1, such as 0.95")
    return (1 - level) / 2, (1 + level) / 2
