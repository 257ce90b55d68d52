"""Pieces rendered once for the tests that measure them."""

from functools import lru_cache

import numpy as np
import pytest

from musicgen.training.corpus import Piece, compose, render


@lru_cache(maxsize=64)
def _rendered(genre: str, seed: int) -> tuple[Piece, np.ndarray]:
    piece = compose(seed, duration=16.0, genre=genre)
    return piece, render(piece)


@pytest.fixture
def rendered(real_soundfont):  # noqa: ARG001
    """(genre, seed) -> a 16 s piece and its sound."""
    return _rendered
