"""Fréchet audio distance: how far two sets of clips lie apart in an embedding's space (Kilgour et al. 2019).

    FAD = |μ_r − μ_g|² + tr(S_r) + tr(S_g) − 2 tr((S_r S_g)^½)

Conventions: embeddings [windows, d] of each clip; mean and covariance (n − 1) over all windows of a set, float64.
tr((S_r S_g)^½) is the sum of the square roots of the eigenvalues of R S_g R with R = S_r^½: symmetric, real, and R is
computed once for all systems and resamples. Which embedding was used belongs in the metric's name: `fad_vggish_tf` and
`fad_vggish_torch` differ in windows and scaling, and must not be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from musicgen.errors import InputError

from . import resampling

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

VERSION = "1"
MAX_PART = 1 << 20
"""Numbers of clips' own products that are held at once."""
MAX_BLOCK = 1 << 28
"""Bytes of resampled products that are held at once."""
STACK = 64
"""Matrices whose eigenvalues are computed in one call."""


@dataclass(frozen=True)
class Gaussian:
    """Sufficient statistics of a set: n windows, mean [d], scatter [d, d] (sum of outer products around the mean).
    Statistics of parts add up: `merge`."""

    n: int
    mean: Array
    scatter: Array

    @property
    def covariance(self) -> Array:
        """[d, d], normalised by n − 1."""
        if self.n < 2:
            raise InputError(f"a covariance needs at least 2 windows, and has {self.n}")
        return self.scatter / (self.n - 1)


@dataclass(frozen=True)
class Reference:
    """A reference set with what every distance to it needs. root: the covariance's square root [d, d]."""

    gaussian: Gaussian
    root: Array
    trace: float


