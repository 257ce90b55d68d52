"""What is trained, and its loss: codes, text and melody -> cross-entropy of every codebook (paper section 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from musicgen import chroma
from musicgen.conditioners.condition import Condition, join
from musicgen.conditioners.text import T5Conditioner
from musicgen.model import MusicGen
from musicgen.training.lm.auxiliary_losses import Guide, Places
from musicgen.training.lm.dataloader import Batch

_IGNORED = -100


@dataclass(frozen=True)
class Inputs:
    """A batch as the network takes it, on its device. sequence: int64 [B, K, S + 1], special where nothing is known;
    steps: int64 [K, T], which of them predict the codes; ids, real: the text's tokens [B, L] and their mask; absent: bool [B],
    rows without text; melody: [B, frames] or None; places: of the guide, or None."""

    sequence: torch.Tensor
    steps: torch.Tensor
    ids: torch.Tensor
    real: torch.Tensor
    absent: torch.Tensor
    melody: torch.Tensor | None
    places: Places | None

    def to(self, device: torch.device) -> Inputs:
        melody = None if self.melody is None else self.melody.to(device)
        places = None if self.places is None else self.places.to(device)
        parts = (self.sequence, self.steps, self.ids, self.real, self.absent)
        sequence, steps, ids, real, absent = (part.to(device) for part in parts)
        return Inputs(sequence, steps, ids, real, absent, melody, places)

    def counts(self, special: int) -> torch.Tensor:
        """int64 [K]: how many codes are predicted."""
        return (self.sequence[:, :, 1:] != special).sum(dim=(0, 2))


class Losses(NamedTuple):
    """Sums: codes, the cross-entropies of every codebook, float32 [K]; guide, float32 [auxiliary_losses.KINDS], or None."""

    codes: torch.Tensor
    guide: torch.Tensor | None


class Network(nn.Module):
    """The parts of a MusicGen model that learn. The text encoder is among its parameters only where it learns too."""

    def __init__(self, model: MusicGen, *, train_text: bool, guide_layer: int = 0) -> None:
        """guide_layer: counted from 1, 0 for none."""
        super().__init__()
        assert isinstance(model.text, T5Conditioner)
        self.lm = model.lm
        self.text_projection = model.text.projection
        self.melody_projection = None if model.melody is None else model.melody.projection
        self.encoder = model.text.encoder if train_text else None
        self.guide = Guide(model.lm.config.dim) if guide_layer else None
        self._guide_layer = guide_layer
        # In tuples: known, but no part of this module's state.
        self._model = (model,)
        self._text = (model.text,)
        self.special = model.lm.config.special_token

    def inputs(self, batch: Batch, max_tokens: int) -> Inputs:
        """On the CPU."""
        text = self._text[0]
        frames = torch.arange(batch.codes.shape[2])
        codes = batch.codes.masked_fill(frames >= batch.lengths[:, None, None], self.special)
        layout = self._model[0].pattern.layout(codes.shape[2])
        sequence = layout.build(codes, self.special)
        ids, real = text.tokens(batch.texts, max_tokens)
        absent = torch.tensor([not one for one in batch.texts])
        places = None
        if batch.facts is not None:
            # Without a text nothing can be known of a place at first.
            places = Places(batch.facts, (frames < batch.lengths[:, None]) & ~absent[:, None])
        return Inputs(sequence, layout.steps, ids, real, absent, batch.melody, places)

    def to_device(self, device: torch.device) -> None:
        """Move what is no part of the module's state too."""
        self._text[0].encoder.to(device)

    def forward(self, inputs: Inputs) -> Losses:
        text = self._text[0]
        with torch.autocast(inputs.ids.device.type, enabled=False):  # T5 overflows in float16
            states = text.hidden(inputs.ids, inputs.real)
        condition = text.condition(states, inputs.real, inputs.absent)
        melody = None if inputs.melody is None else self._melody(inputs.melody)
        conditions = join(condition, melody, cross_attention=self.lm.config.cross_attention)
        with self._watched() as seen:
            logits = self.lm(inputs.sequence[:, :, :-1], conditions, predicting=inputs.steps)
        targets = inputs.sequence.gather(2, inputs.steps.expand(len(inputs.sequence), -1, -1))
        targets = targets.masked_fill(targets == self.special, _IGNORED)
        losses = F.cross_entropy(
            logits.flatten(0, 2).float(), targets.flatten(), ignore_index=_IGNORED, reduction="none"
        )
        guided = None
        if self.guide is not None and inputs.places is not None:
            # The states that predict a frame's first code are to know its place.
            guided = self.guide(seen[0][:, conditions.prefix_length + inputs.steps[0] - 1], inputs.places)
        return Losses(losses.view_as(targets).sum(dim=(0, 2)), guided)

    @contextmanager
    def _watched(self) -> Iterator[list[torch.Tensor]]:
        """Inside, what the guided layer gives is kept in the list."""
        seen: list[torch.Tensor] = []
        if self.guide is None:
            yield seen
            return
        hook = self.lm.blocks[self._guide_layer - 1].register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            yield seen
        finally:
            hook.remove()

    def _melody(self, classes: torch.Tensor) -> Condition:
        """Pitch classes [B, frames], -1 without melody. Its null is class 0 in every frame, as at inference."""
        assert self.melody_projection is not None
        frames = F.one_hot(classes.clamp(min=0), chroma.NUM_CHROMA).float()
        values = self.melody_projection(frames)
        return Condition(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
