"""MERT (Li et al. 2023): a self-supervised encoder trained on music; for MAD.

Conventions, those of the mad_metric package: `m-a-p/MERT-v1-330M`, 24 kHz mono, the file as it is; the whole clip at
once, scaled to mean 0 and variance 1; the last layer's output after the final normalisation (hidden_states[24] in the
transformers of its time), max-pooled over time to 1,024 dimensions, one vector per clip.

The published repository wants to run its own code (trust_remote_code). With its configuration that code equals transformers'
HuBERT, which is what runs here, and the weights are read as tensors only.
"""

from __future__ import annotations

from collections.abc import Sequence
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
RATE = 24_000
"""Hz."""
CONFIGURATION: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "group",
    "mask_time_prob": 0.0,
}
"""Of the published network, where it differs from HuBERT's defaults; no masking at inference."""
EPSILON = 1e-7
"""Added to the variance, as transformers' feature extractor does."""


class MertEmbedder(CheckpointEmbedder):
    """Rows [1, 1024]: one vector per clip."""

    name, published = "mert", PUBLISHED
    version = "1"
    view: View = "raw"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        centred = wave - wave.mean()
        return [centred / (centred.square().mean() + EPSILON).sqrt()]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        last = self._module(inputs.to(self.device)).last_hidden_state
        return list(last.amax(dim=1, keepdim=True).cpu().numpy())

    @cached_property
    def _module(self) -> nn.Module:
        from transformers import HubertConfig, HubertModel

        with torch.random.fork_rng():
            network = HubertModel(HubertConfig(**CONFIGURATION))
        state = weights.renamed_weight_norm(weights.read_state_dict(self.file))
        state.pop("masked_spec_embed", None)
        weights.load_state(network, state, self.file)
        return network.eval().to(self.device)


EMBEDDERS = (EmbedderSpec("mert", lambda context: MertEmbedder(context.weights, context.device), PUBLISHED),)