def validate(embeddings: npt.ArrayLike) -> Array:
    """Embeddings [windows, d] as float64; refuses other shapes and NaN."""
    array = np.asarray(embeddings, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"embeddings must be [windows, d], not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError("embeddings hold NaN or infinite values")
    return array


def gaussian(embeddings: npt.ArrayLike) -> Gaussian:
    """Statistics of embeddings [windows, d]."""
    array = validate(embeddings)
    mean = array.mean(axis=0)
    centred = array - mean
    return Gaussian(len(array), mean, centred.T @ centred)


def merge(parts: Iterable[Gaussian]) -> Gaussian:
    """Statistics of the union (Chan, Golub and LeVeque 1983)."""
    whole: Gaussian | None = None
    for part in parts:
        if whole is None:
            whole = part
            continue
        if part.mean.shape != whole.mean.shape:
            raise InputError(f"embeddings of {len(whole.mean)} and of {len(part.mean)} dimensions are not one set")
        n = whole.n + part.n
        gap = part.mean - whole.mean
        scatter = whole.scatter + part.scatter + np.outer(gap, gap) * (whole.n * part.n / n)
        whole = Gaussian(n, whole.mean + gap * (part.n / n), scatter)
    if whole is None:
        raise InputError("a set without clips has no statistics")
    return whole


def reference(statistics: Gaussian) -> Reference:
    """The reference side, its root computed once."""
    values, vectors = linalg.eigh(statistics.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return Reference(statistics, root, float(np.trace(statistics.covariance)))


def distance(reference: Reference, generated: Gaussian) -> float:
    """FAD between a reference and a set."""
    if reference.gaussian.mean.shape != generated.mean.shape:
        raise InputError(
            f"embeddings of {len(reference.gaussian.mean)} and of {len(generated.mean)} dimensions cannot be compared"
        )
    return _distance(reference, generated.mean, generated.covariance)


def per_clip(reference: Reference, clips: Sequence[npt.ArrayLike], generated: Gaussian) -> Array:
    """How much each clip adds: FAD of the whole set minus FAD without the clip [n]; the largest hurt most. 0 where the
    rest is too small for a covariance."""
    whole = distance(reference, generated)
    adds = np.zeros(len(clips))
    for index, clip in enumerate(clips):
        part = gaussian(clip)
        n = generated.n - part.n
        if n < 2:
            continue
        mean = (generated.n * generated.mean - part.n * part.mean) / n
        gap = part.mean - mean
        scatter = generated.scatter - part.scatter - np.outer(gap, gap) * (n * part.n / generated.n)
        adds[index] = whole - _distance(reference, mean, scatter / (n - 1))
    return adds


def influence(reference: Reference, clips: Sequence[npt.ArrayLike], generated: Gaussian) -> Array:
    """`per_clip` to first order [n], for sets too large to leave every clip out: the derivative of FAD along what a clip
    changes in mean and covariance."""
    values, vectors = linalg.eigh(reference.root @ generated.covariance @ reference.root)
    floor = 1e-10 * max(float(values[-1]), 1e-300)
    inverse = np.where(values > floor, 1 / np.sqrt(np.maximum(values, floor)), 0.0)
    half = reference.root @ vectors
    slope = np.eye(len(values)) - (half * inverse) @ half.T  # d FAD / d covariance
    gap = 2 * (generated.mean - reference.gaussian.mean)
    pull = float(np.sum(slope * generated.covariance))
    adds = np.empty(len(clips))
    for index, clip in enumerate(clips):
        centred = validate(clip) - generated.mean
        spread = float(np.sum((centred @ slope) * centred)) - len(centred) * pull
        adds[index] = (float(centred.sum(axis=0) @ gap) + spread) / generated.n
    return adds


def bootstrap(
    reference: Reference,
    clips: Sequence[npt.ArrayLike],
    rng: np.random.Generator,
    resamples: int = resampling.RESAMPLES,
) -> Array:
    """FAD of resampled clips against the fixed reference [R]. clips: embeddings [windows, d] of each.

    A resample is a weighted sum of the clips' first and second moments, so all resamples of a block are one matrix
    product.
    """
    if len(clips) < 2:
        raise InputError(f"a bootstrap needs at least 2 clips, and has {len(clips)}")
    d = len(reference.gaussian.mean)
    rows, columns = np.triu_indices(d)
    blocks = resampling.counts(len(clips), resamples, rng, most=max(1, MAX_BLOCK // (8 * len(rows))))
    return np.concatenate([_replicates(reference, clips, drawn, rows, columns) for drawn in blocks])


def extrapolated(
    reference: Reference,
    embeddings: npt.ArrayLike,
    rng: np.random.Generator,
    steps: int = 25,
    smallest: int = 500,
) -> tuple[float, float]:
    """FAD∞ and the R² of its line: FAD of `steps` sets of n windows, n from `smallest` to all, drawn with replacement,
    as a line in 1/n, at 1/n = 0 (Chong and Forsyth 2020; Gui et al. 2024, whose sizes and draws these are)."""
    array = validate(embeddings)
    if len(array) < 2 * smallest:
        raise InputError(f"FAD∞ needs at least {2 * smallest} windows, and has {len(array)}: use more clips")
    sizes = np.linspace(smallest, len(array), steps).astype(int)
    values = np.array([distance(reference, gaussian(array[rng.integers(0, len(array), n)])) for n in sizes])
    slope, intercept = np.polyfit(1 / sizes, values, 1)
    residual = values - (slope / sizes + intercept)
    spread = float(np.sum((values - values.mean()) ** 2))
    return float(intercept), 1 - float(np.sum(residual**2)) / spread if spread > 0 else 1.0


def _distance(reference: Reference, mean: Array, covariance: Array) -> float:
    gap = reference.gaussian.mean - mean
    product = reference.root @ covariance @ reference.root
    values = linalg.eigvalsh((product + product.T) / 2, check_finite=False)
    cross = np.sqrt(np.clip(values, 0, None)).sum()
    return float(gap @ gap + reference.trace + np.trace(covariance) - 2 * cross)


def _replicates(
    reference: Reference,
    clips: Sequence[npt.ArrayLike],
    drawn: Array,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> Array:
    """Moments are those of x R, so that a resample's matrix is the sum of its clips', without a product of its own."""
    d = len(reference.gaussian.mean)
    origin = reference.gaussian.mean  # moments around a point nearby keep their digits
    sizes, squares = np.zeros(len(drawn)), np.zeros(len(drawn))
    sums, products = np.zeros((len(drawn), 2 * d)), np.zeros((len(drawn), len(rows)))
    step = max(1, MAX_PART // len(rows))
    for start in range(0, len(clips), step):
        part = [validate(clip) - origin for clip in clips[start : start + step]]
        turned = [clip @ reference.root for clip in part]
        weights = drawn[:, start : start + step]
        sizes += weights @ np.array([len(clip) for clip in part], dtype=np.float64)
        squares += weights @ np.array([np.sum(clip**2) for clip in part])
        both = [np.concatenate([a.sum(axis=0), b.sum(axis=0)]) for a, b in zip(part, turned, strict=True)]
        sums += weights @ np.stack(both)
        products += weights @ np.stack([(clip.T @ clip)[rows, columns] for clip in turned])
    means, turned_means = np.split(sums / sizes[:, None], 2, axis=1)
    traces = (squares - sizes * np.sum(means**2, axis=1)) / (sizes - 1)
    crosses = np.empty(len(drawn))
    matrices = np.zeros((min(len(drawn), STACK), d, d))
    for start in range(0, len(drawn), STACK):
        own = slice(start, start + STACK)
        mean, n = turned_means[own], sizes[own, None]
        block = (products[own] - n * mean[:, rows] * mean[:, columns]) / (n - 1)
        matrices[: len(block), columns, rows] = block  # eigvalsh reads the lower triangle
        values = np.linalg.eigvalsh(matrices[: len(block)])
        crosses[own] = np.sqrt(np.clip(values, 0, None)).sum(axis=1)
    return np.asarray(np.sum(means**2, axis=1) + reference.trace + traces - 2 * crosses)
