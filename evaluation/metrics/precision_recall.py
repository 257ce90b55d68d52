"""Precision and recall of a set of generations (Kynkäänniemi et al. 2019): whether the generations are similar to the
references, and whether they cover them.

Conventions: embeddings [windows, d] of each clip. A set's manifold is the union of balls around its windows, each as large as
the distance to the window's K-th nearest neighbour in the set. Precision: share of generated windows inside the references'
manifold; recall: share of reference windows inside the generations'. Intervals are over the clips whose windows are counted,
the other set fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance as pairs

from musicgen.errors import InputError

from . import fad
from .base import ClipResult, Metric, MetricInputs

Array = npt.NDArray[np.float64]

VERSION = "1"
K = 3
"""Neighbours, as in the paper."""
BLOCK = 1024
"""Windows whose distances are in memory at once."""


def radii(windows: npt.ArrayLike, k: int = K) -> Array:
    """Of the balls of a set: the distance of each window [n, d] to its k-th nearest other window [n].

    Raises:
        InputError: there are too few windows.
    """
    array = fad.validate(windows)
    if len(array) <= k:
        raise InputError(f"a manifold of {k} neighbours needs at least {k + 1} windows, and has {len(array)}")
    blocks = range(0, len(array), BLOCK)
    # The nearest of all is the window itself.
    return np.concatenate([
        np.partition(pairs.cdist(array[start : start + BLOCK], array), k, axis=1)[:, k] for start in blocks
    ])  # fmt: skip


def inside(windows: npt.ArrayLike, manifold: npt.ArrayLike, radius: Array) -> npt.NDArray[np.bool_]:
    """Which windows [m, d] lie in a manifold: windows [n, d] with the radii [n] of balls. Raises InputError for unequal d."""
    array, centres = fad.validate(windows), fad.validate(manifold)
    if array.shape[1] != centres.shape[1]:
        raise InputError(f"embeddings of {centres.shape[1]} and of {array.shape[1]} dimensions cannot be compared")
    blocks = range(0, len(array), BLOCK)
    return np.concatenate([
        (pairs.cdist(array[start : start + BLOCK], centres) <= radius).any(axis=1) for start in blocks
    ])  # fmt: skip


def shares(clips: Sequence[npt.ArrayLike], manifold: Sequence[npt.ArrayLike]) -> tuple[Array, Array]:
    """(windows inside, windows) of each clip: clips [windows, d] against the manifold of others."""
    centres = np.concatenate([fad.validate(clip) for clip in manifold])
    sizes = np.array([len(fad.validate(clip)) for clip in clips])
    hits = inside(np.concatenate([fad.validate(clip) for clip in clips]), centres, radii(centres))
    return np.add.reduceat(hits.astype(np.float64), np.cumsum(sizes) - sizes), sizes.astype(np.float64)


def _compute(embedder: str, side: str, inputs: MetricInputs) -> ClipResult:
    sides = {
        "reference": [inputs.embedding(embedder, pair.set_reference) for pair in inputs.pairs],
        "generated": [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs],
    }
    own = sides.pop(side)
    (others,) = sides.values()
    totals, sizes = shares(own, others)
    clips = dict(zip((pair.id for pair in inputs.pairs), map(float, totals / sizes), strict=True))
    return ClipResult(float(totals.sum() / sizes.sum()), clips, list(totals), list(sizes), {"neighbours": float(K)})


def _metrics(name: str, title: str, embedder: str) -> tuple[Metric, Metric]:
    precision, recall = (
        Metric(f"{what}_{name}", f"{what.capitalize()} ({title})", "set", (embedder,), "higher", VERSION,
               partial(_compute, embedder, side), minimum=0.0, maximum=1.0)
        for what, side in (("precision", "generated"), ("recall", "reference"))
    )  # fmt: skip
    return precision, recall


METRICS = (
    *_metrics("clap_music", "CLAP music", "clap_windowed"),
    *_metrics("vggish_torch", "VGGish, torch", "vggish_torch"),
    *_metrics("mini", "mini", "mini"),
)
