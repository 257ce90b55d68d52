"""Mean opinion score and its interval by the CrowdMOS variance model (Ribeiro et al. 2011, as public ports have it).

Z_ij = μ + x_i + y_j + ε_ij: worker i rates sample j; raters differ (σ_w²), samples differ (σ_s²), and the rest is σ_u².
Conventions: Z is [workers, samples] with NaN in the gaps, the ratings of one system. `ddof` of every variance is 1 unless
another is passed: published fixtures of one port use 0.

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
    """mean: of all ratings; half_width: of the interval, None where the data cannot say (fewer than two raters or
    samples); the variances of the parts, None where the ratings do not separate them."""

    mean: float
    half_width: float | None
    ratings: int
    workers: int
    samples: int
    sample_variance: float | None = None
    worker_variance: float | None = None
    residual_variance: float | None = None


def score(z: Matrix, ddof: int = 1, level: float = 0.95) -> MeanOpinionScore:
    """The mean opinion score of a system with its interval."""
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2:
        raise InputError(f"ratings must be [workers, samples], not {list(z.shape)}")
    given = ~np.isnan(z)
    z = z[given.any(axis=1)][:, given.any(axis=0)]
    given = ~np.isnan(z)
    total = int(given.sum())
    if total == 0:
        raise InputError("no rating is left: did screening take everybody out?")
    mean = float(z[given].mean())
    workers, samples = z.shape
    if min(workers, samples) < 2:
        return MeanOpinionScore(mean, None, total, workers, samples)
    variance, parts = variance_of_mean(z, ddof)
    quantile = stats.t.ppf((1 + level) / 2, min(workers, samples) - 1)
    return MeanOpinionScore(mean, float(quantile * math.sqrt(variance)), total, workers, samples, *parts)


def variance_of_mean(z: Matrix, ddof: int) -> tuple[float, tuple[float | None, float | None, float | None]]:
    """Var(μ̂), and σ_s², σ_w², σ_u² as far as the gaps let them be told apart."""
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
    """Mean over rows of the variance within; rows with fewer than two ratings say nothing, None if none says anything."""
    variances = [np.var(row[~np.isnan(row)], ddof=ddof) for row in rows if (~np.isnan(row)).sum() >= 2]
    return float(np.mean(variances)) if variances else None
