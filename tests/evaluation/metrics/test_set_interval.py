"""Intervals of distances between sets: the jackknife of means, known variances of quadratic statistics, coverage."""

import numpy as np
import pytest
from scipy import stats

from evaluation.metrics import fad, set_interval


def mean_of(values):
    return lambda counts: counts @ values / counts.sum(axis=1)


def test_of_a_mean_it_is_students_variance():
    values = np.random.default_rng(0).normal(size=50)
    found = set_interval.replicate(mean_of(values), 50, np.random.default_rng(1), 4000)
    assert found.variance == pytest.approx(values.var(ddof=1) / 50, rel=0.05)
    assert found.second == pytest.approx(np.zeros(set_interval.PAIRS), abs=2e-3)
    interval = found.interval()
    theirs = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(theirs, abs=0.08 * (theirs[1] - theirs[0]))
    assert interval.estimate == pytest.approx(values.mean())


def test_the_variance_of_a_quadratic_statistic_is_not_counted_twice():
    """Of the mean of x_i x_j over pairs the variance is 2/n²; the jackknife alone says twice that, the bootstrap thrice."""
    n, rng = 60, np.random.default_rng(2)
    found, jackknife, bootstrap = [], [], []
    for _ in range(200):
        x = rng.normal(size=n)
        statistic = quadratic(x)
        each = set_interval.replicate(statistic, n, rng, 200)
        found.append(each.variance)
        jackknife.append((n - 1) * np.var(each.left_out))
        bootstrap.append(np.var(each.bootstrap))
    true = 2 / n**2
    assert np.mean(jackknife) == pytest.approx(2 * true, rel=0.2)
    assert np.mean(bootstrap) == pytest.approx(3 * true, rel=0.25)
    assert np.mean(found) == pytest.approx(true, rel=0.25)


def quadratic(x):
    def statistic(counts):
        n = counts.sum(axis=1)
        return ((counts @ x) ** 2 - counts @ x**2) / (n * (n - 1))

    return statistic


def test_more_clips_than_groups_leave_out_groups():
    values = np.random.default_rng(0).normal(size=1000)
    found = set_interval.replicate(mean_of(values), 1000, np.random.default_rng(1), 100)
    assert len(found.left_out) == set_interval.GROUPS
    assert found.variance == pytest.approx(values.var() / 1000, rel=0.2)


def test_too_few_clips_have_no_interval():
    assert set_interval.replicate(mean_of(np.arange(19.0)), 19, np.random.default_rng(1), 100) is None
    found = set_interval.replicate(mean_of(np.ones(20)), 20, np.random.default_rng(1), 100)
    assert (found.interval().low, found.interval().high) == (1, 1)


def test_differences_of_two_systems_are_covered():
    """FAD of two systems that answer the same prompts: the plain bootstrap covers 99 % here and is 1.6 times as wide."""
    d, n, rng = 8, 40, np.random.default_rng(3)
    mix = rng.normal(size=(d, d))
    reference = fad.reference(fad.gaussian(rng.normal(size=(2000, d)) @ mix))

    def draw(rng):
        prompts = rng.normal(size=(n, 1, d))
        return [
            list((0.7 * prompts + 0.7 * rng.normal(size=(n, 1, d)) + rng.normal(size=(n, 3, d))) @ mix * scale + 0.2)
            for scale in (1.0, 1.1)
        ]

    found = []
    for seed in range(200):
        a, b = (
            set_interval.replicate(
                lambda counts, clips=clips: fad.resampled(reference, clips, counts), n, np.random.default_rng(seed), 200
            )
            for clips in draw(np.random.default_rng(1000 + seed))
        )
        found.append((a - b).interval())
    truth = np.mean([each.estimate for each in found])
    spread = np.std([each.estimate for each in found])
    assert 0.91 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.985
    widths = np.mean([each.high - each.low for each in found]) / (2 * 1.96 * spread)
    assert 0.85 <= widths <= 1.15
