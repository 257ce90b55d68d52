"""KL divergence between the class probabilities of an audio tagger on the reference and on the generation (paper section 3.3).

    KL(reference‖generated) = Σ_c p_ref(c) · (log p_ref(c) − log(p_gen(c) + 1e-6)),   p = softmax of the logits

Conventions: logits [segments, classes] of each clip, reference and generation cut at the same times; the score is the mean over
all segments of all clips. The paper and audiocraft use the direction reference‖generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce
from typing import cast

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

from ..embedders.mini import MiniEmbedder
from .base import ClipResult, Metric, MetricInputs

Array = npt.NDArray[np.float64]

VERSION = "1"
EPSILON = 1e-6


@dataclass(frozen=True)
class Divergence:
    """Sums over segments; those of several clips can be added.

    Attributes:
        forward: of KL(reference‖generated), nats.
        reverse: of KL(generated‖reference), nats.
        segments: how many.
    """

    forward: float
    reverse: float
    segments: int

    def __add__(self, other: Divergence) -> Divergence:
        return Divergence(self.forward + other.forward, self.reverse + other.reverse, self.segments + other.segments)

    @property
    def means(self) -> tuple[float, float, float]:
        """(KL(reference‖generated), KL(generated‖reference), their mean), nats per segment. Raises InputError without any."""
        if self.segments == 0:
            raise InputError("a KL divergence needs at least one segment")
        forward, reverse = self.forward / self.segments, self.reverse / self.segments
        return forward, reverse, (forward + reverse) / 2


def validate(reference: npt.ArrayLike, generated: npt.ArrayLike) -> tuple[Array, Array]:
    """Logits [segments, classes] as float64. Raises InputError for unequal shapes and NaN."""
    p, q = np.asarray(reference, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if p.ndim != 2 or 0 in p.shape or p.shape != q.shape:
        raise InputError(
            f"logits must be [segments, classes], alike on both sides, not {list(p.shape)} and {list(q.shape)}"
        )
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise InputError("logits hold NaN or infinite values")
    return p, q


def divergence(reference: npt.ArrayLike, generated: npt.ArrayLike) -> Divergence:
    """The divergence of one clip, from its logits and its reference's, both [segments, classes]."""
    p, q = map(_log_softmax, validate(reference, generated))
    forward = np.sum(np.exp(p) * (p - np.log(np.exp(q) + EPSILON)))
    reverse = np.sum(np.exp(q) * (q - np.log(np.exp(p) + EPSILON)))
    return Divergence(float(forward), float(reverse), len(p))


def merge(parts: Iterable[Divergence]) -> Divergence:
    """The sum over clips."""
    return reduce(Divergence.__add__, parts, Divergence(0.0, 0.0, 0))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


ClipDivergence = Callable[[MetricInputs, Array, Array], Divergence]


def _compute(embedder: str, clip_divergence: ClipDivergence, inputs: MetricInputs) -> ClipResult:
    pairs, excluded = inputs.full_length_pairs()
    divergences: dict[str, Divergence] = {}
    for pair in pairs:
        reference, generated = inputs.embedding(embedder, pair.reference), inputs.embedding(embedder, pair.generated)
        if reference.shape != generated.shape:
            excluded[pair.id] = f"{len(generated)} segments against {len(reference)} of the reference"
            continue
        divergences[pair.id] = clip_divergence(inputs, reference, generated)
    forward, reverse, both = merge(divergences.values()).means
    segments = [each.segments for each in divergences.values()]
    return ClipResult(
        forward,
        {name: each.means[0] for name, each in divergences.items()},
        [each.forward for each in divergences.values()],
        segments,
        {"reverse": reverse, "both": both, "segments": float(sum(segments))},
        excluded,
    )


def _of_classes(_: MetricInputs, reference: Array, generated: Array) -> Divergence:
    return divergence(reference, generated)


def _of_genre_and_lead(inputs: MetricInputs, reference: Array, generated: Array) -> Divergence:
    """`mini_tags` has two heads, genre and lead instrument; their divergences are added, over the same segments."""
    genres = cast(MiniEmbedder, inputs.embedders["mini_tags"]).genres
    genre, lead = (divergence(reference[:, part], generated[:, part]) for part in (np.s_[:genres], np.s_[genres:]))
    return Divergence(genre.forward + lead.forward, genre.reverse + lead.reverse, genre.segments)


def _metric(name: str, title: str, embedder: str, clip_divergence: ClipDivergence) -> Metric:
    return Metric(name, title, "paired", (embedder,), "lower", VERSION, partial(_compute, embedder, clip_divergence))


METRICS = (
    _metric("kl", "KL (PaSST)", "passt", _of_classes),
    _metric("kl_mini", "KL (mini)", "mini_tags", _of_genre_and_lead),
)
