"""Mean opinion score and confidence interval by the CrowdMOS variance model (Ribeiro et al. 2011, as in public ports).

Z_ij = μ + x_i + y_j + ε_ij: worker i rates sample j. Workers vary with σ_w², samples with σ_s², the residual with σ_u².
Z is [workers, samples], NaN where missing: the ratings of one system. `ddof` of all variances is 1 by default; the published
fixtures of one port use 0.

    v_su  = mean over workers of the variance across samples   = σ_s² + σ_u²
    v_wu  = mean over samples of the variance across workers   = σ_w² + σ_u²
    v_swu = variance of all ratings                            = σ_s² + σ_w² + σ_u²
    Var(μ̂) = σ_s² ΣM_j²/T² + σ_w² ΣN_i²/T² + σ_u²/T
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from musicgen.errors import InputError

from .ratings import Matrix


@dataclass(frozen=True)
class MeanOpinionScore:
    """Mean opinion score of a system.

    Attributes:
        mean: of all ratings.
        half_width: of the confidence interval; None with fewer than two workers or samples.
        ratings: number of ratings.
        workers: number of workers.
        samples: number of samples.
        sample_variance: σ_s², None where the missing ratings leave it undetermined.
        worker_variance: σ_w², likewise.
        residual_variance: σ_u², likewise.
    """

    mean: float
    half_width: float | None
    ratings: int
    workers: int
    samples: int
    sample_variance: float | None = None
    worker_variance: float | None = None
    residual_variance: float | None = None


def score(z: Matrix, ddof: int = 1, level: float = 0.95) -> MeanOpinionScore:
    """Mean opinion score with its confidence interval.

    Args:
        z: ratings [workers, samples], NaN where missing.
        ddof: of the variances.
        level: of the interval.

    Raises:
        InputError: `z` has no ratings.
    """
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2:
        raise InputError(f"ratings must be [workers, samples], not {list(z.shape)}")
    given = ~np.isnan(z)
    z = z[given.any(axis=1)][:, given.any(axis=0)]
    given = ~np.isnan(z)
    total = int(given.sum())
    if total == 0:
        raise InputError("no ratings are left: did screening exclude every rater?")
    mean = float(z[given].mean())
    workers, samples = z.shape
    if min(workers, samples) < 2:
        return MeanOpinionScore(mean, None, total, workers, samples)
    variance, parts = variance_of_mean(z, ddof)
    quantile = stats.t.ppf((1 + level) / 2, min(workers, samples) - 1)
    return MeanOpinionScore(mean, float(quantile * math.sqrt(variance)), total, workers, samples, *parts)


def variance_of_mean(z: Matrix, ddof: int) -> tuple[float, tuple[float | None, float | None, float | None]]:
    """Variance of the mean opinion score.

    Args:
        z: ratings [workers, samples], NaN where missing.
        ddof: of the variances.

    Returns:
        Var(μ̂); and σ_s², σ_w², σ_u², None where undetermined.
    """
    given = ~np.isnan(z)
    total = given.sum()
    by_sample = float(np.sum(given.sum(axis=0) ** 2.0) / total**2)
    by_worker = float(np.sum(given.sum(axis=1) ** 2.0) / total**2)
    v_swu = float(np.var(z[given], ddof=ddof))
    v_su = _mean_variance(z, ddof)
    v_wu = _mean_variance(z.T, ddof)
    if v_su is None and v_wu is None:
        return v_swu / total, (None, None, None)
    if v_su is None:
        assert v_wu is not None
        sample = max(0.0, v_swu - v_wu)
        return sample * by_sample + v_wu / total, (sample, None, None)
    if v_wu is None:
        worker = max(0.0, v_swu - v_su)
        return worker * by_worker + v_su / total, (None, worker, None)
    sample, worker, residual = (max(0.0, part) for part in (v_swu - v_wu, v_swu - v_su, v_su + v_wu - v_swu))
    return sample * by_sample + worker * by_worker + residual / total, (sample, worker, residual)


def _mean_variance(rows: Matrix, ddof: int) -> float | None:
    """Mean over rows of the variance within a row; rows with fewer than two ratings do not count. None without any row."""
    variances = [np.var(row[~np.isnan(row)], ddof=ddof) for row in rows if (~np.isnan(row)).sum() >= 2]
    return float(np.mean(variances)) if variances else None
