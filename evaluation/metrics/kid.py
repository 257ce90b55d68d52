"""Kernel inception distance, with audio embeddings instead of Inception's (Bińkowski et al. 2018).

    KID = MMD²,   k(a, b) = (a · b / d + 1)³

Conventions: `mmd`. The value is computed on all windows, to which the mean over subsets converges with more subsets. The mean
and standard deviation over subsets, which torchmetrics and torch-fidelity report, are in the details: of SUBSETS subsets of
SUBSET_WINDOWS windows of each set, drawn without replacement, if both sets have more windows than that.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from . import fad, mmd
from .base import Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]

VERSION = "1"
DEGREE, OFFSET = 3, 1.0
SUBSETS, SUBSET_WINDOWS = 100, 1000


def kernel(a: Array, b: Array) -> Array:
    """k of every two windows: [m, d] and [n, d] → [m, n]."""
    return np.asarray((a @ b.T / a.shape[1] + OFFSET) ** DEGREE)


def subsets(
    reference: npt.ArrayLike,
    generated: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
) -> Array:
    """KID of random subsets.

    Args:
        reference: embeddings [m, d], m at least `size`.
        generated: embeddings [n, d], n at least `size`.
        rng: draws the subsets.
        count: of subsets.
        size: windows of each side in a subset.

    Returns:
        [count].
    """
    x, y = fad.validate(reference), fad.validate(generated)
    values = []
    for _ in range(count):
        side = mmd.reference(x[rng.choice(len(x), size, replace=False)], kernel)
        values.append(mmd.distance(side, mmd.sums(side, [y[rng.choice(len(y), size, replace=False)]])))
    return np.array(values)


def _compute(embedder: str, inputs: MetricInputs) -> SetResult:
    def reference() -> mmd.Reference:
        windows = np.concatenate([inputs.embedding(embedder, pair.set_reference) for pair in inputs.pairs])
        return mmd.reference(windows, kernel)

    reference_side = inputs.shared(("kid", embedder), reference)
    clips = [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs]
    generated, windows = mmd.sums(reference_side, clips), np.concatenate(clips)
    details = {"windows": float(len(windows))}
    if min(len(windows), len(reference_side.windows)) > SUBSET_WINDOWS:
        values = subsets(reference_side.windows, windows, inputs.rng(), count=SUBSETS, size=SUBSET_WINDOWS)
        details["subset_mean"], details["subset_std"] = float(values.mean()), float(values.std())
    return SetResult(
        mmd.distance(reference_side, generated), partial(mmd.resampled, reference_side, generated), details
    )


def metric(name: str, title: str, embedder: str) -> Metric:
    """An entry of the metric registry: KID in the space of an embedder, by name, title in tables and the embedder's name."""
    return Metric(name, title, "set", (embedder,), "lower", VERSION, partial(_compute, embedder))


METRICS = (
    metric("kid_vggish_torch", "KID (VGGish, torch)", "vggish_torch"),
    metric("kid_panns", "KID (PANNs)", "panns"),
    metric("kid_mini", "KID (mini)", "mini"),
)
