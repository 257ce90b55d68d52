"""Kernel audio distance, an unbiased distance between sets without a Gaussian assumption (Chung et al. 2025).

    KAD = 100 · MMD²,   k(a, b) = exp(−|a − b|² / 2σ²)

Conventions: `mmd`; σ is the median distance between windows of the REFERENCE, so that systems share it. If the reference has
more than MEDIAN_WINDOWS windows, MEDIAN_WINDOWS evenly spaced ones are used for the median.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance as pairs

from musicgen.errors import InputError

from . import fad, mmd
from .base import Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]

VERSION = "1"
SCALE = 100.0
MEDIAN_WINDOWS = 4000


@dataclass(frozen=True)
class Gaussian:
    """The kernel. bandwidth: σ."""

    bandwidth: float

    def __call__(self, a: Array, b: Array) -> Array:
        return np.asarray(np.exp(pairs.cdist(a, b, "sqeuclidean") / (-2 * self.bandwidth**2)))


def kernel(windows: npt.ArrayLike) -> Gaussian:
    """The kernel for reference windows [m, d]. Raises InputError if there are too few, or half of them are equal."""
    array = fad.validate(windows)
    if len(array) < 2:
        raise InputError(f"KAD needs at least 2 windows, and has {len(array)}")
    step = -(-len(array) // MEDIAN_WINDOWS)
    bandwidth = float(np.median(pairs.pdist(array[::step])))
    if bandwidth == 0:
        raise InputError("half of the reference's windows are the same: KAD has no bandwidth")
    return Gaussian(bandwidth)


def resampled(reference: mmd.Reference, sums: mmd.Sums, counts: npt.ArrayLike) -> Array:
    """KAD of samples of the clips against the fixed reference: see `mmd.resampled`."""
    return SCALE * mmd.resampled(reference, sums, counts)


def _compute(embedder: str, inputs: MetricInputs) -> SetResult:
    def reference() -> tuple[Gaussian, mmd.Reference]:
        windows = np.concatenate([inputs.embedding(embedder, pair.set_reference) for pair in inputs.pairs])
        own = kernel(windows)
        return own, mmd.reference(windows, own)

    gaussian, reference_side = inputs.shared(("kad", embedder), reference)
    generated = mmd.sums(reference_side, [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs])
    details = {"bandwidth": gaussian.bandwidth, "windows": float(generated.sizes.sum())}
    value = SCALE * mmd.distance(reference_side, generated)
    return SetResult(value, partial(resampled, reference_side, generated), details)


def metric(name: str, title: str, embedder: str) -> Metric:
    """An entry of the metric registry: KAD in the space of an embedder, by name, title in tables and the embedder's name."""
    return Metric(name, title, "set", (embedder,), "lower", VERSION, partial(_compute, embedder))


METRICS = (
    metric("kad_vggish_torch", "KAD (VGGish, torch)", "vggish_torch"),
    metric("kad_clap_music", "KAD (CLAP music)", "clap_windowed"),
    metric("kad_panns", "KAD (PANNs)", "panns"),
    metric("kad_mini", "KAD (mini)", "mini"),
)
