"""KAD and KID against brute force with scikit-learn's kernels."""

import math

import numpy as np
import pytest
from scipy.spatial import distance as pairs
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.metrics import kad, kid, mmd
from evaluation.pipeline.scoring import score
from evaluation.suites.items import load_items
from musicgen import statistics
from musicgen.errors import InputError
from tests.evaluation.test_scoring import QUIET, reference_folder, samples_folder, suite_of


def brute(x, y, kernel):
    def mean(a, b, different):
        values = kernel(a, b)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)) if different else values.mean()

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.fixture
def sets():
    """(reference windows, clips of 3 to 5 windows)."""
    rng = np.random.default_rng(2)
    return rng.normal(size=(60, 5)), [rng.normal(size=(3 + number % 3, 5)) + 0.4 for number in range(9)]


@pytest.mark.parametrize("metric", ["kad", "kid"])
def test_it_is_brute_force_with_scikit_learns_kernel(sets, metric, monkeypatch):
    x, clips = sets
    if metric == "kad":
        bandwidth = np.median(pairs.pdist(x))
        own, scale = kad.kernel(x), 100
        assert own.bandwidth == pytest.approx(bandwidth)  # the references', so that systems share it
        expected = lambda a, b: rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2))  # noqa: E731
    else:
        own, scale, expected = kid.kernel, 1, polynomial_kernel  # its defaults are KID's: degree 3, 1 / d, 1
    monkeypatch.setattr(mmd, "BLOCK", 7)
    reference = mmd.reference(x, own)
    sums = mmd.sums(reference, clips)
    resampled = kad.resampled if metric == "kad" else mmd.resampled
    assert scale * mmd.distance(reference, sums) == pytest.approx(scale * brute(x, np.concatenate(clips), expected))
    (counts,) = statistics.counts(9, 5, np.random.default_rng(3))
    drawn = [np.concatenate([clips[i] for i in np.repeat(np.arange(9), row)]) for row in counts.astype(int)]
    assert resampled(reference, sums, counts) == pytest.approx([scale * brute(x, y, expected) for y in drawn])


@pytest.mark.parametrize("metric", ["kad", "kid"])
def test_of_one_distribution_it_is_about_0(metric):
    rng = np.random.default_rng(4)
    values = []
    for _ in range(40):
        x = rng.normal(size=(80, 4))
        reference = mmd.reference(x, kad.kernel(x) if metric == "kad" else kid.kernel)
        values.append(mmd.distance(reference, mmd.sums(reference, list(rng.normal(size=(40, 2, 4))))))
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(40)


def test_the_mean_of_subsets_tends_to_the_value_of_all_windows(sets):
    x, clips = sets
    y = np.concatenate(clips)
    values = kid.subsets(x, y, np.random.default_rng(5), count=400, size=12)
    reference = mmd.reference(x, kid.kernel)
    whole = mmd.distance(reference, mmd.sums(reference, clips))
    assert abs(values.mean() - whole) < 3 * values.std() / math.sqrt(400)
    # Subsets of all windows are the set.
    everything = kid.subsets(x[: len(y)], y, np.random.default_rng(6), count=2, size=len(y))
    assert everything == pytest.approx([brute(x[: len(y)], y, polynomial_kernel)] * 2)


def test_kid_from_files_to_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(kid, "SUBSET_WINDOWS", 10)
    references = reference_folder(tmp_path / "references", 21, 1.0)
    folders = [samples_folder(tmp_path / name, name, 21, 1.0, seed) for name, seed in (("a", 50), ("b", 90))]
    suite = suite_of(tmp_path, ("kid_mini",))
    found = score(suite, load_items(suite, references), folders, Embedders(), Cache(tmp_path / "cache"), QUIET)
    (own,) = found.systems[0].scores
    assert own.low < own.value < own.high
    assert abs(own.details["subset_mean"] - own.value) < own.details["subset_std"]
    (row,) = found.comparisons
    assert row.low < row.difference < row.high


def test_too_few_windows_and_other_dimensions_are_a_line(sets):
    x, clips = sets
    with pytest.raises(InputError, match="at least 2 windows, and has 1"):
        mmd.reference(x[:1], kid.kernel)
    with pytest.raises(InputError, match="half of the reference's windows are the same"):
        kad.kernel(np.zeros((4, 2)))
    reference = mmd.reference(x, kid.kernel)
    with pytest.raises(InputError, match="at least 2 windows, and has 1"):
        mmd.distance(reference, mmd.sums(reference, [clips[0][:1]]))
    with pytest.raises(InputError, match="of 5 and of 4 dimensions"):
        mmd.sums(reference, [clips[0][:, :4]])
    with pytest.raises(InputError, match="at least one clip"):
        mmd.sums(reference, [])
