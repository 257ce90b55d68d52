"""MERT (Li et al. 2023), a self-supervised encoder trained on music, at its two sizes.

    mert       MERT-v1-330M, as mad_metric takes it: the last of 24 layers after the final normalisation (hidden_states[24]
               in the transformers of its time), its maximum over time: one vector of 1,024 for a clip. For MAD
    mert_95m   MERT-v1-95M, as fadtk takes it: the last of 12 layers, its frames: rows of 768, 75 a second, of the
               first six minutes. For FAD

Both: 24 kHz mono, the unprocessed file, the whole clip at once, normalised to mean 0 and variance 1 (which has no effect,
because the network normalises each channel of its first layer over time).

The published repositories require `trust_remote_code`. With their configurations, that code equals transformers' HuBERT, which
is used here; the weights are read as tensors only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..clips.resampling import View
from . import weights
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "mert",
    "pytorch_model.bin",
    "https://huggingface.co/m-a-p/MERT-v1-330M/resolve/main/pytorch_model.bin",
    1260,
    repository="m-a-p/MERT-v1-330M",
)
PUBLISHED_95M = weights.Published(
    "mert_95m",
    "pytorch_model.bin",
    "https://huggingface.co/m-a-p/MERT-v1-95M/resolve/main/pytorch_model.bin",
    378,
    repository="m-a-p/MERT-v1-95M",
)
RATE = 24_000
"""Hz."""
LONGEST = 6 * 60 * RATE
"""Samples of a clip whose frames are taken."""
CONFIGURATION: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "group",
    "mask_time_prob": 0.0,
}
"""Of the network of 330M parameters, where it differs from HuBERT's defaults; no masking at inference."""
CONFIGURATION_95M: dict[str, Any] = {"feat_extract_norm": "group", "mask_time_prob": 0.0}
"""The same of the network of 95M: 12 layers of 768, HuBERT's defaults."""
EPSILON = 1e-7
"""Added to the variance, as transformers' feature extractor does."""


class MertEmbedder(CheckpointEmbedder):
    """Rows [1, 1024]: one vector per clip."""

    name, published = "mert", PUBLISHED
    version = "1"
    view: View = "raw"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [normalised(wave)]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        last = self._module(inputs.to(self.device)).last_hidden_state
        return list(last.amax(dim=1, keepdim=True).cpu().numpy())

    @cached_property
    def _module(self) -> nn.Module:
        return load(CONFIGURATION, self)


class MertFramesEmbedder(CheckpointEmbedder):
    """Rows [frames, 768]."""

    name, published = "mert_95m", PUBLISHED_95M
    version = "1"
    view: View = "fadtk"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        return [normalised(wave[:LONGEST])]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        return list(self._module(inputs.to(self.device)).last_hidden_state.cpu().numpy())

    @cached_property
    def _module(self) -> nn.Module:
        return load(CONFIGURATION_95M, self)


def normalised(wave: torch.Tensor) -> torch.Tensor:
    """[samples] with mean 0 and variance 1, as transformers' feature extractor does."""
    centred = wave - wave.mean()
    return centred / (centred.square().mean() + EPSILON).sqrt()


def load(configuration: Mapping[str, Any], embedder: CheckpointEmbedder) -> nn.Module:
    """The network with an embedder's weights, in evaluation mode, on its device."""
    from transformers import HubertConfig, HubertModel

    with torch.random.fork_rng():
        network = HubertModel(HubertConfig(**configuration))
    state = weights.renamed_weight_norm(weights.read_state_dict(embedder.file))
    state.pop("masked_spec_embed", None)
    weights.load_state(network, state, embedder.file)
    return network.eval().to(embedder.device)


EMBEDDERS = (
    EmbedderSpec("mert", lambda context: MertEmbedder(context.weights, context.device), PUBLISHED),
    EmbedderSpec("mert_95m", lambda context: MertFramesEmbedder(context.weights, context.device), PUBLISHED_95M),
)
