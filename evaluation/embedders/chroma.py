"""Soft chroma [frames, 12] of a whole clip at 32 kHz, as an embedder, so that it is cached like the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from musicgen import chroma

from ..clips.resampling import View
from .base import Array, EmbedderSpec


class ChromaEmbedder:
    """`musicgen.chroma` of one clip at a time: rows [frames, 12]."""

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


EMBEDDERS = (EmbedderSpec("chroma", lambda _: ChromaEmbedder()),)
