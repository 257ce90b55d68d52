"""CLAP as the text conditioner of a new model: its quantiser is fitted to the embeddings of the training music.

The embeddings of a frozen network do not change during training, so codebooks updated by moving averages would converge to what
k-means computes beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from musicgen import audio, npy
from musicgen.checkpoint import joint_embeddings
from musicgen.conditioners.clap import ClapConditioner, ClapOptions
from musicgen.conditioners.joint_embedding import JointEmbedder
from musicgen.training.lm.config import Clap
from musicgen.training.lm.shards import Sample, npy_bytes
from musicgen.training.tokenizer.quantiser import ResidualCodebooks

CODEBOOKS = "clap-codebooks.npy"
"""In the run's folder."""
VECTORS_PER_ENTRY = 32
"""Embeddings that k-means gets at most, for each entry of a codebook."""
ITERATIONS = 20


@dataclass(frozen=True)
class ClapText:
    """What a CLAP conditioner is made of.

    Attributes:
        embedder: The network.
        options: The steps between an embedding and the condition.
        codebooks: float32 [Q, N, D]; None where nothing is quantised, or not yet.
    """

    embedder: JointEmbedder
    options: ClapOptions
    codebooks: torch.Tensor | None = None

    @classmethod
    def load(cls, recipe: Clap) -> Self:
        """The network of a recipe, with codebooks still to be fitted.

        Raises:
            CheckpointError: Its kind is not registered, or its weights are not there.
        """
        options = ClapOptions(
            recipe.normalise, recipe.quantise, recipe.num_quantisers, recipe.num_entries, recipe.embedder
        )
        return cls(joint_embeddings.find(recipe.embedder, "text.clap.embedder").load(), options)

    def fitted(self, samples: Iterable[Sample], file: Path, seed: int) -> Self:
        """The same with codebooks that are fitted to the training clips, once, and kept in `file` (.npy).

        Args:
            samples: The training clips.
            file: Read where it exists.
            seed: Chooses among the embeddings, and the initial centres.
        """
        if not self.options.quantise:
            return self
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            audio.write_bytes(file, npy_bytes(fit_codebooks(self.options, samples, seed).numpy()))
        return replace(self, codebooks=torch.from_numpy(npy.read(file.read_bytes())))

    def conditioner(self, projection: nn.Module) -> ClapConditioner:
        """The conditioner. projection: from the joint space to the width of the language model."""
        made = ClapConditioner(self.embedder, projection, self.options)
        if self.codebooks is not None:
            made.quantiser.codebooks.copy_(self.codebooks)
        return made


def fit_codebooks(options: ClapOptions, samples: Iterable[Sample], seed: int) -> torch.Tensor:
    """float32 [Q, N, D]: k-means of the clips' embeddings, each codebook on the residual of the ones before it."""
    vectors = torch.from_numpy(np.concatenate([one.embeddings for one in samples if one.embeddings is not None]))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(vectors), generator=generator)[: VECTORS_PER_ENTRY * options.num_entries]
    vectors = vectors[chosen].float()
    if options.normalise:
        vectors = nn.functional.normalize(vectors, dim=-1)
    fitted = ResidualCodebooks(options.num_quantisers, options.num_entries, vectors.shape[1])
    fitted.initialise(vectors, ITERATIONS, generator)
    return fitted.embed
