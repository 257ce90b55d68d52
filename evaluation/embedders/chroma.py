"""Soft chroma as an embedder, so that it is cached like the others: [frames, 12] of the whole clip at 32 kHz."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from musicgen import chroma

from ..clips import View
from .base import Array


class ChromaEmbedder:
    """`musicgen.chroma` on one clip at a time."""

    name = "chroma"
    version = "1"
    view: View = "paper_whole"
    rate = chroma.SAMPLE_RATE
    weights = ""

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [wave]

    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        return list(chroma.chroma(inputs).numpy())
