"""One random generator for each purpose, so that a change in one stage does not affect the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """The generator of one purpose of one composition; the same on every machine."""
    words = [crc32(word.encode()) for word in purpose]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]


def pick_weighted(rng: np.random.Generator, options: Sequence[tuple[T, float]]) -> T:
    """One of (option, weight) pairs."""
    weights = np.array([weight for _, weight in options])
    index = int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(), side="right"))
    return options[min(index, len(options) - 1)][0]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True that often."""
    return bool(rng.random() < probability)
