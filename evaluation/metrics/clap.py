"""CLAP score: the cosine between a caption's embedding and its clip's (paper section 3.3; Wu et al. 2023).

Conventions: text [d] and audio [windows, d] of each clip; cosine with eps 1e-8, mean over windows, then over
clips. The paper's mode has one window per clip (10 s, a random crop where the clip is longer). The number depends on
the checkpoint: the same clips score 0.13 or 0.31 with two published ones, so its hash is stored with the score.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from musicgen import statistics
from musicgen.errors import InputError

from .base import ClipResult, Metric, MetricInputs

Array = npt.NDArray[np.float64]

VERSION = "1"
EPSILON = 1e-8


def validate(text: npt.ArrayLike, audio: npt.ArrayLike) -> tuple[Array, Array]:
    """Text [d] and audio [windows, d] as float64. Raises InputError for other shapes and NaN."""
    t, a = np.asarray(text, dtype=np.float64), np.asarray(audio, dtype=np.float64)
    if t.ndim != 1 or a.ndim != 2 or len(a) == 0 or a.shape[1] != len(t):
        raise InputError(f"text [d] and audio [windows, d] expected, not {list(t.shape)} and {list(a.shape)}")
    if not (np.isfinite(t).all() and np.isfinite(a).all()):
        raise InputError("embeddings hold NaN or infinite values")
    return t, a


def similarity(text: npt.ArrayLike, audio: npt.ArrayLike) -> float:
    """The mean cosine of one clip's windows with its caption, in [-1, 1]: text [d], audio [windows, d]."""
    t, a = validate(text, audio)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(t)
    return float(np.mean(a @ t / np.maximum(norms, EPSILON)))


def score(texts: npt.ArrayLike, audio: npt.ArrayLike) -> float:
    """The mean over n clips of one window each: texts [n, d], audio [n, d]. Raises InputError for unequal shapes."""
    t, a = np.asarray(texts, dtype=np.float64), np.asarray(audio, dtype=np.float64)
    if t.ndim != 2 or t.shape != a.shape or len(t) == 0:
        raise InputError(f"texts and audio must be [n, d] alike, not {list(t.shape)} and {list(a.shape)}")
    return float(np.mean([similarity(*pair) for pair in zip(t, a[:, None], strict=True)]))


def _compute(embedder: str, inputs: MetricInputs) -> ClipResult:
    texts = inputs.text_embeddings(embedder)
    audio = [inputs.embedding(embedder, pair.generated) for pair in inputs.pairs]
    values = np.array([similarity(text, windows) for text, windows in zip(texts, audio, strict=True)])
    shuffled = np.array([similarity(text, windows) for text, windows in zip(np.roll(texts, -1, 0), audio, strict=True)])
    details = {
        "shuffled": float(shuffled.mean()),
        "beats_shuffled": float(np.mean(values > shuffled)),
        "p_shuffled": statistics.paired_permutation(values, shuffled, inputs.rng()),
    }
    return ClipResult.mean(dict(zip((pair.id for pair in inputs.pairs), map(float, values), strict=True)), details)


def _metric(name: str, title: str, embedder: str) -> Metric:
    return Metric(
        name, title, "text", (embedder,), "higher", VERSION, partial(_compute, embedder), minimum=-1.0, maximum=1.0
    )


METRICS = (
    _metric("clap", "CLAP", "clap"),
    _metric("clap_windowed", "CLAP (windowed)", "clap_windowed"),
    _metric("clap_mini", "CLAP (mini)", "mini_clap"),
)
