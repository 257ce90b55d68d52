"""Inputs of the text conditioner in training: tokens for T5, or CLAP embeddings of the crops' audio.

There is one class per kind of text conditioner, with the same interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch

from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.clap import ClapConditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.text import T5Conditioner
from musicgen.training.lm.dataloader import Batch


class TextInputs(Protocol):
    """The inputs of a text conditioner."""

    def inputs(self, batch: Batch, max_tokens: int) -> dict[str, torch.Tensor]:
        """Tensors for `condition`, on the CPU; texts are cut at `max_tokens`. "absent": bool [B], the rows without text."""

    def condition(self, inputs: Mapping[str, torch.Tensor]) -> Condition:
        """The condition of a batch, from the tensors of `inputs` on the device."""

    def to(self, device: torch.device) -> None:
        """Move what is frozen, which is no submodule of the trained network."""


class T5Inputs:
    """ids: int64 [B, L], text tokens; real: bool [B, L], False at padding."""

    def __init__(self, conditioner: T5Conditioner) -> None:
        self.conditioner = conditioner

    def inputs(self, batch: Batch, max_tokens: int) -> dict[str, torch.Tensor]:
        ids, real = self.conditioner.tokens(batch.texts, max_tokens)
        return {"ids": ids, "real": real, "absent": torch.tensor([not one for one in batch.texts])}

    def condition(self, inputs: Mapping[str, torch.Tensor]) -> Condition:
        ids, real = inputs["ids"], inputs["real"]
        with torch.autocast(ids.device.type, enabled=False):  # T5 overflows in float16
            states = self.conditioner.hidden(ids, real)
        return self.conditioner.condition(states, real, inputs["absent"])

    def to(self, device: torch.device) -> None:
        self.conditioner.encoder.to(device)


class ClapInputs:
    """embeddings: float32 [B, D], zeros in rows without."""

    def __init__(self, conditioner: ClapConditioner) -> None:
        self.conditioner = conditioner

    def inputs(self, batch: Batch, max_tokens: int) -> dict[str, torch.Tensor]:  # noqa: ARG002
        assert batch.embeddings is not None
        return {"embeddings": batch.embeddings, "absent": ~batch.embeddings.any(dim=1)}

    def condition(self, inputs: Mapping[str, torch.Tensor]) -> Condition:
        return self.conditioner.masked(self.conditioner.condition(inputs["embeddings"]), inputs["absent"])

    def to(self, device: torch.device) -> None:
        self.conditioner.quantiser.to(device)


def text_inputs(conditioner: Conditioner) -> TextInputs:
    """The inputs of a model's text conditioner."""
    if isinstance(conditioner, ClapConditioner):
        return ClapInputs(conditioner)
    assert isinstance(conditioner, T5Conditioner)
    return T5Inputs(conditioner)


def learns(conditioner: Conditioner) -> bool:
    """Whether the text encoder is trained, not the projection alone."""
    return isinstance(conditioner, T5Conditioner) and any(one.requires_grad for one in conditioner.encoder.parameters())
