"""What the corpus tests share: a mark for tests that need a soundfont, and pieces rendered once."""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import pytest

from musicgen.errors import InputError
from musicgen.training.corpus import Piece, compose, render, soundfont_path


def _missing() -> str | None:
    if find_spec("tinysoundfont") is None:
        return "the tinysoundfont package is not installed"
    try:
        soundfont_path()
    except InputError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def soundfont() -> None:
    """Skips the test where nothing can be rendered."""
    reason = _missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def rendered(soundfont):  # noqa: ARG001
    """(genre, seed) -> a 16 s piece and its sound."""

    @lru_cache(maxsize=64)
    def make(genre: str, seed: int) -> tuple[Piece, np.ndarray]:
        piece = compose(seed, duration=16.0, genre=genre)
        return piece, render(piece)

    return make
