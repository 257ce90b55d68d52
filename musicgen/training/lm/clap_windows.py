"""CLAP embeddings of the training music: of overlapping windows of every clip, from which the embedding of a crop is selected.

A window is as long as a crop, or as the network's input if that is shorter. Windows start every STRIDE.
"""

from __future__ import annotations

import numpy as np
import torch

from musicgen.audio import Audio
from musicgen.conditioners.joint_embedding import JointEmbedder

STRIDE = 1.0
"""Seconds between the beginnings of two windows."""


class ClapWindows:
    """Embeds the windows of clips.

    Args:
        embedder: The network.
        crop: Seconds of a training example.
    """

    def __init__(self, embedder: JointEmbedder, crop: float) -> None:
        self.embedder, self.crop = embedder, crop
        self.seconds = min(crop, embedder.seconds)

    @torch.no_grad()
    def __call__(self, clip: Audio) -> np.ndarray:
        """float32 [W, D], before normalisation. A clip shorter than a window is one window."""
        length, stride = round(self.seconds * clip.rate), round(STRIDE * clip.rate)
        last = max(0, clip.wave.shape[1] - length)
        windows = [Audio(clip.wave[:, begin : begin + length], clip.rate) for begin in range(0, last + 1, stride)]
        return torch.stack([self.embedder.audio(window).float().cpu() for window in windows]).numpy()


def of_crop(embeddings: np.ndarray, start: float, seconds: float, window: float) -> np.ndarray:
    """The embedding of a crop: the mean over the windows that fill it one after the other.

    Args:
        embeddings: [W, D], those of the clip.
        start: Of the crop in the clip, in seconds.
        seconds: Length of the crop.
        window: Length of a window in seconds.

    Returns:
        float32 [D], before normalisation.
    """
    count = max(1, int(seconds / window + 1e-6))
    places = [min(round((start + number * window) / STRIDE), len(embeddings) - 1) for number in range(count)]
    return embeddings[places].mean(axis=0)
