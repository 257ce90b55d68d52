"""The variance model: by hand, degenerate, and against simulated truth."""

import numpy as np
import pytest
from scipy import stats

from human_study.analysis import crowdmos, krippendorff
from musicgen.errors import InputError
from tests.human_study import simulation

NAN = np.nan


def test_by_hand():
    # Worker variances across samples: 2, 8 -> v_su 5. Sample variances across workers: 2, 8 -> v_wu 5.
    # All ratings 1 3 3 7: mean 3.5, variance 57/4 - ... = 19/3. σ_s² = σ_w² = 19/3 - 5 = 4/3, σ_u² = 10 - 19/3 = 11/3.
    # Var = 4/3 · 8/16 + 4/3 · 8/16 + 11/12 = 2.25.
    score = crowdmos.score(np.array([[1.0, 3.0], [3.0, 7.0]]))
    assert score.mean == 3.5
    assert score.sample_variance == pytest.approx(4 / 3)
    assert score.worker_variance == pytest.approx(4 / 3)
    assert score.residual_variance == pytest.approx(11 / 3)
    assert score.half_width == pytest.approx(stats.t.ppf(0.975, 1) * 1.5)


def test_by_hand_with_gaps():
    z = np.array([[60.0, 80.0, NAN], [NAN, 70.0, 90.0], [50.0, NAN, NAN]])
    v_su = np.mean([np.var([60, 80], ddof=1), np.var([70, 90], ddof=1)])  # the third worker says nothing
    v_wu = np.mean([np.var([60, 50], ddof=1), np.var([80, 70], ddof=1)])  # nor does the third sample
    v = np.var([60, 80, 70, 90, 50], ddof=1)
    s, w, u = v - v_wu, v - v_su, max(0, v_su + v_wu - v)
    variance = s * (4 + 4 + 1) / 25 + w * (4 + 4 + 1) / 25 + u / 5
    score = crowdmos.score(z)
    assert (score.ratings, score.workers, score.samples) == (5, 3, 3)
    assert score.half_width == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt(variance))


@pytest.mark.parametrize(("ddof", "variance"), [(1, 16 / 3 * 8 / 16), (0, 4 * 8 / 16)])
def test_workers_without_common_samples(ddof, variance):
    # No sample has two ratings: all the spread is between workers. A port that swaps the counts says 1.0 here.
    z = np.array([[5, 5, NAN, NAN], [NAN, NAN, 1, 1]])
    got, parts = crowdmos.variance_of_mean(z, ddof)
    assert got == pytest.approx(variance)
    assert got != pytest.approx(1.0)
    assert parts == (None, pytest.approx(16 / 3 if ddof else 4), None)
    score = crowdmos.score(z, ddof)
    assert score.half_width == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(variance))


def test_samples_without_common_workers():
    z = np.array([[5, 5, NAN, NAN], [NAN, NAN, 1, 1]]).T
    got, parts = crowdmos.variance_of_mean(z, 1)
    assert got == pytest.approx(16 / 3 * 8 / 16)
    assert parts == (pytest.approx(16 / 3), None, None)


def test_nothing_shared():
    z = np.array([[5, NAN], [NAN, 1.0]])
    assert crowdmos.variance_of_mean(z, 1) == (pytest.approx(8 / 2), (None, None, None))


@pytest.mark.parametrize("z", [[[5.0]], [[5.0, 7.0]], [[5.0], [7.0]], [[NAN, 5.0], [NAN, 6.0]]])
def test_too_little_for_an_interval(z):
    score = crowdmos.score(np.array(z))
    assert score.half_width is None
    assert score.mean == np.nanmean(z)


def test_equal_ratings_have_no_width():
    assert crowdmos.score(np.full((3, 4), 7.0)).half_width == 0


def test_nobody_left():
    with pytest.raises(InputError, match="did screening exclude every rater"):
        crowdmos.score(np.full((2, 2), NAN))


def test_parts_are_never_negative():
    rng = np.random.default_rng(0)
    for _ in range(200):
        z = np.where(rng.random((4, 5)) < 0.6, rng.integers(1, 101, (4, 5)).astype(float), NAN)
        if np.isnan(z).all():
            continue
        score = crowdmos.score(z)
        parts = (score.sample_variance, score.worker_variance, score.residual_variance)
        assert all(part is None or part >= 0 for part in parts)
        assert score.half_width is None or score.half_width >= 0


# workers, samples, ratings a sample, standard deviations of workers, samples and the rest
DESIGNS = [
    (40, 40, 8, 6, 7, 14),
    (60, 40, 5, 8, 5, 15),
    (30, 50, 10, 4, 10, 12),
    (40, 40, 40, 5, 5, 10),
]


def coverage(design, studies, seed):
    workers, samples, each, worker_sd, sample_sd, residual_sd = design
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(studies):
        score = crowdmos.score(simulation.draw(rng, workers, samples, each, 75, worker_sd, sample_sd, residual_sd))
        hits += abs(score.mean - 75) <= score.half_width
    return hits / studies


@pytest.mark.parametrize("design", DESIGNS[:2])
def test_the_interval_covers_the_truth_in_700_studies(design):
    assert 0.93 <= coverage(design, 700, seed=1) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_the_interval_covers_the_truth_in_every_design(design):
    assert 0.93 <= coverage(design, 6000, seed=2) <= 0.97


def test_alpha_is_krippendorffs_example():
    # Krippendorff 2011, example C: four observers, twelve units, interval metric: 0.849.
    rows = """1 2 3 3 2 1 4 1 2 . . .
              1 2 3 3 2 2 4 1 2 5 . 3
              . 3 3 3 2 3 4 2 2 5 1 .
              1 2 3 3 2 4 4 1 2 5 1 ."""
    z = np.array([[NAN if cell == "." else float(cell) for cell in row.split()] for row in rows.splitlines()])
    assert krippendorff.alpha(z) == pytest.approx(0.849, abs=5e-4)


def test_alpha_by_brute_force_and_at_its_ends():
    rng = np.random.default_rng(3)
    z = rng.integers(1, 100, (5, 6)).astype(float)
    pairs = [(a - b) ** 2 for column in z.T for a in column for b in column]
    everything = [(a - b) ** 2 for a in z.ravel() for b in z.ravel()]
    observed, expected = sum(pairs) / (6 * 5 * 4), sum(everything) / (30 * 29)
    assert krippendorff.alpha(z) == pytest.approx(1 - observed / expected)
    assert krippendorff.alpha(np.tile([1.0, 5.0, 9.0], (4, 1))) == pytest.approx(1)
    assert krippendorff.alpha(np.array([[1.0, NAN], [NAN, 2.0]])) is None
    assert krippendorff.alpha(np.full((2, 2), 3.0)) is None
