"""From a model's waveform to the clip that is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from musicgen.audio import Audio
from musicgen.limiter import Limited, reach_loudness
from musicgen.loops import make_loop
from musicgen.options import LIMITERS


@dataclass(frozen=True)
class Finished:
    """A clip as it goes into a file. limited: the same, and what the limiter took off; measured: what its file stores of it."""

    limited: Limited
    measured: dict[str, Any]

    @property
    def audio(self) -> Audio:
        return self.limited.audio


def finish(
    clip: Audio,
    *,
    loop: bool,
    loudness: float | None,
    limiter: str = LIMITERS[-1],
    mark: Callable[[Audio], Audio] | None = None,
) -> Finished:
    """The clip as it goes into a file: its loop, its inaudible mark, its loudness, in this order.

    Args:
        clip: The model's waveform.
        loop: Whether its end is mixed into its beginning.
        loudness: LUFS to bring it to, None to leave it as it is.
        limiter: Of `options.LIMITERS`.
        mark: Mixes an inaudible mark into the sound, None for none.
    """
    if loop:
        clip = make_loop(clip)
    if mark is not None:
        clip = mark(clip)
    limited = Limited(clip, 0.0) if loudness is None else reach_loudness(clip, loudness, limiter, loop=loop)
    return Finished(limited, limited.measured)
