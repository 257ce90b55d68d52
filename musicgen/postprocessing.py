"""From a model's waveform to the clip that is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.limiter import Limited, reach_loudness
from musicgen.loops import BEATS_PER_BAR, Loop, cut_at_bars, make_loop
from musicgen.options import LIMITERS, LOOP_CUTS


@dataclass(frozen=True)
class ProcessedClip:
    """A clip as it goes into a file. limited: the same, and what the limiter took off; loop: its bars and tempo, None for no
    loop; not_at_bars: why a loop was not cut at bars, "" where it was or was not asked to be."""

    limited: Limited
    loop: Loop | None = None
    not_at_bars: str = ""

    @property
    def audio(self) -> Audio:
        return self.limited.audio

    @property
    def measured(self) -> dict[str, Any]:
        """The values that a file's settings store."""
        return self.limited.measured | ({} if self.loop is None else self.loop.measured)


def postprocess(
    clip: Audio,
    *,
    loop: bool,
    loudness: float | None,
    limiter: str = LIMITERS[-1],
    loop_cut: str = LOOP_CUTS[0],
    loop_bars: int | None = None,
    beats_per_bar: int = BEATS_PER_BAR,
    mark: Callable[[Audio], Audio] | None = None,
) -> ProcessedClip:
    """The clip as it goes into a file: its loop, its inaudible mark, its loudness, in this order.

    Args:
        clip: The model's waveform.
        loop: Whether it repeats without a seam.
        loudness: LUFS to bring it to, None to leave it as it is.
        limiter: Of `options.LIMITERS`.
        loop_cut: Of `options.LOOP_CUTS`. A clip that cannot be cut at bars is cut at its end.
        loop_bars, beats_per_bar: As of `loops.cut_at_bars`.
        mark: Mixes an inaudible mark into the sound, None for none.
    """
    cut, reason = None, ""
    if loop and loop_cut != LOOP_CUTS[0]:
        try:
            cut = cut_at_bars(clip, loop_bars, beats_per_bar)
        except InputError as error:
            reason = str(error)
    if loop:
        cut = cut or Loop(make_loop(clip))
        clip = cut.audio
    if mark is not None:
        clip = mark(clip)
    limited = Limited(clip, 0.0) if loudness is None else reach_loudness(clip, loudness, limiter, loop=loop)
    return ProcessedClip(limited, cut, reason)
