"""FAD against the closed form, SciPy's matrix root, the frechet-audio-distance package, and simulation."""

import math

import numpy as np
import pytest
from scipy import linalg

from evaluation.clips.clip import Source
from evaluation.embedders.base import embedding_key
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.metrics import fad
from evaluation.metrics.base import MetricInputs, Pair, score_metric
from evaluation.metrics.registry import find_metric
from musicgen import statistics
from musicgen.errors import InputError


def clips(n, windows=5, d=6, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(d, d))
    return [rng.normal(size=(windows, d)) @ mix + rng.normal(size=d) + shift for _ in range(n)]


def pooled(parts):
    return fad.merge(fad.gaussian(part) for part in parts)


def by_sqrtm(first, second):
    a, b = np.concatenate(first), np.concatenate(second)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(ca) + np.trace(cb) - 2 * np.trace(linalg.sqrtm(ca @ cb)).real)


def test_two_known_gaussians():
    covariances = np.diag([4.0, 9.0, 1.0]), np.diag([1.0, 16.0, 0.0])
    means = np.zeros(3), np.array([1.0, 2.0, 2.0])
    sets = [fad.Gaussian(11, mean, covariance * 10) for mean, covariance in zip(means, covariances, strict=True)]
    # |μ|² = 9; (2 − 1)² + (3 − 4)² + (1 − 0)² = 3
    assert fad.distance(fad.reference(sets[0]), sets[1]) == pytest.approx(12.0, abs=1e-12)


def test_it_is_the_matrix_root_and_the_packages_number():
    ours, theirs = clips(30), clips(25, shift=0.7, seed=1)
    value = fad.distance(fad.reference(pooled(ours)), pooled(theirs))
    assert value == pytest.approx(by_sqrtm(ours, theirs), rel=1e-9)
    package = pytest.importorskip("frechet_audio_distance")
    peer = package.FrechetAudioDistance.__new__(package.FrechetAudioDistance)
    sets = [peer.calculate_embd_statistics(np.concatenate(part)) for part in (ours, theirs)]
    assert value == pytest.approx(peer.calculate_frechet_distance(*sets[0], *sets[1]), rel=1e-6)


def test_identical_sets_are_0_apart_and_order_and_shards_change_nothing():
    parts = clips(40)
    reference = fad.reference(pooled(parts))
    assert fad.distance(reference, pooled(parts)) == pytest.approx(0, abs=1e-9)
    other = clips(31, shift=0.3, seed=2)
    whole = fad.distance(reference, fad.gaussian(np.concatenate(other)))
    shards = [pooled(other[start::4]) for start in (3, 1, 0, 2)]
    assert fad.distance(reference, fad.merge(shards)) == pytest.approx(whole, rel=1e-10)


def test_fewer_windows_than_dimensions_is_still_a_number():
    few = fad.distance(fad.reference(pooled(clips(40))), fad.gaussian(clips(1, windows=3)[0]))
    assert math.isfinite(few)
    assert few > 0


def test_samples_of_clips_are_the_plain_computation(monkeypatch):
    reference, parts = fad.reference(pooled(clips(20))), clips(12, shift=0.2, seed=3)
    (drawn,) = statistics.counts(12, 30, np.random.default_rng(7))
    fast = fad.resampled(reference, parts, drawn)
    plain = [
        fad.distance(reference, fad.gaussian(np.concatenate([parts[i] for i in np.repeat(np.arange(12), row)])))
        for row in drawn.astype(int)
    ]
    assert fast == pytest.approx(np.array(plain), rel=1e-9)
    monkeypatch.setattr(fad, "MAX_BLOCK", 8 * 21 * 7)
    assert fad.resampled(reference, parts, drawn) == pytest.approx(fast, rel=1e-12)


def test_samples_of_fewer_windows_than_dimensions_are_the_plain_computation_too():
    """Which goes on within the space that the windows span."""
    rng = np.random.default_rng(9)
    reference = fad.reference(fad.gaussian(rng.normal(size=(90, 40))))
    parts = [rng.normal(size=(2, 40)) + 0.3 for _ in range(9)]
    assert fad._within_span(reference, parts).shape == (40, 18)
    (drawn,) = statistics.counts(9, 20, np.random.default_rng(7))
    plain = [
        fad.distance(reference, fad.gaussian(np.concatenate([parts[i] for i in np.repeat(np.arange(9), row)])))
        for row in drawn.astype(int)
    ]
    assert fad.resampled(reference, parts, drawn) == pytest.approx(plain, rel=1e-6)


