"""Fréchet audio distance between two sets of clips in an embedding space (Kilgour et al. 2019).

    FAD = |μ_r − μ_g|² + tr(S_r) + tr(S_g) − 2 tr((S_r S_g)^½)

Conventions: embeddings [windows, d] of each clip; mean and covariance (n − 1) over all windows of a set, float64.
tr((S_r S_g)^½) is the sum of the square roots of the eigenvalues of R S_g R with R = S_r^½: symmetric, real, and R is
computed once for all systems and resamples. Which embedding was used belongs in the metric's name: `fad_vggish_tf` and
`fad_vggish_torch` differ in windows and scaling, and must not be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import linalg

from musicgen.errors import InputError

from .base import ClipResult, Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

VERSION = "1"
MAX_PART = 1 << 20
"""Numbers of the clips' own second moments in memory at once."""
MAX_BLOCK = 1 << 28
"""Bytes of resampled second moments in memory at once."""
STACK = 64
"""Matrices per call of the eigenvalue solver."""
LEAVE_ONE_OUT_CLIPS = 500
"""Clips up to which a clip's contribution is computed by leaving it out; beyond, to first order."""
EXTRAPOLATED_WINDOWS = 1000
"""Windows from which FAD∞ is computed, too."""


@dataclass(frozen=True)
class Gaussian:
    """Sufficient statistics of a set. Those of parts can be merged (`merge`).

    Attributes:
        n: windows.
        mean: [d].
        scatter: [d, d], sum of outer products around the mean.
    """

    n: int
    mean: Array
    scatter: Array

    @property
    def covariance(self) -> Array:
        """[d, d], normalised by n − 1. Raises InputError for fewer than 2 windows."""
        if self.n < 2:
            raise InputError(f"a covariance needs at least 2 windows, and has {self.n}")
        return self.scatter / (self.n - 1)


@dataclass(frozen=True)
class Reference:
    """Statistics of a reference set, and what every distance to it needs.

    Attributes:
        gaussian: its statistics.
        root: square root of its covariance [d, d].
        trace: of its covariance.
    """

    gaussian: Gaussian
    root: Array
    trace: float


def validate(embeddings: npt.ArrayLike) -> Array:
    """Embeddings [windows, d] as float64. Raises InputError for other shapes and NaN."""
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
    """Statistics of the union (Chan, Golub and LeVeque 1983). Raises InputError for none, or of unequal dimensions."""
    whole: Gaussian | None = None
    for part in parts:
        if whole is None:
            whole = part
            continue
        if part.mean.shape != whole.mean.shape:
            raise InputError(f"embeddings of {len(whole.mean)} and of {len(part.mean)} dimensions are not one set")
        n = whole.n + part.n
        difference = part.mean - whole.mean
        scatter = whole.scatter + part.scatter + np.outer(difference, difference) * (whole.n * part.n / n)
        whole = Gaussian(n, whole.mean + difference * (part.n / n), scatter)
    if whole is None:
        raise InputError("a set without clips has no statistics")
    return whole


