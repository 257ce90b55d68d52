"""Confidence intervals for set metrics: distances such as FAD, which are not means over clips.

The plain bootstrap is too wide for them. A distance has a component that is quadratic in the clips. Its variance is tripled in
the bootstrap, whose resamples contain some clips several times, and doubled in the jackknife (Efron and Stein 1981). Here

    variance = jackknife variance − Σ over pairs of clips of (θ − θ without i − θ without j + θ without both)²

The second term is the quadratic component, estimated from random pairs. The interval is Student's t interval with that
variance, longer on the side to which the bootstrap is skewed: distances are skewed upward, and an estimate that is too low has
a variance that is too low. The coverage in simulations is in docs/metrics/intervals.md (`python -m benchmarks.coverage`). The
unit is the clip; with more than GROUPS clips, random groups of clips are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from musicgen import statistics
from musicgen.statistics import LEVEL, Interval

Array = npt.NDArray[np.float64]
Resampled = Callable[[Array], Array]
"""The metric of samples of the clips: how often each clip is in a sample [R, n] → [R]."""

MIN_CLIPS = 20
"""Clips from which there is an interval."""
GROUPS = 200
PAIRS = 200
"""Pairs of which both are left out."""
RESAMPLES = 300
"""The most resamples of the bootstrap, which is only used for the skewness."""
SKEWNESS = 0.5
"""Standard errors by which an end is moved for each unit of the bootstrap's skewness; chosen by the simulation."""


@dataclass(frozen=True)
class Replicates:
    """A metric of samples of one system's clips. Those of two systems that drew the same samples can be subtracted.

    Attributes:
        value: of all clips.
        left_out: without each group of clips [G].
        second: θ − θ without i − θ without j + θ without both, of random pairs of groups [P].
        bootstrap: of the bootstrap over clips [R].
    """

    value: float
    left_out: Array
    second: Array
    bootstrap: Array

    def __sub__(self, other: Replicates) -> Replicates:
        return Replicates(
            self.value - other.value,
            self.left_out - other.left_out,
            self.second - other.second,
            self.bootstrap - other.bootstrap,
        )

    @property
    def variance(self) -> float:
        """Of the metric over other clips. At least half of the jackknife's, which is twice too large at most."""
        groups = len(self.left_out)
        jackknife = (groups - 1) * float(np.var(self.left_out))
        quadratic = groups * (groups - 1) / 2 * float(np.mean(self.second**2))
        return max(jackknife - quadratic, jackknife / 2)

    def interval(self, level: float = LEVEL) -> Interval:
        """The interval around `value`."""
        error = self.variance**0.5
        t = float(stats.t.ppf((1 + level) / 2, len(self.left_out) - 1))
        constant = np.ptp(self.bootstrap) == 0
        skewness = 0.0 if constant else SKEWNESS * float(stats.skew(self.bootstrap))
        low, high = self.value - error * (t - min(0.0, skewness)), self.value + error * (t + max(0.0, skewness))
        return Interval(self.value, low, high, level)


def replicate(resampled: Resampled, n: int, rng: np.random.Generator, resamples: int) -> Replicates | None:
    """Draw what an interval needs; None for fewer than MIN_CLIPS clips.

    Args:
        resampled: the metric.
        n: clips.
        rng: draws groups, pairs and samples, the same ones for the same n.
        resamples: of the bootstrap.
    """
    if n < MIN_CLIPS:
        return None
    count = min(n, GROUPS)
    members = np.eye(count)[rng.permutation(np.arange(n) % count)].T  # [G, n]
    first = rng.integers(0, count, PAIRS)
    second = (first + rng.integers(1, count, PAIRS)) % count
    kept = [np.ones((1, n)), 1 - members, 1 - members[first] - members[second]]
    values = resampled(np.concatenate([*kept, *statistics.counts(n, resamples, rng)]))
    whole, left_out, both, bootstrap = np.split(values, np.cumsum([1, count, PAIRS]))
    differences = whole - left_out[first] - left_out[second] + both
    return Replicates(float(whole[0]), left_out, differences, bootstrap)
