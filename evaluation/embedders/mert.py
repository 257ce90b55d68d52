"""MERT (Li et al. 2023): music heard by a network that learnt from music alone; behind MAD.

Conventions, those of the mad_metric package: `m-a-p/MERT-v1-330M`, 24 kHz mono, the file as it is; the whole clip at
once, scaled to mean 0 and variance 1; the last layer's output behind the final normalisation (hidden_states[24] in the
transformers of its time), its largest value over time in each of 1,024 dimensions, one vector a clip.

The published repository asks to run its own code. With its configuration that code is transformers' HuBERT, so HuBERT is
what runs here, and the weights are read as tensors alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..clips import View
from . import weights
from .base import Array, OfWeights

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
"""Of the published network, where it differs from HuBERT's; nothing is masked here."""
TINY = 1e-7
"""Added to the variance, as transformers' feature extractor does."""
RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""The file is from before PyTorch renamed the parts of a normalised weight."""


class MertEmbedder(OfWeights):
    """[1, 1024] a clip."""

    name = file = "mert"
    version = "1"
    view: View = "raw"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        centred = wave - wave.mean()
        return [centred / (centred.square().mean() + TINY).sqrt()]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        last = self._network(inputs.to(self._device)).last_hidden_state
        return list(last.amax(dim=1, keepdim=True).cpu().numpy())

    @cached_property
    def _network(self) -> nn.Module:
        from transformers import HubertConfig, HubertModel

        with torch.random.fork_rng():
            network = HubertModel(HubertConfig(**CONFIGURATION))
        file = self._chosen.file(self.file)
        state = weights.read(file)
        state.pop("masked_spec_embed", None)
        for old in [name for name in state if name.rsplit(".", 1)[-1] in RENAMED]:
            place, part = old.rsplit(".", 1)
            state[f"{place}.{RENAMED[part]}"] = state.pop(old)
        weights.fill(network, state, file)
        return network.eval().to(self._device)