def reference(statistics: Gaussian) -> Reference:
    """The reference side of the distance."""
    values, vectors = linalg.eigh(statistics.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return Reference(statistics, root, float(np.trace(statistics.covariance)))


def distance(reference: Reference, generated: Gaussian) -> float:
    """FAD between a reference and a set, at least 0.

    With fewer windows than dimensions most eigenvalues are 0 up to rounding, about 1e-16 of the largest; the sum of their
    square roots is about 1e-6, by which the distance of equal sets would be below 0. It is 0 then.

    Raises:
        InputError: the embeddings have unequal dimensions.
    """
    if reference.gaussian.mean.shape != generated.mean.shape:
        raise InputError(
            f"embeddings of {len(reference.gaussian.mean)} and of {len(generated.mean)} dimensions cannot be compared"
        )
    return max(0.0, _distance(reference, generated.mean, generated.covariance))


def per_clip(reference: Reference, clips: Sequence[npt.ArrayLike]) -> Array:
    """The contribution of each clip [n]: FAD of the whole set minus FAD without the clip.

    Args:
        reference: the reference side.
        clips: embeddings [windows, d] of each clip.

    Returns:
        [n], the largest for the worst clip; 0 where the other clips are too few for a covariance.
    """
    n = len(clips)
    whole, *without = resampled(reference, clips, np.concatenate([np.ones((1, n)), 1 - np.eye(n)]))
    return np.nan_to_num(whole - np.array(without), nan=0.0, posinf=0.0, neginf=0.0)


def influence(reference: Reference, clips: Sequence[npt.ArrayLike], generated: Gaussian) -> Array:
    """`per_clip` to first order, for large sets: the derivative of FAD with respect to a clip's weight (its influence
    function), through mean and covariance.

    Args:
        reference: the reference side.
        clips: embeddings [windows, d] of each clip.
        generated: statistics of all clips.

    Returns:
        [n].
    """
    values, vectors = linalg.eigh(reference.root @ generated.covariance @ reference.root)
    floor = 1e-10 * max(float(values[-1]), 1e-300)
    inverse = np.where(values > floor, 1 / np.sqrt(np.maximum(values, floor)), 0.0)
    half = reference.root @ vectors
    gradient = np.eye(len(values)) - (half * inverse) @ half.T  # d FAD / d covariance
    difference = 2 * (generated.mean - reference.gaussian.mean)
    mean_effect = float(np.sum(gradient * generated.covariance))
    contributions = np.empty(len(clips))
    for index, clip in enumerate(clips):
        centred = validate(clip) - generated.mean
        scatter_effect = float(np.sum((centred @ gradient) * centred)) - len(centred) * mean_effect
        contributions[index] = (float(centred.sum(axis=0) @ difference) + scatter_effect) / generated.n
    return contributions


def resampled(reference: Reference, clips: Sequence[npt.ArrayLike], counts: npt.ArrayLike) -> Array:
    """FAD of samples of the clips against the fixed reference.

    A sample is a weighted sum of the clips' first and second moments, so all samples of a block are one matrix product.

    Args:
        reference: the reference side.
        clips: embeddings [windows, d] of each clip.
        counts: how often each clip is in a sample [R, n].

    Returns:
        FAD of each sample [R]; not finite where a sample has fewer than 2 windows.

    Raises:
        InputError: `counts` does not fit the clips.
    """
    drawn = np.asarray(counts, dtype=np.float64)
    if drawn.ndim != 2 or drawn.shape[1] != len(clips):
        raise InputError(f"counts must be [R, {len(clips)}], not {list(drawn.shape)}")
    root = _within_span(reference, clips)
    step = max(1, MAX_BLOCK // (4 * root.shape[1] * (root.shape[1] + 1)))
    blocks = [drawn[start : start + step] for start in range(0, len(drawn), step)]
    return np.concatenate([_replicates(reference, root, clips, block) for block in blocks])


def extrapolated(
    reference: Reference,
    embeddings: npt.ArrayLike,
    rng: np.random.Generator,
    steps: int = 25,
    smallest: int = 500,
) -> tuple[float, float]:
    """FAD∞: FAD extrapolated to infinitely many windows (Chong and Forsyth 2020; Gui et al. 2024, whose sizes and draws these
    are). FAD of sets of n windows, drawn with replacement, is fitted by a line in 1/n, whose value at 0 is FAD∞.

    Args:
        reference: the reference side.
        embeddings: of all windows of the generations [n, d].
        rng: draws the windows.
        steps: number of sizes.
        smallest: the smallest size; the largest is n.

    Returns:
        (FAD∞, R² of the line).

    Raises:
        InputError: there are too few windows.
    """
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
    difference = reference.gaussian.mean - mean
    product = reference.root @ covariance @ reference.root
    values = linalg.eigvalsh((product + product.T) / 2, check_finite=False)
    cross = np.sqrt(np.clip(values, 0, None)).sum()
    return float(difference @ difference + reference.trace + np.trace(covariance) - 2 * cross)


def _within_span(reference: Reference, clips: Sequence[npt.ArrayLike]) -> Array:
    """R [d, d]; of fewer windows than dimensions [d, windows], in coordinates of the space that the windows span: a covariance
    of theirs has no other eigenvalues but zeros."""
    d, windows = len(reference.gaussian.mean), sum(len(np.asarray(clip)) for clip in clips)
    if windows >= d:
        return reference.root
    projected = (np.concatenate([validate(clip) for clip in clips]) - reference.gaussian.mean) @ reference.root
    basis, _ = linalg.qr(projected.T, mode="economic")
    return np.asarray(reference.root @ basis)


def _replicates(reference: Reference, root: Array, clips: Sequence[npt.ArrayLike], counts: Array) -> Array:
    """Moments are those of x R, so that a resample's matrix is the sum of its clips', without a product of its own."""
    d, k = root.shape
    rows, columns = np.triu_indices(k)
    origin = reference.gaussian.mean  # moments around a point nearby keep their digits
    sizes, squares = np.zeros(len(counts)), np.zeros(len(counts))
    sums, products = np.zeros((len(counts), d + k)), np.zeros((len(counts), len(rows)))
    step = max(1, MAX_PART // len(rows))
    for start in range(0, len(clips), step):
        part = [validate(clip) - origin for clip in clips[start : start + step]]
        projected = [clip @ root for clip in part]
        weights = counts[:, start : start + step]
        sizes += weights @ np.array([len(clip) for clip in part], dtype=np.float64)
        squares += weights @ np.array([np.sum(clip**2) for clip in part])
        both = [np.concatenate([a.sum(axis=0), b.sum(axis=0)]) for a, b in zip(part, projected, strict=True)]
        sums += weights @ np.stack(both)
        products += weights @ np.stack([(clip.T @ clip)[rows, columns] for clip in projected])
    with np.errstate(divide="ignore", invalid="ignore"):
        means, projected_means = np.split(sums / sizes[:, None], [d], axis=1)
        traces = (squares - sizes * np.sum(means**2, axis=1)) / (sizes - 1)
    usable = sizes > 1
    crosses = np.empty(len(counts))
    matrices = np.zeros((min(len(counts), STACK), k, k))
    for start in range(0, len(counts), STACK):
        own = slice(start, start + STACK)
        mean, n = projected_means[own], sizes[own, None]
        block = (products[own] - n * mean[:, rows] * mean[:, columns]) / np.maximum(n - 1, 1)
        block[~usable[own]] = 0.0
        matrices[: len(block), columns, rows] = block  # eigvalsh reads the lower triangle
        values = np.linalg.eigvalsh(matrices[: len(block)])
        crosses[own] = np.sqrt(np.clip(values, 0, None)).sum(axis=1)
    return np.asarray(np.sum(means**2, axis=1) + reference.trace + traces - 2 * crosses)


def _compute(embedder: str, inputs: MetricInputs) -> SetResult:
    reference_side = inputs.shared(("fad", embedder), lambda: reference(_references(embedder, inputs)))
    clips = [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs]
    generated = merge(gaussian(clip) for clip in clips)
    if len(clips) <= LEAVE_ONE_OUT_CLIPS:
        contributions = per_clip(reference_side, clips)
    else:
        contributions = influence(reference_side, clips, generated)
    details = {"windows": float(generated.n), "reference_windows": float(reference_side.gaussian.n)}
    if generated.n >= EXTRAPOLATED_WINDOWS:
        details["infinity"], details["infinity_r2"] = extrapolated(reference_side, np.concatenate(clips), inputs.rng())
    per_id = dict(zip((pair.id for pair in inputs.pairs), map(float, contributions), strict=True))
    return SetResult(distance(reference_side, generated), partial(resampled, reference_side, clips), details, per_id)


def _compute_songs(embedder: str, inputs: MetricInputs) -> ClipResult:
    reference_side = inputs.shared(("fad", embedder), lambda: reference(_references(embedder, inputs)))
    songs, excluded = {}, {}
    for pair in inputs.pairs:
        windows = inputs.embedding(embedder, pair.generated)
        if len(windows) < 2:
            excluded[pair.id] = "one window: a song's own FAD takes 2"
            continue
        songs[pair.id] = distance(reference_side, gaussian(windows))
    if not songs:
        raise InputError("every clip has one window, and a song's own FAD takes 2: use longer clips")
    return replace(ClipResult.mean(songs), excluded=excluded)


def _references(embedder: str, inputs: MetricInputs) -> Gaussian:
    if embedder in inputs.statistics:
        return inputs.statistics[embedder]
    return merge(gaussian(inputs.embedding(embedder, pair.set_reference)) for pair in inputs.pairs)


def metric(name: str, title: str, embedder: str, *, songs: bool = False) -> Metric:
    """An entry of the metric registry: FAD in the space of an embedder.

    Args:
        name: of the metric.
        title: in tables.
        embedder: its name.
        songs: whether it is the mean over clips of each one's own FAD.
    """
    return Metric(
        name,
        title,
        "set",
        (embedder,),
        "lower",
        VERSION,
        partial(_compute_songs if songs else _compute, embedder),
        minimum=0.0,
        names_outliers=songs,
        takes_statistics=True,
    )


METRICS = (
    metric("fad_vggish_tf", "FAD (VGGish, the paper's)", "vggish_tf"),
    metric("fad_vggish_torch", "FAD (VGGish, torch)", "vggish_torch"),
    metric("fad_clap_music", "FAD (CLAP music)", "clap_windowed"),
    metric("fad_encodec", "FAD (EnCodec)", "encodec"),
    metric("fad_mert", "FAD (MERT)", "mert_95m"),
    metric("fad_panns", "FAD (PANNs)", "panns"),
    metric("fad_mini", "FAD (mini)", "mini"),
    metric("fad_song_vggish_tf", "FAD of songs (VGGish)", "vggish_tf", songs=True),
    metric("fad_song_vggish_torch", "FAD of songs (VGGish, torch)", "vggish_torch", songs=True),
    metric("fad_song_clap_music", "FAD of songs (CLAP music)", "clap_windowed", songs=True),
    metric("fad_song_encodec", "FAD of songs (EnCodec)", "encodec", songs=True),
    metric("fad_song_mert", "FAD of songs (MERT)", "mert_95m", songs=True),
    metric("fad_song_mini", "FAD of songs (mini)", "mini", songs=True),
)
