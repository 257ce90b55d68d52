"""The CLAP conditioner: text or audio -> one vector of CLAP's joint embedding space (paper sections 2.3 and A.2).

Training conditions on the embedding of the audio, inference on that of the text; normalisation and RVQ (12 codebooks of 1024
entries) reduce the difference between them. The published network is laion_clap's; importing it downloads tokenisers, so it is
imported only when a CLAP model is used.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from musicgen import safe_unpickle
from musicgen.audio import Audio
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.joint_embedding import JointEmbedder
from musicgen.errors import CheckpointError
from musicgen.options import check_text
from musicgen.quantiser import ResidualQuantiser

SAMPLE_RATE = 48_000
"""Hz."""
WINDOW = 10 * SAMPLE_RATE
"""Samples of CLAP's input."""
DIM = 512
"""Of the joint space."""
REPOSITORY = "lukewys/laion_clap"
CHECKPOINT = "music_audioset_epoch_15_esc_90.14.pt"
"""The paper's weights, on the hub."""


@dataclass(frozen=True)
class ClapOptions:
    """The steps between an embedding and the condition, which the paper's table A.1 ablates.

    Attributes:
        embedder: Name of the network (`joint_embedding`).
    """

    normalise: bool = True
    quantise: bool = True
    num_quantisers: int = 12
    num_entries: int = 1024
    embedder: str = "laion_clap"


class ClapEmbedder(JointEmbedder):
    """laion_clap's HTSAT-base with RoBERTa, without feature fusion (Wu et al. 2023). `weights`: a published checkpoint file."""

    vocabulary = 50_265
    """Size of RoBERTa's vocabulary."""
    dim = DIM
    seconds = WINDOW / SAMPLE_RATE

    def __init__(self, weights: str | os.PathLike[str], device: torch.device | str = "cpu") -> None:
        # Offline, the import succeeds with a vocabulary of five tokens, which would give wrong embeddings without an error.
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                import laion_clap

                self.clap = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device=str(device))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"CLAP's text tokeniser roberta-base is not on this machine ({error})") from error
        if len(self.clap.tokenize) < self.vocabulary:
            raise CheckpointError(
                f"CLAP's text tokeniser roberta-base is not on this machine: {len(self.clap.tokenize)} tokens in place of "
                f"{self.vocabulary}. Connect to the network once"
            )
        self.clap.model.load_state_dict(read_weights(weights))
        self.clap.eval().requires_grad_(False)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings [B, 512] before normalisation."""
        tokens = self.clap.tokenizer(list(texts))
        return self.clap.model.encode_text(tokens, device=self._device)

    @torch.no_grad()
    def audio(self, audio: Audio) -> torch.Tensor:
        """The embedding [512] before normalisation, the mean over windows of 10 s; shorter audio is repeated."""
        from laion_clap.training.data import get_audio_features

        wave = audio.mono().resampled(SAMPLE_RATE).wave[0]
        windows = [
            get_audio_features(
                {}, window, WINDOW, data_truncating="rand_trunc", data_filling="repeatpad",
                audio_cfg=self.clap.model_cfg["audio_cfg"],
            )
            for window in wave.split(WINDOW)
        ]  # fmt: skip
        batch = {key: torch.stack([window[key] for window in windows]).to(self._device) for key in windows[0]}
        model = self.clap.model
        embedding = model.audio_projection(model.encode_audio(batch, device=self._device)["embedding"])
        return embedding.mean(dim=0)

    @property
    def _device(self) -> torch.device:
        return next(self.clap.parameters()).device


class ClapConditioner(Conditioner):
    """CLAP's embedding as a condition of one vector (L = 1)."""

    def __init__(self, embedder: JointEmbedder, projection: nn.Module, options: ClapOptions | None = None) -> None:
        super().__init__()
        self.embedder = embedder
        self.options = options if options is not None else ClapOptions()
        self.quantiser = ResidualQuantiser(self.options.num_quantisers, self.options.num_entries, embedder.dim)
        self.projection = projection

    @property
    def max_length(self) -> int:
        return 1

    def prepare(self, value: Any, **options: Any) -> str:  # noqa: ARG002
        """A description of any length. No part of it is unknown to CLAP, whose tokens are bytes."""
        return check_text("the prompt", value)

    def null(self, batch: int, like: Condition) -> Condition:  # noqa: ARG002
        """A zero vector for each row."""
        return like.zeroed()

    def condition(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, dim] -> [B, 1, D]: normalised, quantised and projected, as the options say."""
        if self.options.normalise:
            embeddings = nn.functional.normalize(embeddings, dim=-1)
        if self.options.quantise:
            embeddings = self.quantiser(embeddings)
        return self.projection(embeddings)[:, None]

    def forward(self, texts: Sequence[str | None]) -> Condition:
        """The condition of B texts. None and "" give the null text: a zero vector."""
        absent = torch.tensor([not text for text in texts])
        # The network need not be on the device of the projection.
        embeddings = self.embedder.texts([text or "" for text in texts]).to(self.quantiser.codebooks.device)
        return self.masked(self.condition(embeddings), absent)

    def masked(self, values: torch.Tensor, absent: torch.Tensor) -> Condition:
        """The condition of vectors [B, 1, D]; absent: bool [B], the rows that get the null text, a zero vector."""
        values = values.masked_fill(absent.to(values.device)[:, None, None], 0.0)
        return Condition(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read the network's tensors of a published laion_clap checkpoint without executing code from the pickle.

    Raises:
        CheckpointError: The file is missing, damaged, or needs more than tensors to load.
    """
    package = safe_unpickle.read(path)
    state = package.get("state_dict", package)
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    # A buffer that newer versions of transformers compute themselves.
    return {name: tensor for name, tensor in state.items() if name != "text_branch.embeddings.position_ids"}
