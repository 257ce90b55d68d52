"""MAD against MAUVE's own package, against closed cases, and samples of clips against the plain computation."""

import math

import numpy as np
import pytest

from evaluation.metrics import mad
from musicgen import statistics
from musicgen.errors import InputError


def vectors(n, shift=0.0, seed=0, d=20):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(4, d)) * 3
    return centres[rng.integers(0, 4, n)] + rng.normal(size=(n, d)) + shift


@pytest.mark.parametrize(("m", "n", "shift"), [(60, 40, 0.0), (40, 60, 1.5), (30, 30, 8.0)])
def test_it_is_the_published_packages_number(m, n, shift):
    package = pytest.importorskip("mauve")
    reference, generated = vectors(m), vectors(n, shift, seed=1)
    theirs = package.compute_mauve(p_features=generated, q_features=reference)
    ours = mad.cluster(reference, generated)
    assert ours.count == theirs.num_buckets
    assert mad.distance(ours) == pytest.approx(-math.log(theirs.mauve), rel=1e-6, abs=1e-9)


def test_the_area_of_known_shares():
    q = np.array([0.5, 0.5])
    same, disjoint = mad.mauve(np.array([[0.5, 0.5], [1.0, 0.0]]), q)
    assert same == pytest.approx(1)
    assert disjoint < 1
    # Shares without a common cell: KL(p‖r) = −ln w, so the points are (w^5, (1 − w)^5); their area is B(6, 5) · 5 = 1/252.
    (apart,) = mad.mauve(np.array([[1.0, 0.0]]), np.array([0.0, 1.0]))
    assert apart == pytest.approx(1 / 252, rel=0.05)  # the trapezoids of 25 points


def test_it_grows_with_the_distance_and_does_not_see_the_order():
    reference, generated = vectors(80), vectors(60, 0.8, seed=3)
    far = mad.distance(mad.cluster(reference, vectors(60, 4.0, seed=3)))
    near = mad.distance(mad.cluster(reference, generated))
    assert 0 <= near < far
    shares = mad.Clusters(np.array([0, 1, 1]), np.array([1, 0, 0]), 2)
    turned = mad.Clusters(np.array([1, 1, 0]), np.array([0, 1, 0]), 2)
    assert mad.distance(shares) == mad.distance(turned)


def test_samples_of_clips_are_the_plain_computation():
    cells = mad.cluster(vectors(60), vectors(50, 1.0, seed=2))
    (counts,) = statistics.counts(50, 20, np.random.default_rng(5))
    fast, drawn = mad.resampled(cells, counts), counts.astype(int)
    plain = [mad.distance(mad.Clusters(cells.reference, np.repeat(cells.generated, row), cells.count)) for row in drawn]
    assert fast == pytest.approx(np.array(plain))


def test_one_vector_a_clip():
    assert mad.vector([[1.0, -2.0], [0.5, 3.0]]).tolist() == [1.0, 3.0]
    with pytest.raises(InputError, match="at least 2 clips"):
        mad.cluster(vectors(1), vectors(5))
    with pytest.raises(InputError, match="20 and of 3"):
        mad.cluster(vectors(30), vectors(30, d=3))
