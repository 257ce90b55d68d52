"""EnCodec's encoder (Défossez et al. 2022), 24 kHz: the latents before quantisation.

Conventions, those of fadtk's `encodec-emb`: 24 kHz mono, the unprocessed file, the whole clip at once; rows [frames, 128], 75
Hz. The weights are the published file of the encodec package, renamed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn

from ..clips.resampling import View
from . import weights
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "encodec",
    "encodec_24khz-d7cc33bc.th",
    "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
    93,
    sha256_prefix="d7cc33bc",
)
RATE = 24_000
"""Hz."""
HOP = 320
"""Samples of a frame."""


class EncodecEmbedder(CheckpointEmbedder):
    """Rows [frames, 128]."""

    name, published = "encodec", PUBLISHED
    version = "1"
    view: View = "fadtk"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [wave] if len(wave) >= HOP else []

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        frames = self._module(inputs[:, None].to(self.device))  # [n, 128, frames]
        return list(frames.transpose(1, 2).cpu().numpy())

    @cached_property
    def _module(self) -> nn.Module:
        from musicgen.tokenizers.encodec_network import EncodecConfig, Encoder

        with torch.random.fork_rng():
            network = Encoder(EncodecConfig())  # its defaults are those of the 24-kHz network
        state = {
            re.sub(r"\bconv\.conv\.", "conv.", name.removeprefix("encoder.model.")): tensor
            for name, tensor in weights.read_state_dict(self.file).items()
            if name.startswith("encoder.model.")
        }
        state = {f"layers.{name}": tensor for name, tensor in weights.renamed_weight_norm(state).items()}
        weights.load_state(network, state, self.file)
        return network.eval().to(self.device)


EMBEDDERS = (EmbedderSpec("encodec", lambda context: EncodecEmbedder(context.weights, context.device), PUBLISHED),)
