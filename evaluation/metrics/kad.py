"""Kernel audio distance, an unbiased distance between sets without a Gaussian assumption (Chung et al. 2025).

    KAD = 100 · (mean k(x, x') + mean k(y, y') − 2 mean k(x, y)),   k(a, b) = exp(−|a − b|² / 2σ²)

Conventions: x reference, y generated, pairs of different windows; σ is the median distance between windows of the
REFERENCE, so that systems share it. If the reference has more than MEDIAN_WINDOWS windows, the median is over as
many, evenly spaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance as pairs

from musicgen.errors import InputError

from . import fad
from .base import Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]

VERSION = "1"
SCALE = 100.0
MEDIAN_WINDOWS = 4000
BLOCK = 2048


@dataclass(frozen=True)
class Reference:
    """The reference side.

    Attributes:
        windows: embeddings [m, d].
        bandwidth: σ of the kernel.
        own: mean kernel of two different windows.
    """

    windows: Array
    bandwidth: float
    own: float


@dataclass(frozen=True)
class Sums:
    """Kernel sums of n generated clips, from which KAD of every resample and subset follows.

    Attributes:
        own: [n, n] between clips, each window with itself included.
        cross: [n] with the reference.
        sizes: [n] windows.
    """

    own: Array
    cross: Array
    sizes: Array


def reference(windows: npt.ArrayLike) -> Reference:
    """The reference side, from embeddings [m, d]. Raises InputError if there are too few, or half of them are equal."""
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
    """Kernel sums of clips, from the embeddings [windows, d] of each. Raises InputError for no clips."""
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


def distance(reference: Reference, sums: Sums) -> float:
    """KAD of all clips. Raises InputError for fewer than 2 windows."""
    n = float(sums.sizes.sum())
    if n < 2:
        raise InputError(f"KAD needs at least 2 windows, and has {n:.0f}")
    return float(resampled(reference, sums, np.ones((1, len(sums.sizes))))[0])


def resampled(reference: Reference, sums: Sums, counts: npt.ArrayLike) -> Array:
    """KAD of samples of the clips against the fixed reference.

    Args:
        reference: the reference side.
        sums: of the n generated clips.
        counts: how often each clip is in a sample [R, n].

    Returns:
        [R]; not finite where a sample has fewer than 2 windows.
    """
    weights = np.asarray(counts, dtype=np.float64)
    n = weights @ sums.sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        own = (np.sum((weights @ sums.own) * weights, axis=1) - n) / (n * (n - 1))
        cross = (weights @ sums.cross) / (n * len(reference.windows))
    return np.asarray(SCALE * (reference.own + own - 2 * cross))


def _kernel(a: Array, b: Array, bandwidth: float) -> Array:
    return np.asarray(np.exp(pairs.cdist(a, b, "sqeuclidean") / (-2 * bandwidth**2)))


def _compute(embedder: str, inputs: MetricInputs) -> SetResult:
    reference_side = inputs.shared(
        ("kad", embedder),
        lambda: reference(np.concatenate([inputs.embedding(embedder, pair.set_reference) for pair in inputs.pairs])),
    )
    generated = sums(reference_side, [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs])
    details = {"bandwidth": reference_side.bandwidth, "windows": float(generated.sizes.sum())}
    return SetResult(distance(reference_side, generated), partial(resampled, reference_side, generated), details)


def _metric(name: str, title: str, embedder: str) -> Metric:
    return Metric(name, title, "set", (embedder,), "lower", VERSION, partial(_compute, embedder))


METRICS = (
    _metric("kad_vggish_torch", "KAD (VGGish, torch)", "vggish_torch"),
    _metric("kad_clap_music", "KAD (CLAP music)", "clap_windowed"),
    _metric("kad_mini", "KAD (mini)", "mini"),
)
