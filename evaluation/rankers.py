"""The ranking "clap" of `musicgen.ranking`, which orders the takes of one description by their CLAP scores.

`musicgen` imports this module by name, like a plug-in, when this ranking is requested; it does not depend on its contents.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from musicgen import catalog
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.ranking import register_ranker

from .clips.clip import Clip, Source
from .embedders import clap as clap_embedder
from .embedders.registry import Embedders
from .embedders.weights import Weights
from .metrics import clap

if TYPE_CHECKING:
    from musicgen.model import MusicGen
    from musicgen.request import GenerationRequest

MINI, LAION = "mini_clap", "clap"
"""The embedded CLAP, and LAION's, which papers report."""
LABELS = {MINI: "CLAP (mini)", LAION: "CLAP (LAION)"}


class ClapScores:
    """CLAP scores of single clips. The networks stay loaded; nothing is downloaded."""

    @cached_property
    def _embedders(self) -> Embedders:
        return Embedders(Weights(download=False))

    @property
    def has_laion(self) -> bool:
        """Whether the weights of LAION's CLAP are on this machine."""
        return self._embedders.weights.find(clap_embedder.PUBLISHED) is not None

    def score(self, embedder_name: str, clip: Audio, prompt: str) -> float:
        """The CLAP score of a clip, -1 to 1 (the metric of `metrics.clap`, for one clip).

        Args:
            embedder_name: MINI or LAION.
            clip: The clip.
            prompt: Its description.
        """
        embedder: Any = self._embedders[embedder_name]
        source = Source("clip", Path("clip"), "", "generated")
        wave = Clip(source, clip).view(embedder.view, embedder.rate)
        embeddings: list[Any] = []
        windows: list[torch.Tensor] = embedder.prepare(wave, "clip")
        for window in windows:
            embeddings += list(embedder.embed(window[None])[0])
        return clap.similarity(embedder.embed_texts([prompt])[0], embeddings)


class ClapRanker:
    """Orders by the agreement of sound and description: by the embedded CLAP for the embedded models, whose descriptions it was
    trained on, by LAION's for others where its weights are on this machine."""

    def __init__(self) -> None:
        self._scores = ClapScores()

    def check(self, request: GenerationRequest) -> None:
        if not request.prompts[0]:
            raise InputError(
                "the ranking 'clap' compares with the description, and there is none: rank by melody or none"
            )

    def label(self, model: MusicGen) -> str:
        return LABELS[self._embedder(model)]

    def score(self, clip: Audio, request: GenerationRequest, model: MusicGen) -> float:
        return self._scores.score(self._embedder(model), clip, request.prompts[0] or "")

    def _embedder(self, model: MusicGen) -> str:
        return LAION if model.name not in catalog.embedded() and self._scores.has_laion else MINI


register_ranker("clap", ClapRanker)
