"""What every embedder offers, and how its results are named in the cache.

An embedder hears one view of a clip (`evaluation.clips`) at one rate. `prepare` cuts the waveform into inputs, one clip
after another, on the CPU; `embed` runs the network on inputs of equal shape, of however many clips; a clip's embedding
is its inputs' rows, put together: [windows, d], [segments, classes] or [frames, 12].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..clips import Source, View
from .weights import Weights, sha256

Array = npt.NDArray[np.float32]


class Embedder(Protocol):
    """name: in cache keys and results; version: of this code; view, rate: what it hears."""

    name: str
    version: str
    view: View
    rate: int

    @property
    def weights(self) -> str:
        """sha256 of the weights' file; "" without weights."""
        ...

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:
        """[samples] at `rate` -> inputs, any number of them."""
        ...

    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        """Inputs [n, …] of equal shape -> the rows of each, n arrays [rows, d]."""
        ...

    def salt(self, clip_id: str) -> str:
        """What else the result depends on; "" for nothing."""
        ...


class OfWeights:
    """What embedders share whose network comes from one file of weights.

    file: its name among the `Weights`.
    """

    file: str

    def __init__(self, chosen: Weights, device: str = "cpu") -> None:
        self._chosen, self._device = chosen, device

    @cached_property
    def weights(self) -> str:
        return sha256(self._chosen.file(self.file))

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""


class TextEmbedder(Protocol):
    """An embedder of captions."""

    name: str
    version: str

    @property
    def weights(self) -> str: ...

    def texts(self, texts: Sequence[str]) -> Array:
        """[n, d]."""
        ...


def key(embedder: Embedder, source: Source) -> str:
    """Under which a clip's embedding is kept: the file's bytes, the preparation, the weights, and the code's version."""
    preparation = f"{source.preparation(embedder.view)}@{embedder.rate}:{embedder.salt(source.id)}"
    return digest(source.sha256, preparation, embedder.name, embedder.version, embedder.weights)


def text_key(embedder: TextEmbedder, text: str) -> str:
    """Under which a caption's embedding is kept."""
    return digest("text", text, embedder.name, embedder.version, embedder.weights)


def digest(*parts: str) -> str:
    """sha256 of a list of texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
