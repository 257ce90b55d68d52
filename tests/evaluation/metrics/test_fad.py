"""FAD against the closed form, SciPy's matrix root, the frechet-audio-distance package, and simulation."""

import math

import numpy as np
import pytest
from scipy import linalg

from evaluation.metrics import fad, resampling
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


def test_bootstrap_is_the_plain_resampling():
    reference, parts = fad.reference(pooled(clips(20))), clips(12, shift=0.2, seed=3)
    fast = fad.bootstrap(reference, parts, np.random.default_rng(7), resamples=30)
    drawn = np.concatenate(list(resampling.counts(12, 30, np.random.default_rng(7)))).astype(int)
    plain = [
        fad.distance(reference, fad.gaussian(np.concatenate([parts[i] for i in np.repeat(np.arange(12), row)])))
        for row in drawn
    ]
    assert fast == pytest.approx(np.array(plain), rel=1e-9)


def test_bootstrap_in_blocks_is_the_same(monkeypatch):
    reference, parts = fad.reference(pooled(clips(20))), clips(12, shift=0.2, seed=3)
    whole = fad.bootstrap(reference, parts, np.random.default_rng(7), resamples=30)
    monkeypatch.setattr(fad, "MAX_BLOCK", 8 * 21 * 7)
    assert fad.bootstrap(reference, parts, np.random.default_rng(7), resamples=30) == pytest.approx(whole, rel=1e-12)


def test_the_interval_covers_fad_at_this_number_of_clips():
    reference = fad.reference(pooled(clips(200, d=4)))
    draws = [clips(60, d=4, shift=0.5, seed=1000 + seed) for seed in range(150)]
    expected = np.mean([fad.distance(reference, pooled(draw)) for draw in draws])
    hits = 0
    for seed, draw in enumerate(draws):
        replicates = fad.bootstrap(reference, draw, np.random.default_rng(seed), resamples=200)
        low, high, bias = resampling.shifted_interval(fad.distance(reference, pooled(draw)), replicates)
        assert bias > 0  # resampling pushes FAD up
        hits += low <= expected <= high
    assert 0.88 <= hits / 150 <= 0.99


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
    adds = fad.per_clip(reference, parts, whole)
    assert adds.argmax() == 20
    assert adds[20] == pytest.approx(
        fad.distance(reference, whole) - fad.distance(reference, pooled(parts[:20])), rel=1e-8
    )


def test_influence_is_the_exact_share_to_first_order():
    reference, parts = fad.reference(pooled(clips(300))), clips(400, shift=0.3, seed=4)
    exact = fad.per_clip(reference, parts, pooled(parts))
    fast = fad.influence(reference, parts, pooled(parts))
    assert np.corrcoef(exact, fast)[0, 1] > 0.999
    assert fast == pytest.approx(exact, abs=0.15 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fad.gaussian(np.zeros(4)), "must be"),
        (lambda: fad.gaussian(np.full((3, 2), np.nan)), "NaN"),
        (lambda: fad.merge([]), "without clips"),
        (lambda: fad.reference(fad.gaussian(np.zeros((1, 2)))), "at least 2 windows"),
        (lambda: fad.merge([fad.gaussian(np.zeros((3, 2))), fad.gaussian(np.zeros((3, 4)))]), "2 and of 4"),
        (lambda: fad.distance(fad.reference(pooled(clips(3))), fad.gaussian(np.zeros((3, 4)))), "6 and of 4"),
        (lambda: fad.bootstrap(fad.reference(pooled(clips(3))), clips(1), np.random.default_rng(0)), "2 clips"),
    ],
)
def test_errors_name_the_value(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_blocks_of_resamples_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = resampling.counts(12, 30, np.random.default_rng(7))
    monkeypatch.setattr(resampling, "BLOCK", 8 * 12 * 7)
    blocks = list(resampling.counts(12, 30, np.random.default_rng(7)))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    assert np.array_equal(np.concatenate(blocks), whole)
    assert [len(block) for block in resampling.counts(12, 5, np.random.default_rng(7), most=2)] == [2, 2, 1]
