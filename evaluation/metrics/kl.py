"""KL divergence between what a tagger hears in the reference and in the generation (paper section 3.3).

    KL(reference‖generated) = Σ_c p_ref(c) · (log p_ref(c) − log(p_gen(c) + 1e-6)),   p = softmax of the logits

Conventions: logits [segments, classes] of each clip, reference and generation cut at the same places; every segment is
a pair of its own, and the score is the mean over all segments of all clips. The paper and audiocraft give
reference‖generated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]

VERSION = "1"
EPSILON = 1e-6


@dataclass(frozen=True)
class Divergence:
    """Sums over segments, in nats: of reference‖generated, of generated‖reference; and how many segments. Adds up."""

    forward: float
    reverse: float
    segments: int

    def __add__(self, other: Divergence) -> Divergence:
        return Divergence(self.forward + other.forward, self.reverse + other.reverse, self.segments + other.segments)

    @property
    def means(self) -> tuple[float, float, float]:
        """(reference‖generated, generated‖reference, the mean of both), nats a segment."""
        if self.segments == 0:
            raise InputError("a KL divergence needs at least one segment")
        forward, reverse = self.forward / self.segments, self.reverse / self.segments
        return forward, reverse, (forward + reverse) / 2


def validate(reference: npt.ArrayLike, generated: npt.ArrayLike) -> tuple[Array, Array]:
    """Logits as float64, of the same segments and classes."""
    ours, theirs = np.asarray(reference, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    if ours.ndim != 2 or 0 in ours.shape or ours.shape != theirs.shape:
        raise InputError(
            f"logits must be [segments, classes], alike on both sides, not {list(ours.shape)} and {list(theirs.shape)}"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise InputError("logits hold NaN or infinite values")
    return ours, theirs


def divergence(reference: npt.ArrayLike, generated: npt.ArrayLike) -> Divergence:
    """Of one clip's logits [segments, classes]."""
    ours, theirs = validate(reference, generated)
    p, q = _log_softmax(ours), _log_softmax(theirs)
    forward = np.sum(np.exp(p) * (p - np.log(np.exp(q) + EPSILON)))
    reverse = np.sum(np.exp(q) * (q - np.log(np.exp(p) + EPSILON)))
    return Divergence(float(forward), float(reverse), len(ours))


def merge(parts: Iterable[Divergence]) -> Divergence:
    """Of the union."""
    return reduce(Divergence.__add__, parts, Divergence(0.0, 0.0, 0))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
