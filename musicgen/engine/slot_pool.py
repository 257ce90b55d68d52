"""Slot pools for continuous batching: the interface of all back ends, and the base class of the CPU back ends.

A slot holds the rows of one clip (one to three: conditional, null, melody only). A clip is admitted with its prefill,
takes part in every step, and is released at any step. KV-cache memory is allocated once, for a fixed number of rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import STABLE_ROWS, CrossAttention, sinusoid

CrossKeyValues = tuple[torch.Tensor, torch.Tensor]
"""Keys and values [L, 2, rows, H, T, D / H] of a clip's cross-attention condition, and its mask [rows, T] bool."""
MASKED_SCORE = -1e9
"""Added to the attention score of a padding position."""


@dataclass(eq=False)
class Slot:
    """The place of one clip in the batch.

    Attributes:
        rows: Its batch rows, in the order in which they were admitted. They may change whenever another clip is released.
    """

    rows: list[int]


class SlotPool(Protocol):
    """A running batch whose rows are each at their own position."""

    @property
    def rows(self) -> int:
        """Number of allocated rows."""
        ...

    @property
    def used(self) -> int:
        """Number of rows in use; they are the first ones of the batch."""
        ...

    @property
    def bytes(self) -> int:
        """Size of the allocated KV cache."""
        ...

    def admit(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Slot, torch.Tensor]:
        """Prefill a clip and add its rows to the batch.

        Args:
            inputs: Codes [rows, K, S] of the first S steps.
            conditions: The conditions of these rows.

        Returns:
            The clip's slot, and the float32 logits [rows, K, N] of the last of these steps.

        Raises:
            ValueError: If there are too few free rows, the clip has too many positions, or the back end cannot read its
                conditions.
        """
        ...

    def step(self, sequence: torch.Tensor) -> torch.Tensor:
        """Compute the next step of all rows in use.

        The positions advance only with `advance`, so that a failed step can be repeated.

        Args:
            sequence: Codes [rows, K, 1].

        Returns:
            Float32 logits [rows, K, N].
        """
        ...

    def advance(self) -> None:
        """Commit the last step: every row in use moves on by one position."""
        ...

    def release(self, slot: Slot) -> None:
        """Free the rows of a clip. Other clips' rows may be renumbered."""
        ...


