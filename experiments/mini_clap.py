"""The mini CLAP (`evaluation/embedders/mini_network.py`) as a joint embedding that models can be trained on.

A plug-in: `python -m musicgen train … --plugin experiments.mini_clap`, and the same for `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch

from evaluation.embedders import mini, mini_network
from musicgen.audio import Audio
from musicgen.conditioners.joint_embedding import JointEmbedder, register


@register("mini_clap")
class MiniClap(JointEmbedder):
    """A joint space of 64 dimensions, trained on the synthetic corpus; it hears 10 s at once."""

    dim = mini_network.JOINT
    seconds = mini.SEGMENT / mini_network.RATE

    def __init__(self, network: mini.Network) -> None:
        self._network = network

    @classmethod
    def load(cls) -> Self:
        return cls(mini.Network())

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        rows = mini_network.tokenize(list(texts), self._network.vocabulary)
        return self._network.model.project_text(rows)

    @torch.no_grad()
    def audio(self, audio: Audio) -> torch.Tensor:
        wave = audio.mono().resampled(mini_network.RATE).wave[0]
        pieces = [piece for piece in wave.split(mini.SEGMENT) if len(piece) >= mini.SHORTEST] or [wave]
        each = [self._network.model.project_audio(mini_network.log_mel(piece[None]))[0] for piece in pieces]
        return torch.stack(each).mean(dim=0)
