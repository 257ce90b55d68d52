"""Intervals and tests against scipy's own, and against brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats

from musicgen import statistics
from musicgen.errors import InputError


def plain_studentised(totals, sizes, drawn):
    """The studentised interval by loops: a resample's standard error is the jackknife's linear one, written out."""

    def ratio_and_error(t, s):
        value = t.sum() / s.sum()
        residuals = (t - value * s) / s.mean()
        return value, np.sqrt(np.sum(residuals**2) / (len(t) * (len(t) - 1)))

    value, error = ratio_and_error(totals, sizes)
    each = [ratio_and_error(totals[chosen], sizes[chosen]) for chosen in drawn]
    low, high = np.quantile([(other - value) / spread for other, spread in each], [0.025, 0.975])
    t = stats.t.ppf(0.975, len(totals) - 1)
    return value, value - max(high, t) * error, value - min(low, -t) * error


def test_the_interval_is_the_studentised_bootstrap():
    rng = np.random.default_rng(0)
    totals, sizes = rng.gamma(2, 3, 30), rng.integers(1, 4, 30).astype(float)
    found = statistics.ratio_interval(totals, sizes, np.random.default_rng(1), resamples=500)
    (drawn,) = statistics.counts(30, 500, np.random.default_rng(1))
    rows = [np.repeat(np.arange(30), row.astype(int)) for row in drawn]
    assert (found.estimate, found.low, found.high) == pytest.approx(plain_studentised(totals, sizes, rows))


def test_the_interval_of_a_difference_with_equal_sizes_is_that_of_the_differences():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(2, 3, 20), rng.gamma(2, 2, 20)
    both = np.stack([a, b], axis=1)
    difference = statistics.ratio_interval(both, np.ones((20, 2)), np.random.default_rng(1), resamples=300)
    plain = statistics.ratio_interval(a - b, np.ones(20), np.random.default_rng(1), resamples=300)
    assert [difference.estimate, difference.low, difference.high] == pytest.approx(
        [plain.estimate, plain.low, plain.high]
    )


def test_normal_values_have_students_interval():
    values = np.random.default_rng(3).normal(7, 2, 4000)
    found = statistics.ratio_interval(values, np.ones(4000), np.random.default_rng(0), resamples=2000)
    theirs = stats.t.interval(0.95, 3999, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs, abs=0.1 * (theirs[1] - theirs[0]))
    assert found.low <= theirs[0]
    assert found.high >= theirs[1]


@pytest.mark.parametrize("draw", [lambda rng: rng.normal(2, 1, 8), lambda rng: rng.gamma(2, 1, 8)])
def test_few_clips_are_covered(draw):
    """8 clips: percentiles of the bootstrap cover 86 to 89 % here."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        interval = statistics.ratio_interval(draw(rng), np.ones(8), rng, resamples=300)
        hits += interval.low <= 2 <= interval.high
    assert 0.925 <= hits / 400 <= 0.98


def test_too_few_clips_have_no_interval_and_equal_ones_one_without_width():
    assert statistics.ratio_interval([1.0, 2.0, 3.0, 4.0], np.ones(4), np.random.default_rng(0)) is None
    interval = statistics.ratio_interval([3.0] * 8, np.ones(8), np.random.default_rng(0))
    assert (interval.low, interval.estimate, interval.high) == (3, 3, 3)


def test_one_clip_that_differs_has_students_interval():
    """Every third resample lacks it and has no spread of its own."""
    values = np.array([1.0] + [0.0] * 9)
    interval = statistics.ratio_interval(values, np.ones(10), np.random.default_rng(0))
    low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert interval.low == pytest.approx(low)
    assert interval.high >= high - 1e-12


def test_same_generator_same_interval_whatever_the_blocks(monkeypatch):
    values = np.random.default_rng(3).gamma(2.0, 10.0, 40)
    one = statistics.ratio_interval(values, np.ones(40), np.random.default_rng(9), resamples=200)
    monkeypatch.setattr(statistics, "BLOCK", 8 * 40 * 7)
    other = statistics.ratio_interval(values, np.ones(40), np.random.default_rng(9), resamples=200)
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert [len(block) for block in statistics.counts(40, 30, np.random.default_rng(7))] == [7, 7, 7, 7, 2]


def test_estimate_interval_and_p_of_a_comparison_are_of_one_ratio():
    """Two long clips agree with the first system, six short ones with the second: frames weigh, clips do not."""
    sizes = np.array([9.0, 9.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    long = sizes > 2
    a, b = sizes * long, sizes * ~long
    found = statistics.ratio_interval(np.stack([a, b], 1), np.stack([sizes, sizes], 1), np.random.default_rng(0))
    assert found.estimate == pytest.approx((18 - 12) / 30)
    assert found.low < found.estimate < found.high
    brute = []
    for swapped in itertools.product([False, True], repeat=8):
        first, second = np.where(swapped, b, a), np.where(swapped, a, b)
        brute.append(abs(first.sum() - second.sum()) / 30 >= abs(found.estimate) - 1e-9)
    p = statistics.paired_permutation(a, b, np.random.default_rng(0), sizes=(sizes, sizes))
    assert p == pytest.approx(np.mean(brute))


def test_sizes_change_places_with_their_values():
    rng = np.random.default_rng(4)
    a, b, m, n = rng.gamma(2, 1, 7), rng.gamma(2, 1, 7), rng.uniform(1, 5, 7), rng.uniform(1, 5, 7)
    observed = abs(a.sum() / m.sum() - b.sum() / n.sum())
    brute = []
    for swapped in itertools.product([False, True], repeat=7):
        (x, u), (y, v) = (
            (np.where(swapped, q, p), np.where(swapped, s, r)) for p, q, r, s in ((a, b, m, n), (b, a, n, m))
        )
        brute.append(abs(x.sum() / u.sum() - y.sum() / v.sum()) >= observed - 1e-12)
    assert statistics.paired_permutation(a, b, rng, sizes=(m, n)) == pytest.approx(np.mean(brute))


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
        (lambda rng: statistics.ratio_interval([], [], rng), r"not \[0\] and \[0\]"),
        (lambda rng: statistics.ratio_interval([1.0, float("nan")], [1, 1], rng), "NaN"),
        (lambda rng: statistics.ratio_interval([1, 2], [1, 1], rng, level=95), "level is 95"),
        (lambda rng: statistics.ratio_interval([1, 2], [0, 0], rng), "one of them above 0"),
        (lambda rng: statistics.ratio_interval([1, 2], [1], rng), "both alike"),
        (lambda rng: next(statistics.counts(0, 5, rng)), "not 0 and 5"),
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
