"""From a model's waveform to the clip that is written."""

from __future__ import annotations

from musicgen import audio
from musicgen.audio import Audio
from musicgen.loops import make_loop


def finish(clip: Audio, *, loop: bool, loudness: float | None) -> Audio:
    """The clip as it goes into a file.

    Args:
        clip: The model's waveform.
        loop: Whether its end is mixed into its beginning.
        loudness: LUFS to bring it to, None to leave it as it is.
    """
    if loop:
        clip = make_loop(clip)
    return clip if loudness is None else audio.normalise_loudness(clip, loudness)
