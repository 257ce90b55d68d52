"""MAUVE audio divergence: how far two sets of clips lie apart in a space that is cut into cells (Huang et al. 2025).

    MAD = −ln MAUVE;   MAUVE: the area under the points (e^(−5 KL(q‖r)), e^(−5 KL(p‖r))),   r = w p + (1 − w) q, 0 < w < 1

Conventions: p generated, q reference: the shares of clips in each cell, one vector a clip. Cells as MAUVE's authors make
them (Pillutla et al. 2021): both sets together, vectors of length 1, the principal components that hold 90 % of the
variance, k-means (faiss; 5 starts, 500 rounds, seed 27) with a tenth as many cells as the smaller set has clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import integrate, special

from musicgen import extras
from musicgen.errors import InputError

from . import fad, resampling

Array = npt.NDArray[np.float64]

VERSION = "1"
VARIANCE = 0.9
CLIPS_A_CELL = 10
STARTS, ROUNDS, SEED = 5, 500, 27
SCALE = 5.0
WEIGHTS = np.linspace(1e-6, 1 - 1e-6, 25)


@dataclass(frozen=True)
class Cells:
    """The cell of every clip: reference [m] and generated [n], of `count` cells. Counts of any subset follow from it."""

    reference: npt.NDArray[np.intp]
    generated: npt.NDArray[np.intp]
    count: int


def vector(windows: npt.ArrayLike) -> Array:
    """One vector [d] a clip: the largest value of each dimension over its windows [windows, d]."""
    return np.asarray(fad.validate(windows).max(axis=0), dtype=np.float64)


def cells(reference: npt.ArrayLike, generated: npt.ArrayLike) -> Cells:
    """Cut the space of both sets' vectors, [m, d] and [n, d]."""
    q, p = fad.validate(reference), fad.validate(generated)
    if q.shape[1] != p.shape[1]:
        raise InputError(f"embeddings of {q.shape[1]} and of {p.shape[1]} dimensions cannot be compared")
    count = max(2, round(min(len(p), len(q)) / CLIPS_A_CELL))
    if min(len(p), len(q)) < count:
        raise InputError(f"MAD needs at least {count} clips on each side, and has {len(q)} and {len(p)}")
    labels = _clustered(_principal(np.concatenate([q, p])), count)
    return Cells(labels[: len(q)], labels[len(q) :], count)


def distance(cells: Cells) -> float:
    """MAD, at least 0."""
    return float(_distance(cells, np.ones((1, len(cells.generated))))[0])


def bootstrap(cells: Cells, rng: np.random.Generator, resamples: int = resampling.RESAMPLES) -> Array:
    """MAD of resampled generations in the same cells, against the fixed reference [R]."""
    blocks = resampling.counts(len(cells.generated), resamples, rng)
    return np.concatenate([_distance(cells, drawn) for drawn in blocks])


def mauve(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """MAUVE in (0, 1] of shares p [R, cells], each against q [cells]."""
    ours, theirs = np.asarray(p, dtype=np.float64)[:, None], np.asarray(q, dtype=np.float64)
    between = WEIGHTS[:, None] * ours + (1 - WEIGHTS[:, None]) * theirs
    x = np.exp(-SCALE * special.rel_entr(theirs, between).sum(axis=-1))
    y = np.exp(-SCALE * special.rel_entr(ours, between).sum(axis=-1))
    # From one axis to the other: (1, 0), the curve, (0, 1).
    x = np.pad(x, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    y = np.pad(y, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    return np.asarray((integrate.trapezoid(x, y, axis=1) - integrate.trapezoid(y, x, axis=1)) / 2)


def _distance(cells: Cells, drawn: Array) -> Array:
    p = drawn @ np.eye(cells.count)[cells.generated]
    q = np.bincount(cells.reference, minlength=cells.count)
    return -np.log(mauve(p / p.sum(axis=1, keepdims=True), q / q.sum()))


def _principal(vectors: Array) -> Array:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    unit = normalize(vectors)
    fitted = PCA(random_state=0).fit(unit)
    kept = int(np.argmax(np.cumsum(fitted.explained_variance_ratio_) >= VARIANCE)) + 1
    return np.asarray(fitted.transform(unit)[:, :kept])


def _clustered(points: Array, count: int) -> npt.NDArray[np.intp]:
    faiss: Any = extras.load("faiss", "evaluation", "MAD")
    rows = np.ascontiguousarray(points, dtype=np.float32)
    means = faiss.Kmeans(
        rows.shape[1], count, niter=ROUNDS, nredo=STARTS, seed=SEED, update_index=True, min_points_per_centroid=1
    )
    means.train(rows)
    _, nearest = means.index.search(rows, 1)
    return np.asarray(nearest[:, 0], dtype=np.intp)
