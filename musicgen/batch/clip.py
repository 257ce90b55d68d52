"""One clip of a list of prompts: its settings, and the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen.request import GenerationRequest
from musicgen.settings import Settings


@dataclass(frozen=True)
class BatchClip:
    """One clip of a list.

    Attributes:
        id: Of the sample, the same for every model that answers the same list.
        where: The place of the clip in its list, which errors name.
        settings: What is stored in the clip's file; what only a loaded model tells (precision, adapters) comes from the run.
        files: "melody", "continue_from" or a condition -> the file that it is read from.
    """

    id: str
    where: str
    settings: Settings
    files: Mapping[str, Path] = field(default_factory=dict)

    def request(self) -> GenerationRequest:
        """The request to a model."""
        chosen = self.settings
        melody: Any = chosen.chords if chosen.chords is not None else self.files.get("melody")
        return GenerationRequest.of(
            [chosen.prompt],
            chosen.duration,
            seed=[chosen.seed],
            melody=melody,
            conditions={name: str(self.files.get(name, value)) for name, value in chosen.conditions.items()},
            continue_from=self.files.get("continue_from"),
            options=chosen.options,
            separate=chosen.separate,
            timeline=chosen.timeline,
            loop=chosen.loop,
        )
