"""A finished clip on disk, and its metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from musicgen.serving.request import ClipRequest


@dataclass(frozen=True)
class StoredClip:
    """A finished clip on the disk.

    Attributes:
        path: a FLAC file whose comment tag has the settings.
        request: the request, with the precision that "auto" was replaced by.
        seed: of this clip.
        seconds: duration.
        channels: 1 or 2.
        rate: Hz.
        loudness: LUFS.
        limiter_reduction: the most dB that the limiter took off.
        loop: bars and tempo of a loop that is cut at bars, as text.
        marks: what marks it as made by a model, in words.
        complete: whether the generation was not stopped early.
        frames: the pitch class of each chroma frame, for the comparison with `request.frames`, the reference melody.
        unknown: share of the description's tokens that the model's vocabulary lacks, 0 to 1.
        generation: the job that made it, the same for all of its variations.
    """

    path: Path
    request: ClipRequest
    seed: int
    seconds: float
    channels: int
    rate: int
    loudness: float
    complete: bool
    frames: tuple[int, ...]
    unknown: float = 0.0
    generation: str = ""
    limiter_reduction: float = 0.0
    marks: tuple[str, ...] = ()
    loop: str = ""

    @property
    def id(self) -> str:
        """The unguessable part of its path, 128 random bits."""
        return self.path.parent.name

    @property
    def level(self) -> str:
        """Loudness, and what the limiter took off for it, as text; "silent" where there is none."""
        if not math.isfinite(self.loudness):
            return "silent"
        limited = f", peaks limited by {self.limiter_reduction:.1f} dB" if self.limiter_reduction >= 0.05 else ""
        return f"{self.loudness:.1f} LUFS{limited}"

    @property
    def brief(self) -> str:
        """Duration, and what is not as it was asked for, as text."""
        return f"{self.seconds:.2f} s of music{self._exceptions}"

    @property
    def summary(self) -> str:
        """Duration, channels, sample rate, loudness, precision and seed as text."""
        level = f", {self.level}" if math.isfinite(self.loudness) else ""
        audio = f"{self.seconds:.2f} s, {self.layout}, {self.rate} Hz{level}"
        return f"{audio}, {self.request.precision}, seed {self.seed}{self._exceptions}"

    @property
    def layout(self) -> str:
        """ "mono" or "stereo"."""
        return "stereo" if self.channels == 2 else "mono"

    @property
    def _exceptions(self) -> str:
        stopped = "" if self.complete else ", stopped early"
        unknown = f"; the model does not know {self.unknown:.0%} of the description" if self.unknown else ""
        return f"{stopped}{unknown}"
