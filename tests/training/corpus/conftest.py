"""What the corpus tests share: a mark for tests that need a soundfont, and compositions rendered once."""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import pytest

from musicgen.errors import InputError
from musicgen.training.corpus import Composition, compose, render, soundfont_path


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
    """(genre, seed) -> a 16 s composition and its sound."""

    @lru_cache(maxsize=64)
    def make(genre: str, seed: int) -> tuple[Composition, np.ndarray]:
        composition = compose(seed, duration=16.0, genre=genre)
        return composition, render(composition)

    return make
