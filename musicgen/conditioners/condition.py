"""A condition of a batch: a sequence of vectors for each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Condition:
    """A sequence of vectors for each row.

    Attributes:
        values: [B, L, D] in the width of the language model, zero at padding.
        mask: bool [B, L], False at padding.
    """

    values: torch.Tensor
    mask: torch.Tensor

    def zeroed(self) -> Condition:
        """The null text of guidance: zero vectors, as many as each row's own text has."""
        return Condition(torch.zeros_like(self.values), self.mask)

    def padded(self, length: int) -> Condition:
        """The same padded to L = `length`, which must not be shorter."""
        missing = length - self.values.shape[1]
        pad = torch.nn.functional.pad
        return Condition(pad(self.values, (0, 0, 0, missing)), pad(self.mask, (0, missing)))


def stack(conditions: list[Condition]) -> Condition:
    """Concatenate conditions along the batch, padded to the longest."""
    length = max(condition.values.shape[1] for condition in conditions)
    padded = [condition.padded(length) for condition in conditions]
    return Condition(torch.cat([c.values for c in padded]), torch.cat([c.mask for c in padded]))
