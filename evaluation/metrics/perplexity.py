"""Perplexity of a language model over codes (paper table 5), as audiocraft computes it.

    a batch: exp(mean over codebooks of the mean cross-entropy of its valid codes);   PPL: the mean of that over batches

Conventions: natural logarithms; codes outside the mask (the pattern's edges) are ignored. The mean of exponentials
depends on how clips are batched; exp of the mean (`pooled`) does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

Array = npt.NDArray[np.float64]

VERSION = "1"


@dataclass(frozen=True)
class CrossEntropy:
    """Of one batch.

    Attributes:
        totals: sums of each codebook [K], nats.
        codes: valid codes of each codebook [K].
    """

    totals: tuple[float, ...]
    codes: tuple[int, ...]

    @property
    def means(self) -> Array:
        """Of each codebook [K], nats per code. Raises InputError if one has no valid code."""
        if not self.codes or min(self.codes) == 0:
            raise InputError("a codebook without valid codes has no cross-entropy")
        return np.array(self.totals) / np.array(self.codes)


@dataclass(frozen=True)
class Perplexity:
    """Of all batches.

    Attributes:
        audiocraft: mean over batches of exp(mean cross-entropy).
        pooled: exp of the mean over all codes.
        codebooks: exp of the mean of each codebook [K].
    """

    audiocraft: float
    pooled: float
    codebooks: tuple[float, ...]


def validate(logits: npt.ArrayLike, codes: npt.ArrayLike, mask: npt.ArrayLike) -> None:
    """Check logits [B, K, T, N] and codes [B, K, T] in 0..N-1 where mask [B, K, T] is true. Raises InputError."""
    scores, targets, valid = np.asarray(logits), np.asarray(codes), np.asarray(mask)
    if scores.ndim != 4 or scores.shape[:3] != targets.shape or targets.shape != valid.shape:
        raise InputError(
            "logits [B, K, T, N], codes and mask [B, K, T] expected, not "
            f"{list(scores.shape)}, {list(targets.shape)}, {list(valid.shape)}"
        )
    inside = targets[valid.astype(bool)]
    if inside.size and (inside.min() < 0 or inside.max() >= scores.shape[3]):
        raise InputError(f"codes lie in {inside.min()}..{inside.max()}: 0..{scores.shape[3] - 1} are allowed")


def cross_entropy(logits: npt.ArrayLike, codes: npt.ArrayLike, mask: npt.ArrayLike) -> CrossEntropy:
    """The cross-entropy of one batch.

    Args:
        logits: [B, K, T, N].
        codes: [B, K, T].
        mask: [B, K, T], true for valid codes.
    """
    validate(logits, codes, mask)
    valid = np.asarray(mask).astype(bool)
    scores = np.where(valid[..., None], np.asarray(logits, dtype=np.float64), 0.0)
    targets = np.where(valid, np.asarray(codes), 0)
    top = scores.max(axis=-1)
    log_sum = top + np.log(np.exp(scores - top[..., None]).sum(axis=-1))
    nats = log_sum - np.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    totals = np.where(valid, nats, 0.0).sum(axis=(0, 2))
    return CrossEntropy(tuple(map(float, totals)), tuple(map(int, valid.sum(axis=(0, 2)))))


def perplexity(batches: Sequence[CrossEntropy]) -> Perplexity:
    """The perplexity of all batches. Raises InputError for none."""
    if not batches:
        raise InputError("a perplexity needs at least one batch")
    if len({len(batch.codes) for batch in batches}) != 1:
        raise InputError("batches differ in their number of codebooks")
    each = [math.exp(float(batch.means.mean())) for batch in batches]
    pooled = np.sum([batch.totals for batch in batches], axis=0) / np.sum([batch.codes for batch in batches], axis=0)
    return Perplexity(float(np.mean(each)), float(np.exp(pooled.mean())), tuple(map(float, np.exp(pooled))))
