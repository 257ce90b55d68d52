"""Scores of a clip: CLAP score and chroma similarity, where the evaluation package is installed.

The CLAP score is computed with the small CLAP model of the evaluation package, and also with LAION's CLAP, which papers report,
where its weights are on this machine already: scoring a clip never downloads weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from musicgen import siblings

if TYPE_CHECKING:
    from evaluation.embedders.registry import Embedders


@dataclass(frozen=True)
class Score:
    """A metric's name, its value, and how to read the value."""

    name: str
    value: float
    description: str


def is_available() -> bool:
    """Whether the packages that scoring needs are installed."""
    return siblings.available("evaluation") and all(
        importlib.util.find_spec(name) is not None for name in ("julius", "scipy")
    )


class ClipScorer:
    """Computes scores of clips. The networks stay loaded and process one clip at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def score(self, clip: Path, prompt: str, chroma_similarity: float | None) -> list[Score]:
        """The scores of one clip.

        Args:
            clip: the clip's file.
            prompt: the description for the CLAP score, which is left out if it is empty.
            chroma_similarity: share of the frames that have the melody's pitch class, 0 to 1; None without a melody.
        """
        scores: list[Score] = []
        if prompt:
            with self._lock:
                scores.append(
                    Score("CLAP (mini)", self._clap_score("mini_clap", clip, prompt), "sound and description, −1 to 1")
                )
                if self._embedders.weights.find(siblings.load("evaluation.embedders.clap").PUBLISHED) is not None:
                    scores.append(
                        Score("CLAP (LAION)", self._clap_score("clap", clip, prompt), "as papers report it, −1 to 1")
                    )
        if chroma_similarity is not None:
            scores.append(
                Score("Chroma similarity", chroma_similarity, "1: every pitch class of the melody; chance: 0.08")
            )
        return scores

    @cached_property
    def _embedders(self) -> Embedders:
        weights = siblings.load("evaluation.embedders.weights").Weights(download=False)
        return cast("Embedders", siblings.load("evaluation.embedders.registry").Embedders(weights))

    def _clap_score(self, embedder_name: str, file: Path, prompt: str) -> float:
        import torch

        clips, clap = siblings.load("evaluation.clips.clip"), siblings.load("evaluation.metrics.clap")
        embedder: Any = self._embedders[embedder_name]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        wave = clips.Clip(clips.Source("clip", file, digest, "generated")).view(embedder.view, embedder.rate)
        embeddings: list[Any] = []
        for window in cast(Sequence[torch.Tensor], embedder.prepare(wave, "clip")):
            embeddings += list(embedder.embed(window[None])[0])
        return float(clap.similarity(embedder.embed_texts([prompt])[0], embeddings))
