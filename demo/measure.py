"""How well a clip does what it was asked: CLAP score and chroma similarity, where the evaluation package is there.

The small CLAP that comes with the evaluation always; LAION's, which the field reports, only where its weights are on this
machine already: a click on a page is no reason to fetch gigabytes.
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
class Figure:
    """What was measured, its value, and how to read it."""

    name: str
    value: float
    meaning: str


def available() -> bool:
    """Whether this machine can measure."""
    return siblings.available("evaluation") and all(
        importlib.util.find_spec(name) is not None for name in ("julius", "scipy")
    )


class Measuring:
    """One for a page: the networks stay loaded, and hear one clip at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def figures(self, clip: Path, prompt: str, same_melody: float | None) -> list[Figure]:
        """`same_melody`: share of the melody's pitch classes that the clip has, None where none was given."""
        found: list[Figure] = []
        if prompt:
            with self._lock:
                found.append(
                    Figure("CLAP (mini)", self._clap("mini_clap", clip, prompt), "sound and description, −1 to 1")
                )
                if self._embedders.weights.find("clap") is not None:
                    found.append(
                        Figure("CLAP (LAION)", self._clap("clap", clip, prompt), "as papers report it, −1 to 1")
                    )
        if same_melody is not None:
            found.append(Figure("Chroma similarity", same_melody, "1: every pitch class of the melody; chance: 0.08"))
        return found

    @cached_property
    def _embedders(self) -> Embedders:
        weights = siblings.load("evaluation.embedders.weights").Weights(download=False)
        return cast("Embedders", siblings.load("evaluation.embedders.registry").Embedders(weights))

    def _clap(self, name: str, file: Path, prompt: str) -> float:
        import torch

        clips, clap = siblings.load("evaluation.clips.clip"), siblings.load("evaluation.metrics.clap")
        embedder: Any = self._embedders[name]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        wave = clips.Clip(clips.Source("clip", file, digest, "generated")).view(embedder.view, embedder.rate)
        rows: list[Any] = []
        for part in cast(Sequence[torch.Tensor], embedder.prepare(wave, "clip")):
            rows += list(embedder.embed(part[None])[0])
        return float(clap.similarity(embedder.embed_texts([prompt])[0], rows))
