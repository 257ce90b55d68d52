"""Audiobox Aesthetics (Tjandra et al. 2025): four marks from 1 to 10 that people would give a clip, without a reference.

Conventions, those of the audiobox_aesthetics package, whose network this is: 16 kHz mono, the file as it is; windows of
10 s, one behind the other, the last one filled with silence that does not count. Rows [windows, 5]: content enjoyment,
content usefulness, production complexity, production quality; and the share of the window that holds sound, by which
windows weigh.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from musicgen import extras
from musicgen.errors import CheckpointError

from ..clips import View
from . import weights
from .base import Array, OfWeights

RATE = 16_000
"""Hz."""
WINDOW = 10 * RATE
"""Samples."""
AXES = ("CE", "CU", "PC", "PQ")


class AestheticsEmbedder(OfWeights):
    """Marks [windows, 4] and shares [windows, 1]."""

    name = file = "aesthetics"
    version = "1"
    view: View = "raw"
    rate = RATE

    def prepare(self, wave: torch.Tensor, clip_id: str) -> list[torch.Tensor]:  # noqa: ARG002
        """Windows [2, WINDOW]: sound, and 1 where there is some."""
        return [
            torch.nn.functional.pad(torch.stack([part, torch.ones_like(part)]), (0, WINDOW - len(part)))
            for part in wave.split(WINDOW)
        ]

    @torch.inference_mode()
    def embed(self, inputs: torch.Tensor) -> Sequence[Array]:
        network, scales = self._network
        sound = inputs[:, 1:] > 0
        marks = network({"wav": inputs[:, :1].to(self._device), "mask": sound.to(self._device)})
        columns = [marks[axis].cpu() * scales[axis]["std"] + scales[axis]["mean"] for axis in AXES]
        columns.append(sound.float().mean(dim=(1, 2)))
        return list(torch.stack(columns, dim=-1)[:, None].numpy().astype(np.float32))

    @cached_property
    def _network(self) -> tuple[Any, dict[str, dict[str, float]]]:
        package: Any = extras.load("audiobox_aesthetics.model.aes", "evaluation", "the aesthetics metric")
        file = self._chosen.file(self.file)
        facts = weights.package(file)
        try:
            settings, scales = dict(facts["model_cfg"]), facts["target_transform"]
            chosen = {name: settings[name] for name in package.AesMultiOutput.__dataclass_fields__ if name in settings}
            with torch.random.fork_rng():
                network = package.AesMultiOutput(**chosen, target_transform=scales)
            found = {axis: {part: float(scales[axis][part]) for part in ("mean", "std")} for axis in AXES}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{file}: not a checkpoint of audiobox_aesthetics ({error!r})") from error
        weights.fill(network, weights.tensors(facts, "model."), file)
        return network.eval().to(self._device), found
