"""Intervals and tests against scipy's own, and against brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats

from musicgen import statistics
from musicgen.errors import InputError


def skewed(n=40):
    return np.random.default_rng(3).gamma(2.0, 10.0, n)


@pytest.mark.parametrize(("ours", "method"), [("bootstrap_percentile", "percentile"), ("bootstrap_bca", "BCa")])
@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_bootstrap_agrees_with_scipy(ours, method, statistic):
    values = skewed()
    interval = getattr(statistics, ours)(
        values, np.random.default_rng(0), lambda x: float(statistic(x)), resamples=5000
    )
    theirs = stats.bootstrap(
        (values,), statistic, method=method, n_resamples=5000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert interval.estimate == pytest.approx(statistic(values))
    assert interval.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert interval.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_bootstrap_covers_the_truth():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        interval = statistics.bootstrap_bca(rng.normal(7, 2, 30), rng, resamples=300)
        hits += interval.low <= 7 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_bootstrap_of_equal_values_has_no_width():
    interval = statistics.bootstrap_bca([3.0] * 8, np.random.default_rng(0))
    assert (interval.low, interval.estimate, interval.high) == (3, 3, 3)


def test_same_generator_same_interval():
    values = skewed()
    one = statistics.bootstrap_percentile(values, np.random.default_rng(9), resamples=200)
    assert one == statistics.bootstrap_percentile(values, np.random.default_rng(9), resamples=200)


def test_exact_permutation_is_brute_force_and_scipys():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.6, 1, 9), rng.normal(0, 1, 9)
    sums = [abs(np.dot(signs, a - b)) for signs in itertools.product([-1, 1], repeat=9)]
    brute = np.mean([total >= abs((a - b).sum()) - 1e-9 for total in sums])
    theirs = stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999)
    assert statistics.paired_permutation(a, b, rng) == pytest.approx(brute)
    assert brute == pytest.approx(theirs.pvalue)


def test_random_permutation_agrees_with_scipy_and_is_never_zero():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.35, 1, 40), rng.normal(0, 1, 40)
    theirs = stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples", rng=rng).pvalue
    assert statistics.paired_permutation(a, b, np.random.default_rng(0)) == pytest.approx(theirs, abs=0.015)
    assert statistics.paired_permutation(a + 100, b, np.random.default_rng(0)) == pytest.approx(1 / 10000)


def test_wilcoxon_agrees_with_scipy_and_survives_equal_pairs():
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.4, 1, 25), rng.normal(0, 1, 25)
    assert statistics.wilcoxon(a, b) == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert statistics.wilcoxon([1, 2, 3], [1, 2, 3]) == 1
    assert 0 < statistics.wilcoxon([1, 2, 3, 9], [1, 2, 3, 4]) <= 1


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]) == []


def test_holm_never_beats_bonferroni_and_keeps_the_order():
    p = np.random.default_rng(8).uniform(0, 0.2, 12)
    adjusted = np.array(statistics.holm(list(p)))
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, 12 * p)).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: statistics.bootstrap_bca([1.0], rng), "at least 2 clips"),
        (lambda rng: statistics.bootstrap_bca([1.0, float("nan")], rng), "NaN"),
        (lambda rng: statistics.bootstrap_percentile([1, 2], rng, level=95), "level is 95"),
        (lambda rng: statistics.paired_permutation([1, 2], [1], rng), "equally long"),
        (lambda _: statistics.holm([1.2]), "p value is 1.2"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(InputError, match=message):
        call(np.random.default_rng(0))


def test_signs_drawn_in_blocks_are_the_same_signs(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 300))
    whole = statistics.paired_permutation(first + 0.1, second, np.random.default_rng(0))
    monkeypatch.setattr(statistics, "BLOCK", 8 * 300 * 7)
    assert statistics.paired_permutation(first + 0.1, second, np.random.default_rng(0)) == whole
