"""Clips that repeat without a seam."""

from __future__ import annotations

import torch

from musicgen.audio import Audio

CROSSFADE_SECONDS = 1.0


def make_loop(audio: Audio, seconds: float = CROSSFADE_SECONDS) -> Audio:
    """Make a clip a seamless loop: an equal-power crossfade of its end into its beginning.

    Args:
        audio: The clip.
        seconds: Length of the crossfade, at most a quarter of the clip.

    Returns:
        The loop, shorter than the clip by the crossfade.
    """
    length = min(round(seconds * audio.rate), audio.wave.shape[1] // 4)
    if length < 2:
        return audio
    angle = torch.linspace(0, torch.pi / 2, length)
    head, tail = audio.wave[:, :length].cpu(), audio.wave[:, -length:].cpu()
    mixed = head * angle.sin() + tail * angle.cos()
    return Audio(torch.cat([mixed, audio.wave[:, length:-length].cpu()], dim=1), audio.rate)
