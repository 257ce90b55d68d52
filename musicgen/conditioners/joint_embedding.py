"""Registry of joint embeddings of text and music, such as CLAP, by the names that checkpoints and recipes use.

@register("my_clap")
class MyClap(JointEmbedder): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch

from musicgen.audio import Audio
from musicgen.registry import KindRegistry


class JointEmbedder(ABC):
    """A frozen network that embeds text and music in one space. Its weights are not stored in models that use it.

    Attributes:
        kind: The name in a checkpoint's configuration; `register` sets it.
        dim: Dimensions of the space.
        seconds: Length of its audio input.
    """

    kind: ClassVar[str] = ""
    dim: int
    seconds: float

    @classmethod
    @abstractmethod
    def load(cls) -> Self:
        """The network with its weights, on the CPU.

        Raises:
            CheckpointError: They are not on this machine and cannot be downloaded.
        """

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings [B, dim] of B texts before normalisation."""

    @abstractmethod
    def audio(self, audio: Audio) -> torch.Tensor:
        """The embedding [dim] before normalisation of music of any length."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copies of a model share the network, which is frozen and may be large."""
        return self


_REGISTRY: KindRegistry[type[JointEmbedder]] = KindRegistry("joint embedding", "musicgen.joint_embeddings")
register = _REGISTRY.register
find = _REGISTRY.of
