"""The interface of an embedder, its registry entry, and the cache keys of its embeddings.

An embedder gets one view of a clip (`clips.clip`) at one sampling rate. `prepare` cuts the waveform of one clip into inputs, on
the CPU; `embed` runs the network on a batch of inputs of equal shape, of any number of clips; a clip's embedding is the
concatenated rows of its inputs: [windows, d], [segments, classes] or [frames, 12].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from ..clips.clip import Source
from ..clips.resampling import View
from .weights import Published, Weights, sha256

Array = npt.NDArray[np.float32]
T = TypeVar("T")


class Embedder(Protocol):
    """A network that converts audio to embedding vectors.

    Attributes:
        name: in cache keys and results.
        version: of this code; a new one invalidates cached embeddings.
        view: which view of a clip it gets.
        rate: Hz of its input.
    """

    name: str
    version: str
    view: View
    rate: int

    @property
    def weights(self) -> str:
        """sha256 of the weights' file; "" without weights."""
        ...

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:
        """Cut one clip's waveform [samples] at `rate` Hz into inputs, any number of them."""
        ...

    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        """Run the network on inputs [n, …] of equal shape. Returns n arrays [rows, d]."""
        ...

    def salt(self, clip_id: str) -> str:
        """What else the embedding of a clip depends on, a part of the cache key; "" for nothing."""
        ...


class TextEmbedder(Protocol):
    """An embedder that has a text encoder, too.

    Attributes:
        name: in cache keys.
        version: of this code.
    """

    name: str
    version: str

    @property
    def weights(self) -> str:
        """sha256 of the weights' file; "" without weights."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embeddings [n, d] of n captions."""
        ...


class CheckpointEmbedder:
    """The base of embedders whose network has one weight file.

    Args:
        weights: finds the weight files.
        device: PyTorch device.

    Attributes:
        published: the published file, which users may replace.
        device: PyTorch device of the network.
    """

    published: Published

    def __init__(self, weights: Weights, device: str = "cpu") -> None:
        self._weights, self.device = weights, device

    @cached_property
    def file(self) -> Path:
        """The file of weights, downloaded if it is not on this machine. Raises CheckpointError if it cannot be had."""
        return self._weights.file(self.published)

    @cached_property
    def weights(self) -> str:
        return sha256(self.file)

    def salt(self, clip_id: str) -> str:  # noqa: ARG002
        return ""


@dataclass(frozen=True)
class EmbedderContext:
    """The arguments of `EmbedderSpec.build`.

    Attributes:
        weights: finds the weight files.
        device: PyTorch device.
    """

    weights: Weights
    device: str = "cpu"
    _shared: dict[Any, Any] = field(default_factory=dict)

    def shared(self, build: Callable[[EmbedderContext], T]) -> T:
        """`build(self)`, called once: embedders with one network share its weights in memory."""
        if build not in self._shared:
            self._shared[build] = build(self)
        return cast(T, self._shared[build])


@dataclass(frozen=True)
class EmbedderSpec:
    """An entry of the embedder registry.

    Attributes:
        name: used by metrics; the same as that of the embedder that `build` returns.
        build: builds the embedder; must not load weights before the first `embed` or `weights`.
        published: the weight file that it reads; None if there is none, or it is part of the package. Embedders may share it.
        network: the name of the network in results; by default that of the published file, or the embedder's name.
    """

    name: str
    build: Callable[[EmbedderContext], Embedder]
    published: Published | None = None
    network: str = ""

    def __post_init__(self) -> None:
        if not self.network:
            object.__setattr__(self, "network", self.published.name if self.published is not None else self.name)


def embedding_key(embedder: Embedder, source: Source) -> str:
    """The cache key of a clip's embedding: the file's bytes, the preparation, the weights, the code's version."""
    preparation = f"{source.preparation(embedder.view)}@{embedder.rate}:{embedder.salt(source.id)}"
    return digest(source.sha256, preparation, embedder.name, embedder.version, embedder.weights)


def text_key(embedder: TextEmbedder, text: str) -> str:
    """The cache key of a caption's embedding."""
    return digest("text", text, embedder.name, embedder.version, embedder.weights)


def digest(*parts: str) -> str:
    """sha256 of a list of texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
