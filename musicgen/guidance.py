"""Classifier-free guidance over any number of conditions (paper section 2.3).

Each clip has several rows in the batch:

    row 0          all conditions
    row 1 ...      subsets of them, if conditions have separate guidance scales
    last row       the null conditions

    mixed = last + ... + scale 1 * (row 1 - row 2) + scale 0 * (row 0 - row 1)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from musicgen.conditioners.condition import Condition, stack
from musicgen.conditioners.fuser import Fuser
from musicgen.lm import Conditions
from musicgen.options import GenerationOptions

MAX_ROWS = 3
"""The most rows for each clip that the options ask for."""


@dataclass(frozen=True)
class GuidanceRow:
    """One row of each clip.

    Attributes:
        present: The conditions that this row has; it has the null of the others.
        scale: Of the difference between this row and the next one. The last row has none.
    """

    present: frozenset[str]
    scale: float = 1.0


@dataclass(frozen=True)
class Guided:
    """The rows of B clips.

    Attributes:
        conditions: Of groups * B rows, group after group, in the order of `rows`.
        rows: The rows of each clip, from all conditions to none.
        lengths: Name of each condition -> number of its vectors.
    """

    conditions: Conditions
    rows: tuple[GuidanceRow, ...]
    lengths: Mapping[str, int]

    @property
    def groups(self) -> int:
        """Number of rows for each clip: 1 without guidance."""
        return len(self.rows)

    def with_positions(self, positions: torch.Tensor) -> Guided:
        """The same with the positions of the first steps, int64 [n], of all rows."""
        rows = positions.expand(self.conditions.batch, -1)
        return dataclasses.replace(self, conditions=dataclasses.replace(self.conditions, positions=rows))

    def without_repeats(self) -> Guided:
        """The same with one row a clip where all rows of every clip have equal conditions, as without text and melody: then
        all rows have equal logits, and their mixture is these logits."""
        if self.groups == 1 or not self.conditions.repeat(self.groups):
            return self
        rows = self.rows[-1:]
        return Guided(self.conditions.of(slice(0, self.conditions.batch // self.groups)), rows, self.lengths)

    def mix(self, logits: torch.Tensor) -> torch.Tensor:
        """Combine logits [groups * B, ...] to [B, ...] by the guidance scales."""
        values = logits.unflatten(0, (self.groups, -1))
        mixed = values[-1]
        for i in reversed(range(self.groups - 1)):
            mixed = mixed + self.rows[i].scale * (values[i] - values[i + 1])
        return mixed


def guidance_rows(options: GenerationOptions, names: Iterable[str]) -> tuple[GuidanceRow, ...]:
    """The rows that the options ask for.

    Args:
        options: Their guidance scales, completed by the model's generator.
        names: The conditions of the model.

    Raises:
        InputError: Several of these conditions have a scale of their own, or one is named that the model does not have.
    """
    every, none = frozenset(names), GuidanceRow(frozenset())
    own, common = options.scales_among(every), options.guidance_scale
    assert common is not None
    for name, scale in own.items():
        return GuidanceRow(every, common), GuidanceRow(frozenset({name}), scale), none
    if common != 1.0:
        return GuidanceRow(every, common), none
    return (GuidanceRow(every),)


def guided(
    conditions: Mapping[str, Condition], nulls: Mapping[str, Condition], rows: tuple[GuidanceRow, ...], fuser: Fuser
) -> Guided:
    """Stack the conditions of all rows.

    Args:
        conditions: Name -> the condition of the B clips.
        nulls: Name -> what guidance steers away from: the null condition, or that of a negative prompt.
        rows: From `guidance_rows`.
        fuser: How the language model reads the conditions.
    """
    stacked = {
        name: stack([given if name in row.present else nulls[name] for row in rows])
        for name, given in conditions.items()
    }
    lengths = {name: condition.values.shape[1] for name, condition in stacked.items()}
    return Guided(fuser(stacked), rows, lengths)