class CpuPool(ABC):
    """Base of the CPU back ends: every batch row owns one row of the KV cache until its clip is released.

    Admitting or releasing a clip moves no keys or values. The inputs of a step form a ragged batch: the tokens of all
    rows one after the other, without padding. Back ends implement the forward pass and the KV cache.

    Args:
        lm: The language model.
        rows: Number of rows to allocate.
        capacity: Positions per row, prefix included.
    """

    def __init__(self, lm: LanguageModel, rows: int, capacity: int) -> None:
        self.lm, self.rows, self.capacity = lm, rows, capacity
        self._positions = sinusoid(torch.arange(capacity), lm.config.dim)
        self._free = list(range(rows))
        """Rows of the KV cache that are free."""
        # Of the batch rows in use, in order: their row of the KV cache, their length, and so on.
        self._cache_rows: list[int] = []
        self._lengths: list[int] = []
        self._offsets: list[int] = []
        """Position of the next step less the length."""
        self._slots: list[Slot] = []
        self._cross: dict[Slot, CrossKeyValues] = {}

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Size of the KV cache, that of cross-attention not included."""

    @abstractmethod
    def _forward(
        self, x: torch.Tensor, query_lengths: list[int], past_lengths: list[int], cache_rows: list[int]
    ) -> torch.Tensor:
        """The forward pass of a ragged batch.

        Args:
            x: Embedded tokens [tokens, D], float32; may be overwritten.
            query_lengths: Number of tokens of each row.
            past_lengths: Number of positions of each row that are cached already.
            cache_rows: Row of the KV cache of each row.

        Returns:
            Logits [rows, K, N] of the last token of each row.
        """

    @abstractmethod
    def _load_cross(self, cross: CrossKeyValues, cache_rows: list[int]) -> None:
        """Make the next forward pass, of these rows alone, attend to a condition."""

    @abstractmethod
    def _load_all_cross(self) -> None:
        """Make the next forward passes, of all rows in use, attend to their conditions."""

    @property
    def used(self) -> int:
        """Number of rows in use."""
        return len(self._slots)

    @torch.no_grad()
    def admit(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Slot, torch.Tensor]:
        """See `SlotPool.admit`."""
        if conditions.added is not None:
            raise ValueError("this back end cannot add conditions to the embeddings")
        count = inputs.shape[0]
        x, lengths = self._ragged(inputs, conditions)
        if count > len(self._free):
            raise ValueError(f"{count} rows do not fit: {len(self._free)} are free")
        cross = self._cross_key_values(conditions)
        cache_rows = self._free[:count]
        if cross is not None:
            self._load_cross(cross, cache_rows)
        try:
            logits = self._forward(x, lengths, [0] * count, cache_rows)
        finally:
            self._load_all_cross()
        slot = Slot(list(range(self.used, self.used + count)))
        del self._free[:count]
        self._cache_rows += cache_rows
        self._lengths += lengths
        self._offsets += conditions.offsets.expand(count).tolist()
        self._slots += [slot] * count
        if cross is not None:
            self._cross[slot] = cross
            self._load_all_cross()
        return slot, logits

    @torch.no_grad()
    def step(self, sequence: torch.Tensor) -> torch.Tensor:
        """See `SlotPool.step`."""
        x = self.lm.embed(sequence)[:, 0].float()
        x += self._positions[[length + offset for length, offset in zip(self._lengths, self._offsets, strict=True)]]
        return self._forward(x, [1] * self.used, self._lengths, self._cache_rows)

    def advance(self) -> None:
        """See `SlotPool.advance`."""
        self._lengths = [length + 1 for length in self._lengths]

    def release(self, slot: Slot) -> None:
        """Free the rows of a clip; the batch rows behind them move up."""
        released = set(slot.rows)
        self._free += [cache_row for row, cache_row in enumerate(self._cache_rows) if row in released]
        kept = [row for row in range(self.used) if row not in released]
        self._cache_rows = [self._cache_rows[row] for row in kept]
        self._lengths = [self._lengths[row] for row in kept]
        self._offsets = [self._offsets[row] for row in kept]
        self._slots = [self._slots[row] for row in kept]
        slot.rows = []
        for other in set(self._slots):
            other.rows = [row for row, owner in enumerate(self._slots) if owner is other]
        if self._cross.pop(slot, None) is not None:
            self._load_all_cross()

    def _ragged(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[torch.Tensor, list[int]]:
        """Prefix and codes of a clip -> embedded tokens [tokens, D] without padding, and the number of tokens of each row."""
        x = self.lm.embed(inputs).float()
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
        if conditions.prefix is not None:
            given = conditions.prefix_mask
            prefix_mask = torch.ones(conditions.prefix.shape[:2], dtype=torch.bool) if given is None else given
            x, mask = torch.cat([conditions.prefix.float(), x], dim=1), torch.cat([prefix_mask, mask], dim=1)
        lengths = mask.sum(dim=1).tolist()
        if max(lengths) > self.capacity:
            raise ValueError(f"{max(lengths)} positions do not fit: a row has {self.capacity}")
        positions = conditions.placed(mask.cumsum(dim=1) - 1)
        return x[mask] + self._positions[positions[mask]], lengths

    def _cross_key_values(self, conditions: Conditions) -> CrossKeyValues | None:
        if conditions.cross is None:
            return None
        given = conditions.cross_mask
        mask = torch.ones(conditions.cross.shape[:2], dtype=torch.bool) if given is None else given
        return self._project(conditions.cross), mask

    def _project(self, condition: torch.Tensor) -> torch.Tensor:
        """Condition [rows, T, D] -> keys and values [L, 2, rows, H, T, D / H] of all layers, float32."""
        length = condition.shape[1]
        condition = nn.functional.pad(condition, (0, 0, 0, -length % STABLE_ROWS)).to(self.lm.embedding.weight.dtype)
        attentions = [block.cross_attention for block in self.lm.blocks]
        projected = [torch.stack(one.project(condition)) for one in attentions if isinstance(one, CrossAttention)]
        return torch.stack(projected).float()[..., :length, :]


def round_up(count: int, multiple: int) -> int:
    """Returns `count` rounded up to a multiple of `multiple`."""
    return -(-count // multiple) * multiple
