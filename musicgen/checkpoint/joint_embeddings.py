"""The published CLAP as a joint embedding, with its weights from the hub."""

from __future__ import annotations

from typing import Self

from musicgen.conditioners.clap import CHECKPOINT, REPOSITORY, ClapEmbedder
from musicgen.conditioners.joint_embedding import find, register

__all__ = ["PublishedClap", "find"]


@register("laion_clap")
class PublishedClap(ClapEmbedder):
    """The paper's CLAP (Wu et al. 2023)."""

    @classmethod
    def load(cls) -> Self:
        """The network; its weights (2.4 GB) are downloaded once, and not copied into the models that use them."""
        from musicgen.checkpoint import hub

        return cls(hub.download(REPOSITORY, lambda _: [CHECKPOINT], "weights of CLAP") / CHECKPOINT)
