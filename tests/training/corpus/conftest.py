"""Compositions rendered once for the tests that measure them."""

from functools import lru_cache

import numpy as np
import pytest

from musicgen.training.corpus import Composition, compose, render


@lru_cache(maxsize=64)
def _rendered(genre: str, seed: int) -> tuple[Composition, np.ndarray]:
    composition = compose(seed, duration=16.0, genre=genre)
    return composition, render(composition)


@pytest.fixture
def rendered(real_soundfont):  # noqa: ARG001
    """(genre, seed) -> a 16 s composition and its sound."""
    return _rendered
