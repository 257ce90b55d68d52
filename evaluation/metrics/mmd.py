"""Squared maximum mean discrepancy: the unbiased estimate that KAD and KID compute, each with a different kernel.

    MMD² = mean k(x, x') + mean k(y, y') − 2 mean k(x, y)

Conventions: x reference, y generated, x and x' different windows (Gretton et al. 2012, equation 3). Sums of the kernel over
every pair of clips are computed once; MMD² of every resample of the clips is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

from . import fad

Array = npt.NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
"""k(a, b) of every two windows: [m, d] and [n, d] → [m, n]."""

BLOCK = 2048


@dataclass(frozen=True)
class Reference:
    """The reference side.

    Attributes:
        windows: embeddings [m, d].
        kernel: k.
        own: mean kernel of two different windows.
    """

    windows: Array
    kernel: Kernel
    own: float


@dataclass(frozen=True)
class Sums:
    """Kernel sums of n generated clips, from which MMD² of every sample of them follows.

    Attributes:
        own: [n, n] between clips, each window with itself included.
        itself: [n] of each window with itself.
        cross: [n] with the reference.
        sizes: [n] windows.
    """

    own: Array
    itself: Array
    cross: Array
    sizes: Array


def reference(windows: npt.ArrayLike, kernel: Kernel) -> Reference:
    """The reference side.

    Args:
        windows: embeddings [m, d].
        kernel: k.

    Raises:
        InputError: there are fewer than 2 windows.
    """
    array = fad.validate(windows)
    m = len(array)
    if m < 2:
        raise InputError(f"a distance by a kernel needs at least 2 windows, and has {m}")
    total = 0.0
    for start in range(0, m, BLOCK):
        values = kernel(array[start : start + BLOCK], array)
        total += float(values.sum() - np.trace(values, start))
    return Reference(array, kernel, total / (m * (m - 1)))


def sums(reference: Reference, clips: Sequence[npt.ArrayLike]) -> Sums:
    """Kernel sums of clips, from the embeddings [windows, d] of each.

    Raises:
        InputError: there is no clip, or its embeddings have other dimensions than the references'.
    """
    arrays = [fad.validate(clip) for clip in clips]
    if not arrays:
        raise InputError("a distance by a kernel needs at least one clip")
    everything = np.concatenate(arrays)
    if everything.shape[1] != reference.windows.shape[1]:
        raise InputError(
            f"embeddings of {reference.windows.shape[1]} and of {everything.shape[1]} dimensions cannot be compared"
        )
    sizes = np.array([len(array) for array in arrays], dtype=np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    own, itself, cross = np.empty((len(arrays), len(arrays))), np.empty(len(arrays)), np.empty(len(arrays))
    for index, (array, start) in enumerate(zip(arrays, starts, strict=True)):
        values = reference.kernel(array, everything)
        own[index], itself[index] = np.add.reduceat(values.sum(axis=0), starts), np.trace(values, start)
        cross[index] = reference.kernel(array, reference.windows).sum()
    return Sums(own, itself, cross, sizes)


def distance(reference: Reference, sums: Sums) -> float:
    """MMD² of all clips. Raises InputError for fewer than 2 windows."""
    n = float(sums.sizes.sum())
    if n < 2:
        raise InputError(f"a distance by a kernel needs at least 2 windows, and has {n:.0f}")
    return float(resampled(reference, sums, np.ones((1, len(sums.sizes))))[0])


def resampled(reference: Reference, sums: Sums, counts: npt.ArrayLike) -> Array:
    """MMD² of samples of the clips against the fixed reference.

    Args:
        reference: the reference side.
        sums: of the n generated clips.
        counts: how often each clip is in a sample [R, n].

    Returns:
        [R]; not finite where a sample has fewer than 2 windows.
    """
    weights = np.asarray(counts, dtype=np.float64)
    n = weights @ sums.sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        own = (np.sum((weights @ sums.own) * weights, axis=1) - weights @ sums.itself) / (n * (n - 1))
        cross = (weights @ sums.cross) / (n * len(reference.windows))
    return np.asarray(reference.own + own - 2 * cross)
