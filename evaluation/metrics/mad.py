"""MAUVE audio divergence between two sets of clips in a clustered embedding space (Huang et al. 2025).

    MAD = −ln MAUVE;   MAUVE: the area under the points (e^(−5 KL(q‖r)), e^(−5 KL(p‖r))),   r = w p + (1 − w) q, 0 < w < 1

Conventions: p generated, q reference: histograms over clusters, one vector per clip. Clusters as in MAUVE's own code
(Pillutla et al. 2021): both sets together, vectors of unit length, the principal components that explain 90 % of the
variance, k-means (faiss; 5 restarts, 500 iterations, seed 27) with a tenth as many clusters as the smaller set has clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import integrate, special

from musicgen import extras
from musicgen.errors import InputError

from . import fad
from .base import Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]

VERSION = "1"
VARIANCE = 0.9
CLIPS_PER_CLUSTER = 10
RESTARTS, ITERATIONS, SEED = 5, 500, 27
SCALE = 5.0
WEIGHTS = np.linspace(1e-6, 1 - 1e-6, 25)


@dataclass(frozen=True)
class Clusters:
    """The cluster of every clip, from which the histograms of all resamples follow.

    Attributes:
        reference: cluster indices [m].
        generated: cluster indices [n].
        count: number of clusters.
    """

    reference: npt.NDArray[np.intp]
    generated: npt.NDArray[np.intp]
    count: int


def vector(windows: npt.ArrayLike) -> Array:
    """The vector [d] of one clip: max-pooling over its windows [windows, d]."""
    return np.asarray(fad.validate(windows).max(axis=0), dtype=np.float64)


def cluster(reference: npt.ArrayLike, generated: npt.ArrayLike) -> Clusters:
    """Cluster the vectors of both sets together.

    Args:
        reference: one vector per clip [m, d].
        generated: one vector per clip [n, d].

    Raises:
        InputError: the dimensions are unequal, or there are too few clips.
    """
    q, p = fad.validate(reference), fad.validate(generated)
    if q.shape[1] != p.shape[1]:
        raise InputError(f"embeddings of {q.shape[1]} and of {p.shape[1]} dimensions cannot be compared")
    count = max(2, round(min(len(p), len(q)) / CLIPS_PER_CLUSTER))
    if min(len(p), len(q)) < count:
        raise InputError(f"MAD needs at least {count} clips on each side, and has {len(q)} and {len(p)}")
    labels = _k_means(_principal_components(np.concatenate([q, p])), count)
    return Clusters(labels[: len(q)], labels[len(q) :], count)


def distance(clusters: Clusters) -> float:
    """MAD, at least 0."""
    return float(resampled(clusters, np.ones((1, len(clusters.generated))))[0])


def resampled(clusters: Clusters, counts: npt.ArrayLike) -> Array:
    """MAD of samples of the generations in the same clusters, against the fixed reference.

    Args:
        clusters: of all clips.
        counts: how often each generation is in a sample [R, n].

    Returns:
        [R].
    """
    p = np.asarray(counts, dtype=np.float64) @ np.eye(clusters.count)[clusters.generated]
    q = np.bincount(clusters.reference, minlength=clusters.count)
    return -np.log(mauve(p / p.sum(axis=1, keepdims=True), q / q.sum()))


def mauve(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """MAUVE in (0, 1] of R histograms p [R, clusters], each against q [clusters]."""
    generated, reference = np.asarray(p, dtype=np.float64)[:, None], np.asarray(q, dtype=np.float64)
    mixtures = WEIGHTS[:, None] * generated + (1 - WEIGHTS[:, None]) * reference
    x = np.exp(-SCALE * special.rel_entr(reference, mixtures).sum(axis=-1))
    y = np.exp(-SCALE * special.rel_entr(generated, mixtures).sum(axis=-1))
    # From one axis to the other: (1, 0), the curve, (0, 1).
    x = np.pad(x, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    y = np.pad(y, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    return np.asarray((integrate.trapezoid(x, y, axis=1) - integrate.trapezoid(y, x, axis=1)) / 2)


def _principal_components(vectors: Array) -> Array:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    unit = normalize(vectors)
    fitted = PCA(random_state=0).fit(unit)
    kept = int(np.argmax(np.cumsum(fitted.explained_variance_ratio_) >= VARIANCE)) + 1
    return np.asarray(fitted.transform(unit)[:, :kept])


def _k_means(points: Array, count: int) -> npt.NDArray[np.intp]:
    faiss: Any = extras.load("faiss", "evaluation", "MAD")
    rows = np.ascontiguousarray(points, dtype=np.float32)
    means = faiss.Kmeans(
        rows.shape[1], count, niter=ITERATIONS, nredo=RESTARTS, seed=SEED, update_index=True, min_points_per_centroid=1
    )
    means.train(rows)
    _, nearest = means.index.search(rows, 1)
    return np.asarray(nearest[:, 0], dtype=np.intp)


def _compute(embedder: str, inputs: MetricInputs) -> SetResult:
    reference, generated = (
        np.stack([vector(inputs.embedding(embedder, getattr(pair, side))) for pair in inputs.pairs])
        for side in ("set_reference", "generated")
    )
    clusters = cluster(reference, generated)
    return SetResult(distance(clusters), partial(resampled, clusters), {"cells": float(clusters.count)})


def _metric(name: str, title: str, embedder: str) -> Metric:
    return Metric(name, title, "set", (embedder,), "lower", VERSION, partial(_compute, embedder), minimum=0.0)


METRICS = (_metric("mad", "MAD (MERT)", "mert"), _metric("mad_mini", "MAD (mini)", "mini"))
