"""Titles of compositions."""

from __future__ import annotations

import numpy as np

from musicgen.training.corpus.randomness import pick

_NOUNS = (
    "Morning", "River", "Lantern", "Harbour", "Garden", "Window", "Mountain", "Letter", "Station", "Island", "Autumn",
    "Mirror", "Corner", "Bridge", "Orchard", "Signal", "Meadow", "Shadow", "Journey", "Rooftop", "Valley", "Carousel",
)  # fmt: skip
_PLACES = ("by the Sea", "after Midnight", "in the Rain", "at Dawn", "on the Hill", "for Two", "in Blue", "from Afar")


def title(genre: str, moods: tuple[str, ...], rng: np.random.Generator) -> str:
    """Such as "Breezy Lantern in the Rain"."""
    noun, place = pick(rng, _NOUNS), pick(rng, _PLACES)
    forms = (f"{noun} {place}", f"{moods[0].title()} {noun}", f"{noun} {genre.title()}", f"The {noun}")
    return pick(rng, forms)
