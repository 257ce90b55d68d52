"""Kernel audio distance: an unbiased distance between sets that needs no Gaussians (Chung et al. 2025).

    KAD = 100 · (mean k(x, x') + mean k(y, y') − 2 mean k(x, y)),   k(a, b) = exp(−|a − b|² / 2σ²)

Conventions: x reference, y generated, pairs of different windows; σ is the median distance between windows of the
REFERENCE, so that systems share it. Where the reference has more than MEDIAN_WINDOWS windows, the median is that of as
many, evenly spaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance as pairs

from musicgen.errors import InputError

from . import fad, resampling

Array = npt.NDArray[np.float64]

VERSION = "1"
SCALE = 100.0
MEDIAN_WINDOWS = 4000
BLOCK = 2048


@dataclass(frozen=True)
class Reference:
    """windows [m, d]; bandwidth σ; own: the mean kernel of two different windows."""

    windows: Array
    bandwidth: float
    own: float


@dataclass(frozen=True)
class Sums:
    """Kernel sums of generated clips: own [n, n] between clips (each window with itself included), cross [n] with the
    reference, sizes [n] windows. All resamples and subsets follow from them."""

    own: Array
    cross: Array
    sizes: Array


def reference(windows: npt.ArrayLike) -> Reference:
    """The reference side, from embeddings [m, d]."""
    array = fad.validate(windows)
    if len(array) < 2:
        raise InputError(f"KAD needs at least 2 windows, and has {len(array)}")
    step = -(-len(array) // MEDIAN_WINDOWS)
    bandwidth = float(np.median(pairs.pdist(array[::step])))
    if bandwidth == 0:
        raise InputError("half of the reference's windows are the same: KAD has no bandwidth")
    total = sum(_kernel(array[start : start + BLOCK], array, bandwidth).sum() for start in range(0, len(array), BLOCK))
    m = len(array)
    return Reference(array, bandwidth, float((total - m) / (m * (m - 1))))


def sums(reference: Reference, clips: Sequence[npt.ArrayLike]) -> Sums:
    """Kernel sums of clips' embeddings [windows, d]."""
    arrays = [fad.validate(clip) for clip in clips]
    if not arrays:
        raise InputError("KAD needs at least one clip")
    everything = np.concatenate(arrays)
    sizes = np.array([len(array) for array in arrays], dtype=np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    own, cross = np.empty((len(arrays), len(arrays))), np.empty(len(arrays))
    for index, array in enumerate(arrays):
        own[index] = np.add.reduceat(_kernel(array, everything, reference.bandwidth).sum(axis=0), starts)
        cross[index] = _kernel(array, reference.windows, reference.bandwidth).sum()
    return Sums(own, cross, sizes)


def distance(reference: Reference, sums: Sums, drawn: npt.ArrayLike | None = None) -> float:
    """KAD; `drawn` [n]: how often each clip counts (once)."""
    weights = np.ones(len(sums.sizes)) if drawn is None else np.asarray(drawn, dtype=np.float64)
    n = float(weights @ sums.sizes)
    if n < 2:
        raise InputError(f"KAD needs at least 2 windows, and has {n:.0f}")
    own = (weights @ sums.own @ weights - n) / (n * (n - 1))
    cross = float(weights @ sums.cross) / (n * len(reference.windows))
    return float(SCALE * (reference.own + own - 2 * cross))


def bootstrap(
    reference: Reference, sums: Sums, rng: np.random.Generator, resamples: int = resampling.RESAMPLES
) -> Array:
    """KAD of resampled clips [R]. A clip that is drawn twice is close to itself: shift the interval by the excess."""
    blocks = resampling.counts(len(sums.sizes), resamples, rng)
    return np.array([distance(reference, sums, row) for drawn in blocks for row in drawn])


def _kernel(a: Array, b: Array, bandwidth: float) -> Array:
    return np.asarray(np.exp(pairs.cdist(a, b, "sqeuclidean") / (-2 * bandwidth**2)))
