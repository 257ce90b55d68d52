"""Inception-style score (Salimans et al. 2016) on an audio tagger: whether each clip clearly belongs to a class, and the set is
diverse.

    exp( mean over clips of KL(p(class | clip) ‖ p(class)) ),   p(class): mean over clips

Conventions: logits [segments, classes] of each clip; p(class | clip) is the mean of its segments' softmax; natural logarithms.
It ranges from 1 (all clips alike, or none clear) to the number of classes, needs no reference, and grows with the number of
clips.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy import special

from musicgen.errors import InputError

from ..embedders.mini import MiniEmbedder
from .base import Metric, MetricInputs, SetResult

Array = npt.NDArray[np.float64]

VERSION = "1"


def probabilities(logits: npt.ArrayLike) -> Array:
    """The class probabilities [classes] of one clip, from its logits [segments, classes]; InputError for other shapes."""
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        raise InputError(f"logits must be finite and [segments, classes], not {list(array.shape)}")
    return np.asarray(special.softmax(array, axis=1).mean(axis=0))


def resampled(clips: Array, counts: npt.ArrayLike) -> Array:
    """The score of samples of the clips.

    Args:
        clips: class probabilities [n, classes].
        counts: how often each clip is in a sample [R, n].

    Returns:
        [R].
    """
    weights = np.asarray(counts, dtype=np.float64)
    weights = weights / weights.sum(axis=1, keepdims=True)
    certainty = -special.entr(clips).sum(axis=1)
    diversity = special.entr(weights @ clips).sum(axis=1)
    return np.asarray(np.exp(weights @ certainty + diversity))


def score(clips: Array) -> float:
    """The score of all clips, from their class probabilities [n, classes]."""
    return float(resampled(clips, np.ones((1, len(clips))))[0])


Classes = Callable[[MetricInputs, Array], Array]
"""The logits of one set of classes, of all that an embedder gives."""


def _all_classes(_: MetricInputs, logits: Array) -> Array:
    return logits


def _genres(inputs: MetricInputs, logits: Array) -> Array:
    return logits[:, : cast(MiniEmbedder, inputs.embedders["mini_tags"]).genres]


def _compute(embedder: str, classes: Classes, inputs: MetricInputs) -> SetResult:
    clips = np.stack(
        [probabilities(classes(inputs, inputs.embedding(embedder, pair.generated))) for pair in inputs.pairs]
    )
    return SetResult(score(clips), partial(resampled, clips), {"classes": float(clips.shape[1])})


def _metric(name: str, title: str, embedder: str, classes: Classes) -> Metric:
    return Metric(
        name, title, "single", (embedder,), "higher", VERSION, partial(_compute, embedder, classes), minimum=1.0
    )


METRICS = (
    _metric("inception_passt", "Inception score (PaSST)", "passt", _all_classes),
    _metric("inception_mini", "Inception score (mini)", "mini_tags", _genres),
)