def test_equal_sets_with_fewer_windows_than_dimensions_are_0_apart():
    same = np.random.default_rng(0).normal(size=(20, 64))
    reference = fad.reference(fad.gaussian(same))
    raw = fad._distance(reference, same.mean(axis=0), fad.gaussian(same).covariance)
    assert -1e-4 < raw < 0  # the rounding of 44 eigenvalues that are 0
    assert fad.distance(reference, fad.gaussian(same)) == 0


def test_infinity_undoes_the_bias_of_small_sets():
    rng = np.random.default_rng(0)
    d = 20
    reference = fad.reference(fad.Gaussian(10**6, np.zeros(d), np.eye(d) * (10**6 - 1)))
    same = rng.normal(size=(3000, d))
    small = fad.distance(reference, fad.gaussian(same[:500]))
    infinite, fit = fad.extrapolated(reference, same, np.random.default_rng(1))
    assert abs(infinite) < 0.4 * small
    assert fit > 0.5
    with pytest.raises(InputError, match="at least 1000 windows"):
        fad.extrapolated(reference, same[:900], rng)


def test_the_clip_that_hurts_is_found():
    parts = [*clips(20), *clips(1, shift=9.0, seed=5)]
    reference, whole = fad.reference(pooled(clips(20))), pooled(parts)
    adds = fad.per_clip(reference, parts)
    assert adds.argmax() == 20
    assert adds[20] == pytest.approx(
        fad.distance(reference, whole) - fad.distance(reference, pooled(parts[:20])), rel=1e-8
    )


def test_a_clip_without_which_there_is_no_covariance_adds_nothing():
    assert fad.per_clip(fad.reference(pooled(clips(20))), clips(2, windows=1)).tolist() == [0, 0]


def test_influence_is_the_exact_share_to_first_order():
    reference, parts = fad.reference(pooled(clips(300))), clips(400, shift=0.3, seed=4)
    exact = fad.per_clip(reference, parts)
    fast = fad.influence(reference, parts, pooled(parts))
    assert np.corrcoef(exact, fast)[0, 1] > 0.999
    assert fast == pytest.approx(exact, abs=0.15 * np.abs(exact).max())


def test_the_fad_of_a_song_is_that_of_its_windows_alone(tmp_path):
    cache, embedders, pairs = Cache(tmp_path), Embedders(), []
    for number, rows in enumerate([clips(1, windows=9)[0], clips(1, windows=1)[0], clips(1, 9, shift=5.0)[0]]):
        sources = [
            Source(str(number), tmp_path / f"{number}", f"{number:064d}", role) for role in ("reference", "generated")
        ]
        for source, array in zip(sources, (clips(1, 9, seed=7)[0], rows), strict=True):
            cache.put(embedding_key(embedders["mini"], source), array, "x")
        pairs.append(Pair(str(number), "", *sources, 32_000))
    found = score_metric(find_metric("fad_song_mini"), MetricInputs(pairs, embedders, cache, {})).score
    references = [clips(1, 9, seed=7)[0]] * 3
    expected = by_sqrtm(references, [clips(1, windows=9)[0]]), by_sqrtm(references, [clips(1, 9, shift=5.0)[0]])
    assert [found.clips["0"], found.clips["2"]] == pytest.approx(expected)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.excluded == {"1": "one window: a song's own FAD takes 2"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fad.gaussian(np.zeros(4)), "must be"),
        (lambda: fad.gaussian(np.full((3, 2), np.nan)), "NaN"),
        (lambda: fad.merge([]), "without clips"),
        (lambda: fad.reference(fad.gaussian(np.zeros((1, 2)))), "at least 2 windows"),
        (lambda: fad.merge([fad.gaussian(np.zeros((3, 2))), fad.gaussian(np.zeros((3, 4)))]), "2 and of 4"),
        (lambda: fad.distance(fad.reference(pooled(clips(3))), fad.gaussian(np.zeros((3, 4)))), "6 and of 4"),
        (lambda: fad.resampled(fad.reference(pooled(clips(3))), clips(2), np.ones((1, 3))), r"must be \[R, 2\]"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(InputError, match=message):
        call()
