"""The part of a reference that is scored if the reference is longer than the suite's clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from musicgen import audio
from musicgen.audio import Audio

Position = Literal["start", "middle"]


@dataclass(frozen=True)
class Window:
    """A part of a recording; all of it where it is shorter.

    Attributes:
        position: the first seconds, or those in the middle.
        seconds: length.
    """

    position: Position
    seconds: float

    def __str__(self) -> str:
        """In cache keys."""
        return f"{self.position} {self.seconds:g} s"

    def cut(self, recording: Audio) -> Audio:
        """The part of a decoded recording, [C, at most `seconds`]."""
        surplus = recording.wave.shape[1] - round(self.seconds * recording.rate)
        if surplus <= 0:
            return recording
        first = surplus // 2 if self.position == "middle" else 0
        return replace(recording, wave=recording.wave[:, first : recording.wave.shape[1] - surplus + first])

    def read(self, file: Path) -> Audio:
        """The part of a file. Raises InputError if it is not readable as audio."""
        return self.cut(audio.read(file))
