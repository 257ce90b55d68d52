"""The trained module: codes, text and melody -> cross-entropy of every codebook (paper section 2.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F

from musicgen import chroma
from musicgen.checkpoint.conditioners import others
from musicgen.conditioners.condition import Condition
from musicgen.fill_in_the_middle import SEPARATOR, leading_frames, step_positions
from musicgen.model import MusicGen
from musicgen.patterns import Layout
from musicgen.training.lm.auxiliary_losses import REGISTRY, AuxiliaryLoss
from musicgen.training.lm.config import AuxiliaryLosses
from musicgen.training.lm.dataloader import Batch
from musicgen.training.lm.text_inputs import text_inputs

_IGNORED = -100


@dataclass(frozen=True)
class Inputs:
    """A batch as tensors.

    Attributes:
        sequence: int64 [B, K, S + 1] of pattern steps, the special token where there is no code.
        steps: int64 [K, T], the step in which each code is predicted.
        text: the inputs of the text conditioner (`text_inputs`); "absent" are the rows without text.
        melody: uint8 [B, chroma frames, 12], as in `Batch`, or None.
        auxiliary_targets: name of an auxiliary loss -> float32 [B, T, width].
        conditions: name of a further conditioner -> its prepared input for each row, None in rows without.
        positions: int64 [B, S], the position of each step; None for 0, 1, 2 … in all rows.
        known: bool [B, T], the frames that auxiliary losses count: no padding, no separators, no rows without text, where at
            first nothing can be known of a position.
    """

    sequence: torch.Tensor
    steps: torch.Tensor
    text: dict[str, torch.Tensor]
    melody: torch.Tensor | None
    auxiliary_targets: dict[str, torch.Tensor]
    known: torch.Tensor
    conditions: dict[str, list[Any]] = field(default_factory=dict)
    positions: torch.Tensor | None = None

    def to(self, device: torch.device) -> Inputs:
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        targets = {name: value.to(device) for name, value in self.auxiliary_targets.items()}
        text = {name: value.to(device) for name, value in self.text.items()}
        return replace(self, **moved, text=text, auxiliary_targets=targets)

    def counts(self, special: int) -> torch.Tensor:
        """int64 [K]: how many codes of each codebook are predicted."""
        return (self.sequence[:, :, 1:] != special).sum(dim=(0, 2))


class Losses(NamedTuple):
    """Sums over a batch. codes: cross-entropy of every codebook, float32 [K]; auxiliary: name -> float32 [terms]."""

    codes: torch.Tensor
    auxiliary: dict[str, torch.Tensor]


class Network(nn.Module):
    """The parts of a MusicGen model that learn. The text encoder is among its parameters only where it learns too."""

    def __init__(self, model: MusicGen, *, train_text: bool, auxiliary: AuxiliaryLosses | None = None) -> None:
        """auxiliary: those of the recipe; None for none."""
        super().__init__()
        self.lm = model.lm
        self.text_projection = model.text.projection
        self.melody_projection = None if model.melody is None else model.melody.projection
        self.encoder = model.text.encoder if train_text else None
        self.conditioners = nn.ModuleDict(others(model))
        active = {} if auxiliary is None else auxiliary.active()
        self.auxiliary = nn.ModuleDict({name: REGISTRY[name](model.lm.config.dim) for name in active})
        self._layers = {name: options.layer for name, options in active.items()}
        self._model = (model,)  # in a tuple, so that it is no submodule
        self._text = text_inputs(model.text)
        self.special = model.lm.config.special_token

    def inputs(self, batch: Batch, max_tokens: int) -> Inputs:
        """A batch as the inputs of `forward`, on the CPU; texts are cut at `max_tokens`."""
        text = self._text.inputs(batch, max_tokens)
        frames = torch.arange(batch.codes.shape[2])
        music = (frames < batch.lengths[:, None]) & (batch.codes[:, 0] != SEPARATOR)
        codes = batch.codes.masked_fill(~music[:, None], self.special)
        layout = self._model[0].pattern.layout(codes.shape[2])
        sequence = layout.build(codes, self.special)
        known = music & ~text["absent"][:, None]
        return Inputs(
            sequence,
            layout.steps,
            text,
            batch.melody,
            batch.auxiliary_targets,
            known,
            {name: self._prepared(name, values, batch.starts) for name, values in batch.conditions.items()},
            self._positions(batch, layout),
        )

    def _positions(self, batch: Batch, layout: Layout) -> torch.Tensor | None:
        """The positions of the steps of a batch, None where they are the numbers of the steps."""
        leading = leading_frames(batch.codes, SEPARATOR)
        if not any(leading):
            return None
        plain = torch.arange(layout.num_steps)
        return torch.stack(
            [
                step_positions(layout, first, frames, layout.num_steps) if first else plain
                for first, frames in zip(leading, batch.lengths.tolist(), strict=True)
            ]
        )

    def _prepared(self, name: str, values: list[Any], starts: list[float]) -> list[Any]:
        """The inputs of a further conditioner for the crops of a batch."""
        conditioner, seconds = others(self._model[0])[name], self._model[0].max_duration

        def prepare(value: Any, start: float) -> Any:
            return None if value is None else conditioner.window(conditioner.prepare(value), start, seconds)

        return [prepare(value, start) for value, start in zip(values, starts, strict=True)]

    def to_device(self, device: torch.device) -> None:
        """Move the frozen text encoder, which is not a submodule."""
        self._text.to(device)

    def forward(self, inputs: Inputs) -> Losses:
        condition = self._text.condition(inputs.text)
        melody = None if inputs.melody is None else self._melody(inputs.melody)
        named = {"text": condition} if melody is None else {"text": condition, "melody": melody}
        named |= {name: self.conditioners[name](values) for name, values in inputs.conditions.items()}
        conditions = replace(self._model[0].fuser(named), positions=inputs.positions)
        with self._hidden_states() as hidden:
            logits = self.lm(inputs.sequence[:, :, :-1], conditions, predicting=inputs.steps)
        codes = inputs.sequence.gather(2, inputs.steps.expand(len(inputs.sequence), -1, -1))
        codes = codes.masked_fill(codes == self.special, _IGNORED)
        losses = F.cross_entropy(logits.flatten(0, 2).float(), codes.flatten(), ignore_index=_IGNORED, reduction="none")
        auxiliary = {}
        for name, targets in inputs.auxiliary_targets.items():
            # The states that predict a frame's first codebook.
            states = hidden[name][:, conditions.prefix_length + inputs.steps[0] - 1]
            auxiliary[name] = cast(AuxiliaryLoss, self.auxiliary[name])(states, targets, inputs.known)
        return Losses(losses.view_as(codes).sum(dim=(0, 2)), auxiliary)

    @contextmanager
    def _hidden_states(self) -> Iterator[dict[str, torch.Tensor]]:
        """Inside, the outputs of the layers that auxiliary losses read are kept: name of the loss -> [B, P + S, D]."""
        hidden: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda *call: hidden.__setitem__(name, call[2])

        with ExitStack() as hooks:
            for name, layer in self._layers.items():
                hook = self.lm.blocks[layer - 1].register_forward_hook(keep(name))
                hooks.callback(hook.remove)
            yield hidden

    def _melody(self, hot: torch.Tensor) -> Condition:
        """Frames [B, frames, 12] -> the condition of the melody model. Frames of zeros are null: class 0, as at inference."""
        assert self.melody_projection is not None
        null = F.one_hot(torch.zeros_like(hot[..., 0], dtype=torch.int64), chroma.NUM_CHROMA)
        values = self.melody_projection(torch.where(hot.bool().any(dim=-1, keepdim=True), hot, null).float())
        return Condition(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))
