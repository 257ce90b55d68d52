"""Memorisation: how often a model's greedy continuation of a training example equals the example (paper figure 2b).

Conventions: the first codebook alone; the prompt is the example's own codes, of varying length, with its own condition;
the continuation is greedy, 250 codes (5 s). An exact match has all codes equal, a partial match at least 80 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from musicgen.errors import InputError

VERSION = "1"
CONTINUATION = 250
"""Codes; 5 s at 50 Hz."""
PARTIAL = 0.8
"""Share of equal codes from which a continuation is a partial match."""


@dataclass(frozen=True)
class Matches:
    """Counts for one prompt length; those of several batches can be added."""

    examples: int
    exact: int
    partial: int

    def __add__(self, other: Matches) -> Matches:
        return Matches(self.examples + other.examples, self.exact + other.exact, self.partial + other.partial)

    @property
    def shares(self) -> tuple[float, float]:
        """(exact, partial), in [0, 1]; an exact match is a partial one, too. Raises InputError without examples."""
        if self.examples == 0:
            raise InputError("memorisation needs at least one example")
        return self.exact / self.examples, self.partial / self.examples


def equal_shares(truth: npt.ArrayLike, continued: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share of equal codes of each example.

    Args:
        truth: codes of the first codebook [n, T].
        continued: the model's [n, T].

    Returns:
        [n], in [0, 1].

    Raises:
        InputError: the shapes are unequal, or the codes are no integers.
    """
    a, b = np.asarray(truth), np.asarray(continued)
    if a.ndim != 2 or a.shape != b.shape or 0 in a.shape:
        raise InputError(f"codes must be [n, T] alike, not {list(a.shape)} and {list(b.shape)}")
    if not (np.issubdtype(a.dtype, np.integer) and np.issubdtype(b.dtype, np.integer)):
        raise InputError(f"codes must be whole numbers, not {a.dtype} and {b.dtype}")
    return (a == b).mean(axis=1)


def matches(truth: npt.ArrayLike, continued: npt.ArrayLike) -> Matches:
    """Counts of examples with one prompt length: codes [n, T] of the first codebook, the true ones and the model's."""
    equal = np.asarray(truth) == np.asarray(continued)
    shares = equal_shares(truth, continued)
    partial = equal.sum(axis=1) >= PARTIAL * equal.shape[1] - 1e-9
    return Matches(len(shares), int(equal.all(axis=1).sum()), int(partial.sum()))


def merge(parts: Iterable[Matches]) -> Matches:
    """The sum over batches."""
    return sum(parts, Matches(0, 0, 0))
