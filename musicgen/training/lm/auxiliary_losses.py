"""Auxiliary losses: plug-ins of the training that read the hidden states of one layer. They are not part of the exported model.

A loss is a subclass of `AuxiliaryLoss` in `REGISTRY`; a recipe switches it on by that name, with a weight and a layer
(`auxiliary_losses.NAME: {weight: 1.0, layer: 2}`). The data loader asks it for the targets of a crop, the network gives it the
layer's output, and its weighted loss is added to the cross-entropy of the codes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from musicgen.errors import InputError


class AuxiliaryLoss(nn.Module, ABC):
    """A head on hidden states of width `dim`, and its loss."""

    name: ClassVar[str]
    """In recipes."""
    terms: ClassVar[tuple[str, ...]]
    """Names of the parts of the loss, which are validated one by one."""

    @staticmethod
    @abstractmethod
    def targets(metadata: dict[str, Any], start: int, frames: int, rate: float) -> np.ndarray:
        """What the head should predict for a crop.

        Args:
            metadata: Of the clip.
            start: First frame of the crop.
            frames: Its length in frames.
            rate: Frames a second.

        Returns:
            float32 [frames, width].

        Raises:
            InputError: The metadata lacks a field.
        """

    @abstractmethod
    def forward(self, hidden: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """The weighted sums over frames.

        Args:
            hidden: [B, T, D], the states that predict the first codebook of every frame.
            targets: float32 [B, T, width].
            known: bool [B, T], the frames that count.

        Returns:
            float32 [terms].
        """


class BeatChordKey(AuxiliaryLoss):
    """Position in bar and beat, chord and key of every frame, from the metadata of a corpus in steady tempo.

    The loss of the codes alone finds a pulse slowly, because each single code says little about it.
    """

    name = "beat_chord_key"
    terms = ("beat", "chord", "key")
    weights = (4.0, 1.0, 0.5)
    """Of the terms."""
    fields = ("beats", "downbeats", "chords", "tonic", "key")
    """Of the metadata, as `musicgen.training.corpus` writes it."""
    phases = 6
    """Cosine and sine of the position in the bar, the beat and the half beat."""
    pitch_classes = 12
    keys = 24
    width = phases + pitch_classes + 1
    """Numbers a frame: phases, the chord's pitch classes, the number of the key."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.head = nn.Linear(dim, self.phases + self.pitch_classes + self.keys)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @staticmethod
    def targets(metadata: dict[str, Any], start: int, frames: int, rate: float) -> np.ndarray:
        own = BeatChordKey
        missing = [field for field in own.fields if field not in metadata]
        name = metadata.get("name", "a clip")
        if missing:
            raise InputError(
                f"auxiliary_losses.{own.name} needs {', '.join(own.fields)} in the JSON of every clip, as "
                f"musicgen.training.corpus writes it, and {name} has no {missing[0]!r}"
            )
        beats, bars = metadata["beats"], metadata["downbeats"]
        if min(len(beats), len(bars)) < 2:
            raise InputError(f"auxiliary_losses.{own.name}: {name} has fewer than two beats or bars")
        times = (start + np.arange(frames)) / rate
        table = np.zeros((frames, own.width), np.float32)
        beat = (times - beats[0]) / (beats[1] - beats[0])
        bar = (times - bars[0]) / (bars[1] - bars[0])
        for number, position in enumerate((bar, beat, 2 * beat)):
            table[:, 2 * number] = np.cos(2 * math.pi * position)
            table[:, 2 * number + 1] = np.sin(2 * math.pi * position)
        for chord in metadata["chords"]:
            inside = (times >= chord["onset"]) & (times < chord["offset"])
            table[np.ix_(inside, [own.phases + pitch_class for pitch_class in chord["pitch_classes"]])] = 1
        table[:, -1] = metadata["tonic"] + (own.pitch_classes if metadata["key"].endswith("minor") else 0)
        return table

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        sizes = (self.phases, self.pitch_classes, self.keys)
        phases, chord, key = self.head(self.norm(hidden)).float().split(sizes, dim=-1)
        losses = (
            F.mse_loss(phases, targets[..., : self.phases], reduction="none").mean(dim=-1),
            F.binary_cross_entropy_with_logits(chord, targets[..., self.phases : -1], reduction="none").mean(dim=-1),
            F.cross_entropy(key.movedim(-1, 1), targets[..., -1].long(), reduction="none"),
        )
        return torch.stack([weight * (loss * known).sum() for weight, loss in zip(self.weights, losses, strict=True)])


REGISTRY: Mapping[str, type[AuxiliaryLoss]] = {loss.name: loss for loss in (BeatChordKey,)}
"""Name in recipes -> loss. `config.AuxiliaryLosses` has a field for each."""
