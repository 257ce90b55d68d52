"""How the conditions of a model reach its language model (paper sections 2.3 and 2.4).

    cross     vectors that cross-attention attends
    prefix    vectors before the steps of the sequence
    sum       one vector, added to the embedding of every step

Several conditions that are fused in the same way are concatenated, or added, in the order of the model's conditioners.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from musicgen.conditioners.condition import Condition
from musicgen.errors import CheckpointError
from musicgen.lm import Conditions

FUSIONS = ("cross", "prefix", "sum")


class Fuser:
    """Combines the conditions of a model.

    Args:
        fusions: Name of each condition -> how it is fused, in the order of concatenation.
        cross_attention: Whether the language model has cross-attention.

    Raises:
        CheckpointError: The language model cannot read the conditions in this way.
    """

    def __init__(self, fusions: Mapping[str, str], *, cross_attention: bool) -> None:
        for name, fusion in fusions.items():
            if fusion not in FUSIONS:
                raise CheckpointError(
                    f"the condition {name!r} is fused by {fusion!r}, which is not supported: one of {', '.join(FUSIONS)}"
                )
        if cross_attention != ("cross" in fusions.values()):
            have, fused = ("with", "none") if cross_attention else ("without", "one")
            raise CheckpointError(
                f"a language model {have} cross-attention, and {fused} of the conditions is fused by cross-attention "
                f"({', '.join(f'{name}: {fusion}' for name, fusion in fusions.items())})"
            )
        self.fusions = dict(fusions)

    def names(self, fusion: str) -> list[str]:
        """The conditions that are fused in a way."""
        return [name for name, one in self.fusions.items() if one == fusion]

    def __call__(self, conditions: Mapping[str, Condition]) -> Conditions:
        """Combine the conditions of a batch, each [B, L, D], into those that the language model reads."""
        cross, cross_mask = _joined([conditions[name] for name in self.names("cross")])
        prefix, prefix_mask = _joined([conditions[name] for name in self.names("prefix")])
        if prefix is not None and prefix.shape[1] == 0:
            prefix = prefix_mask = None
        return Conditions(cross, cross_mask, prefix, prefix_mask, _added([conditions[n] for n in self.names("sum")]))


def _added(conditions: list[Condition]) -> torch.Tensor | None:
    """The sum [B, D] of conditions of one vector; None for none."""
    vectors = [(condition.values * condition.mask[..., None])[:, 0] for condition in conditions]
    return torch.stack(vectors).sum(dim=0) if vectors else None


def _joined(conditions: list[Condition]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Values and mask of conditions one after the other; None for none."""
    if not conditions:
        return None, None
    if len(conditions) == 1:
        return conditions[0].values, conditions[0].mask
    return torch.cat([c.values for c in conditions], dim=1), torch.cat([c.mask for c in conditions], dim=1)
