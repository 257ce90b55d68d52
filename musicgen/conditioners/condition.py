"""One condition of a batch, and how several become what the language model takes (paper sections 2.3 and 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from musicgen.lm import Conditions


@dataclass(frozen=True)
class Condition:
    """values: [B, L, D] in the language model's width, zero at padding; mask: [B, L] bool, False at padding."""

    values: torch.Tensor
    mask: torch.Tensor

    def zeroed(self) -> Condition:
        """The null text: zero vectors, as many as each clip's own text has."""
        return Condition(torch.zeros_like(self.values), self.mask)

    def padded(self, length: int) -> Condition:
        """The same with L = `length` (not shorter than it is)."""
        missing = length - self.values.shape[1]
        pad = torch.nn.functional.pad
        return Condition(pad(self.values, (0, 0, 0, missing)), pad(self.mask, (0, missing)))


def stack(conditions: list[Condition]) -> Condition:
    """Rows of several conditions under one another, padded to the longest."""
    length = max(condition.values.shape[1] for condition in conditions)
    padded = [condition.padded(length) for condition in conditions]
    return Condition(torch.cat([c.values for c in padded]), torch.cat([c.mask for c in padded]))


def join(text: Condition, melody: Condition | None, *, cross_attention: bool) -> Conditions:
    """Text by cross-attention, or [melody | text] as a prefix for models without it."""
    if cross_attention:
        return Conditions(cross=text.values, cross_mask=text.mask)
    if melody is None and text.values.shape[1] == 0:
        return Conditions()
    if melody is None:
        return Conditions(prefix=text.values, prefix_mask=text.mask)
    return Conditions(
        prefix=torch.cat([melody.values, text.values], dim=1), prefix_mask=torch.cat([melody.mask, text.mask], dim=1)
    )
