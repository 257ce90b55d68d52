"""Audiobox Aesthetics (Tjandra et al. 2025): four predicted listener scores from 1 to 10, without a reference.

Conventions, those of the audiobox_aesthetics package, whose network this is: 16 kHz mono, the unprocessed file; consecutive
windows of 10 s, the last one padded with zeros under a mask. Rows [windows, 5]: content enjoyment, content usefulness,
production complexity, production quality; and the share of the window that is not padding, the window's weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from musicgen import extras
from musicgen.errors import CheckpointError

from ..clips.resampling import View
from . import weights
from .base import Array, CheckpointEmbedder, EmbedderSpec

PUBLISHED = weights.Published(
    "aesthetics",
    "checkpoint.pt",
    "https://huggingface.co/facebook/audiobox-aesthetics/resolve/main/checkpoint.pt",
    416,
    repository="facebook/audiobox-aesthetics",
)
RATE = 16_000
"""Hz."""
WINDOW = 10 * RATE
"""Samples."""
AXES = ("CE", "CU", "PC", "PQ")


class AestheticsEmbedder(CheckpointEmbedder):
    """Rows [windows, 5]: four scores, and the share of the window that is not padding."""

    name, published = "aesthetics", PUBLISHED
    version = "1"
    view: View = "raw"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        """Windows [2, WINDOW]: the samples, and a mask that is 1 where there are samples."""
        return [
            torch.nn.functional.pad(torch.stack([part, torch.ones_like(part)]), (0, WINDOW - len(part)))
            for part in wave.split(WINDOW)
        ]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        network, scales = self._loaded
        mask = inputs[:, 1:] > 0
        scores = network({"wav": inputs[:, :1].to(self.device), "mask": mask.to(self.device)})
        columns = [scores[axis].cpu() * scales[axis]["std"] + scales[axis]["mean"] for axis in AXES]
        columns.append(mask.float().mean(dim=(1, 2)))
        return list(torch.stack(columns, dim=-1)[:, None].numpy().astype(np.float32))

    @cached_property
    def _loaded(self) -> tuple[Any, dict[str, dict[str, float]]]:
        package: Any = extras.load("audiobox_aesthetics.model.aes", "evaluation", "the aesthetics metric")
        checkpoint = weights.read_checkpoint(self.file)
        try:
            settings, scales = dict(checkpoint["model_cfg"]), checkpoint["target_transform"]
            arguments = {
                name: settings[name] for name in package.AesMultiOutput.__dataclass_fields__ if name in settings
            }
            with torch.random.fork_rng():
                network = package.AesMultiOutput(**arguments, target_transform=scales)
            scales = {axis: {part: float(scales[axis][part]) for part in ("mean", "std")} for axis in AXES}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.file}: not a checkpoint of audiobox_aesthetics ({error!r})") from error
        weights.load_state(network, weights.state_dict(checkpoint, "model."), self.file)
        return network.eval().to(self.device), scales


EMBEDDERS = (
    EmbedderSpec("aesthetics", lambda context: AestheticsEmbedder(context.weights, context.device), PUBLISHED),
)
