"""Precision and recall against scikit-learn's neighbours, the Inception-style score against its definition."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from evaluation.metrics import inception, precision_recall
from musicgen import statistics
from musicgen.errors import InputError


def test_precision_and_recall_are_the_papers_manifolds(monkeypatch):
    rng = np.random.default_rng(0)
    reference = [rng.normal(size=(3, 4)) for _ in range(20)]
    generated = [rng.normal(size=(2, 4)) * 0.7 + 1.0 for _ in range(15)]
    x, y = np.concatenate(reference), np.concatenate(generated)

    def covered(points, centres):
        distances, _ = NearestNeighbors(n_neighbors=precision_recall.K + 1).fit(centres).kneighbors(centres)
        gaps = np.linalg.norm(points[:, None] - centres[None], axis=2)
        return (gaps <= distances[:, -1]).any(axis=1)

    monkeypatch.setattr(precision_recall, "BLOCK", 7)
    totals, sizes = precision_recall.shares(generated, reference)
    assert totals.tolist() == covered(y, x).reshape(15, 2).sum(axis=1).tolist()
    assert sizes.tolist() == [2] * 15
    totals, sizes = precision_recall.shares(reference, generated)
    assert totals.sum() == covered(x, y).sum()
    assert 0 < totals.sum() < len(x)


def test_equal_sets_are_inside_and_distant_ones_outside():
    rng = np.random.default_rng(1)
    clips = [rng.normal(size=(3, 4)) for _ in range(10)]
    assert precision_recall.shares(clips, clips)[0].sum() == 30
    assert precision_recall.shares([clip + 100 for clip in clips], clips)[0].sum() == 0
    with pytest.raises(InputError, match="at least 4 windows, and has 3"):
        precision_recall.radii(np.zeros((3, 2)))
    with pytest.raises(InputError, match="4 and of 2"):
        precision_recall.inside(np.zeros((3, 2)), np.zeros((5, 4)), np.ones(5))


def test_the_inception_score_is_its_definition():
    rng = np.random.default_rng(2)
    clips = np.stack([inception.probabilities(3 * rng.normal(size=(2, 5))) for _ in range(12)])
    assert clips.sum(axis=1) == pytest.approx(np.ones(12))
    expected = math.exp(np.mean([stats.entropy(clip, clips.mean(axis=0)) for clip in clips]))
    assert inception.score(clips) == pytest.approx(expected)
    (counts,) = statistics.counts(12, 6, np.random.default_rng(3))
    plain = [inception.score(np.repeat(clips, row.astype(int), axis=0)) for row in counts]
    assert inception.resampled(clips, counts) == pytest.approx(np.array(plain))


def test_the_inception_score_of_clear_cases():
    assert inception.score(np.eye(7)) == pytest.approx(7)  # every clip of a class of its own
    assert inception.score(np.tile(np.eye(7)[:1], (5, 1))) == pytest.approx(1)  # all of one class
    assert inception.score(np.full((5, 7), 1 / 7)) == pytest.approx(1)  # none of a clear class
    with pytest.raises(InputError, match=r"not \[3\]"):
        inception.probabilities(np.zeros(3))
