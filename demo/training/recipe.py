"""The recipe of a visitor's training: the shipped recipe `page-lora` with the visitor's music, model and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .request import TrainingRequest

NAME = "page-lora"
MIN_SECONDS = 1.0
"""Of an example."""


def values(request: TrainingRequest, source: str, music: Path, longest: float) -> dict[str, Any]:
    """The recipe as plain values, as `LMRecipe.from_dict` takes them.

    Args:
        request: of the visitor.
        source: of the model, as `musicgen.load` takes it.
        music: manifest of the clips.
        longest: seconds of the longest clip: examples that are longer would be padded.
    """
    from musicgen.training import recipe

    found = recipe.read(recipe.locate(NAME))
    found["start"] |= {"model": source}
    found["data"] |= {"path": str(music), "seconds": min(found["data"]["seconds"], max(MIN_SECONDS, longest))}
    found["optimisation"] |= {"steps": request.steps}
    each = min(request.sample_every, request.steps)
    found["every"] |= {"validate": each, "samples": each, "checkpoint": each}
    return found
