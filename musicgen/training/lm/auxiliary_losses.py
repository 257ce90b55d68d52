"""What a layer in the middle is taught, in training alone: where in bar and beat each frame lies, its chord, the key.

The facts come from a corpus' sidecars. A head reads them off the hidden states, its loss joins the codes', and it is thrown
away at the end. The codes' own loss finds a pulse slowly, since each single code says little about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from musicgen.errors import InputError

NAMES = ("place", "chord", "key")
KINDS = len(NAMES)
"""Of losses."""
FIELDS = ("beats", "downbeats", "chords", "tonic", "key")
"""Of a sidecar, as `musicgen.training.corpus` writes it."""
_CLASSES, _KEYS = 12, 24
_TURNS = 6
"""Cosine and sine of the bar, the beat and the half beat."""
WIDTH = _TURNS + _CLASSES + 1
"""Numbers a frame: turns, the chord's pitch classes, the key's number."""
_WEIGHTS = (4.0, 1.0, 0.5)
"""By kind: a place is worth most."""


@dataclass(frozen=True)
class Places:
    """facts: float32 [B, T, WIDTH]; counted: bool [B, T], the frames of which something can be known."""

    facts: torch.Tensor
    counted: torch.Tensor

    def to(self, device: torch.device) -> Places:
        return Places(self.facts.to(device), self.counted.to(device))


def facts(metadata: dict[str, Any], start: int, frames: int, rate: float) -> np.ndarray:
    """float32 [frames, WIDTH] of a piece of steady tempo, from frame `start` on, at `rate` frames a second."""
    missing = [name for name in FIELDS if name not in metadata]
    if missing:
        raise InputError(
            f"optimisation.guide needs {', '.join(FIELDS)} in the JSON of every clip, as musicgen.training.corpus writes "
            f"it, and {metadata.get('name', 'a clip')} has no {missing[0]!r}"
        )
    beats, bars = metadata["beats"], metadata["downbeats"]
    if min(len(beats), len(bars)) < 2:
        raise InputError(f"optimisation.guide: {metadata.get('name', 'a clip')} has fewer than two beats or bars")
    times = (start + np.arange(frames)) / rate
    table = np.zeros((frames, WIDTH), np.float32)
    beat = (times - beats[0]) / (beats[1] - beats[0])
    bar = (times - bars[0]) / (bars[1] - bars[0])
    for number, turns in enumerate((bar, beat, 2 * beat)):
        table[:, 2 * number] = np.cos(2 * math.pi * turns)
        table[:, 2 * number + 1] = np.sin(2 * math.pi * turns)
    for chord in metadata["chords"]:
        inside = (times >= chord["onset"]) & (times < chord["offset"])
        table[np.ix_(inside, [_TURNS + pitch_class for pitch_class in chord["pitch_classes"]])] = 1
    table[:, -1] = metadata["tonic"] + (_CLASSES if metadata["key"].endswith("minor") else 0)
    return table


class Guide(nn.Module):
    """Hidden states [B, T, D] and their places -> the losses by kind, weighted sums over frames, float32 [KINDS]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.head = nn.Linear(dim, _TURNS + _CLASSES + _KEYS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, hidden: torch.Tensor, places: Places) -> torch.Tensor:
        turns, chord, key = self.head(self.norm(hidden)).float().split((_TURNS, _CLASSES, _KEYS), dim=-1)
        wanted = places.facts
        losses = (
            F.mse_loss(turns, wanted[..., :_TURNS], reduction="none").mean(dim=-1),
            F.binary_cross_entropy_with_logits(chord, wanted[..., _TURNS:-1], reduction="none").mean(dim=-1),
            F.cross_entropy(key.movedim(-1, 1), wanted[..., -1].long(), reduction="none"),
        )
        return torch.stack(
            [weight * (loss * places.counted).sum() for weight, loss in zip(_WEIGHTS, losses, strict=True)]
        )
