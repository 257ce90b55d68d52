"""CLAP score: the cosine between a caption's embedding and its clip's (paper section 3.3; Wu et al. 2023).

Conventions: text [d] and audio [windows, d] of each clip; cosine with eps 1e-8, mean over windows, then over
clips. The paper's mode has one window a clip (10 s, a random crop where the clip is longer). The checkpoint decides the
number: the same clips score 0.13 or 0.31 with two published ones, so its hash belongs beside the score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]

VERSION = "1"
EPSILON = 1e-8


def validate(text: npt.ArrayLike, audio: npt.ArrayLike) -> tuple[Array, Array]:
    """Text [d] and audio [windows, d] as float64."""
    words, sound = np.asarray(text, dtype=np.float64), np.asarray(audio, dtype=np.float64)
    if words.ndim != 1 or sound.ndim != 2 or len(sound) == 0 or sound.shape[1] != len(words):
        raise InputError(f"text [d] and audio [windows, d] expected, not {list(words.shape)} and {list(sound.shape)}")
    if not (np.isfinite(words).all() and np.isfinite(sound).all()):
        raise InputError("embeddings hold NaN or infinite values")
    return words, sound


def similarity(text: npt.ArrayLike, audio: npt.ArrayLike) -> float:
    """The mean cosine of one clip's windows with its caption, in [-1, 1]."""
    words, sound = validate(text, audio)
    norms = np.linalg.norm(sound, axis=1) * np.linalg.norm(words)
    return float(np.mean(sound @ words / np.maximum(norms, EPSILON)))


def score(texts: npt.ArrayLike, audio: npt.ArrayLike) -> float:
    """The mean over clips, one window each: texts [n, d], audio [n, d]."""
    words, sound = np.asarray(texts, dtype=np.float64), np.asarray(audio, dtype=np.float64)
    if words.ndim != 2 or words.shape != sound.shape or len(words) == 0:
        raise InputError(f"texts and audio must be [n, d] alike, not {list(words.shape)} and {list(sound.shape)}")
    return float(np.mean([similarity(w, s[None]) for w, s in zip(words, sound, strict=True)]))
