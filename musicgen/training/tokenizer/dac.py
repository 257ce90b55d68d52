"""A trainable Descript audio codec (Kumar et al. 2023): transformers' network with its own quantiser losses.

For the comparison with EnCodec in the paper's table A.3. DAC looks codes up by cosine similarity in a low-dimensional space and
trains its codebooks by gradient, so quantiser.py is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import DacConfig, DacFeatureExtractor, DacModel
from transformers.models.dac.modeling_dac import DacResidualUnit

from musicgen.tokenizers import DacTokenizer
from musicgen.training.tokenizer.config import Quantisation, Shape
from musicgen.training.tokenizer.weight_initialization import variance_preserving_init

COMMITMENT = 0.25
"""Weight of the commitment loss beside the codebook loss's 1 (Kumar et al. 2023, appendix A)."""
RESIDUAL_LEVEL = 0.1
"""Initial scale of a residual branch."""


class DacTrainer(nn.Module):
    """A trainable DAC. The codebooks are parameters."""

    num_init_vectors = 0
    """The codebooks are trained by gradient, without k-means."""

    def __init__(self, shape: Shape, quantisation: Quantisation) -> None:
        super().__init__()
        self.weight = quantisation.commitment
        self.network = DacModel(
            DacConfig(
                encoder_hidden_size=shape.filters,
                downsampling_ratios=list(reversed(shape.ratios)),
                decoder_hidden_size=shape.decoder_filters,
                n_codebooks=shape.codebooks,
                codebook_size=shape.codebook_size,
                codebook_dim=shape.codebook_dim,
                sampling_rate=shape.sample_rate,
                commitment_loss_weight=COMMITMENT,
            )
        )
        self.network.apply_weight_norm()
        variance_preserving_init(self.network)
        with torch.no_grad():
            for unit in self.network.modules():
                if isinstance(
                    unit, DacResidualUnit
                ):  # three for each stride: without the scale their sum would grow eightfold
                    unit.conv2.weight = RESIDUAL_LEVEL * unit.conv2.weight
        # Training mode would only add quantiser dropout, from the global generator; MusicGen's tokeniser has none.
        self.network.eval()

    def compile(self, *args: Any, **options: Any) -> None:
        """torch.compile encoder and decoder. Takes torch.compile's arguments."""
        self.network.encoder.compile(*args, fullgraph=True, dynamic=False, **options)
        self.network.decoder.compile(*args, fullgraph=True, dynamic=False, **options)

    def encode(self, waves: torch.Tensor) -> torch.Tensor:
        """[B, 1, T], T whole frames -> float32 latents [B, D, frames]."""
        return self.network.encoder(waves).float()

    def forward(
        self, waves: torch.Tensor, _generator: torch.Generator, *, quantise: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waves [B, 1, T] -> reconstruction [B, 1, T], and the weighted codebook and commitment losses."""
        latents = self.encode(waves)
        penalty = latents.new_zeros(())
        if quantise:
            with torch.autocast(waves.device.type, enabled=False):
                latents, _, _, commitment, codebook = self.network.quantizer(latents)
            penalty = self.weight * (COMMITMENT * commitment + codebook).mean()
        made = self.network.decoder(latents).float()
        # Odd strides lose a few samples at the end.
        return F.pad(made, (0, waves.shape[-1] - made.shape[-1])), penalty

    def initialize_codebooks(self, latents: torch.Tensor, generator: torch.Generator) -> None:
        """Not needed: see `num_init_vectors`."""

    @torch.no_grad()
    def tokenizer(self) -> DacTokenizer:
        """The tokeniser that loading `save`'s folder gives, on the CPU."""
        with torch.random.fork_rng(devices=[]):  # its initial weights are replaced below
            model = DacModel(self.network.config)
        # Published DAC folders and transformers' class have plain weights without weight norm.
        for name, tensor in model.state_dict().items():
            owner, _, leaf = name.rpartition(".")
            tensor.copy_(getattr(self.network.get_submodule(owner), leaf))
        return DacTokenizer(model.eval())

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the folder that `DacModel.from_pretrained` loads."""
        tokenizer = self.tokenizer()
        tokenizer.model.to(dtype).save_pretrained(folder)
        DacFeatureExtractor(
            feature_size=1, sampling_rate=tokenizer.sample_rate, hop_length=tokenizer.hop
        ).save_pretrained(folder)
