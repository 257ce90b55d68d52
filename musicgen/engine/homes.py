"""Rows of many clips, each with a home in a store that is allocated once: what the pools on the CPU share.

A clip that joins or leaves moves nothing. What enters a step lies token after token without padding; how the model reads
it, and where keys and values are, is each pool's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from musicgen.engine.pool import Seat
from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import CrossAttention, sinusoid

Text = tuple[torch.Tensor, torch.Tensor]
"""Keys and values [L, 2, rows, H, T, D / H] of a clip's text, and its mask [rows, T]."""


class HomePool(ABC):
    """capacity: positions of a row, prefix included."""

    def __init__(self, lm: LanguageModel, rows: int, capacity: int) -> None:
        self.lm, self.rows, self.capacity = lm, rows, capacity
        self._positions = sinusoid(torch.arange(capacity), lm.config.dim)
        self._free = list(range(rows))
        """Where in the store a row that joins may live."""
        self._homes: list[int] = []
        self._lengths: list[int] = []
        self._seats: list[Seat] = []
        """All three of the rows in use, in the order of a step's batch."""
        self._texts: dict[Seat, Text] = {}

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Of keys and values, those of texts not counted."""

    @abstractmethod
    def _infer(self, x: torch.Tensor, entering: list[int], past: list[int], homes: list[int]) -> torch.Tensor:
        """x [tokens, D], `entering[r]` of them row r's, after `past[r]` -> logits [rows, K, N] of each row's last.

        x may be overwritten.
        """

    @abstractmethod
    def _read_text(self, text: Text, homes: list[int]) -> None:
        """Let the next step, of the rows at these homes alone, read a text."""

    @abstractmethod
    def _read_texts(self) -> None:
        """Let the next steps, of all rows in use, read their texts."""

    @property
    def used(self) -> int:
        """Rows in use."""
        return len(self._seats)

    @torch.no_grad()
    def join(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Seat, torch.Tensor]:
        """Take in a clip: its first steps [rows, K, S] -> (its seat, logits [rows, K, N] of the last). There must be room."""
        count = inputs.shape[0]
        x, lengths = self._entering(inputs, conditions)
        if count > len(self._free):
            raise ValueError(f"{count} rows do not fit: {len(self._free)} are free")
        text = self._text(conditions)
        homes = self._free[:count]
        if text is not None:
            self._read_text(text, homes)
        try:
            logits = self._infer(x, lengths, [0] * count, homes)
        finally:
            self._read_texts()
        seat = Seat(list(range(self.used, self.used + count)))
        del self._free[:count]
        self._homes += homes
        self._lengths += lengths
        self._seats += [seat] * count
        if text is not None:
            self._texts[seat] = text
            self._read_texts()
        return seat, logits

    @torch.no_grad()
    def step(self, sequence: torch.Tensor) -> torch.Tensor:
        """The next step of every row in use, [rows, K, 1] -> logits [rows, K, N].

        The positions count only when `advance` is called: a step that failed can be made again.
        """
        x = self.lm.embed(sequence)[:, 0].float()
        x += self._positions[self._lengths]
        return self._infer(x, [1] * self.used, self._lengths, self._homes)

    def advance(self) -> None:
        """The step that was made is one of the past."""
        self._lengths = [length + 1 for length in self._lengths]

    def leave(self, seat: Seat) -> None:
        """Free a clip's rows; the rows behind it move up."""
        gone = set(seat.rows)
        self._free += [home for row, home in enumerate(self._homes) if row in gone]
        kept = [row for row in range(self.used) if row not in gone]
        self._homes = [self._homes[row] for row in kept]
        self._lengths = [self._lengths[row] for row in kept]
        self._seats = [self._seats[row] for row in kept]
        seat.rows = []
        for other in set(self._seats):
            other.rows = [row for row, owner in enumerate(self._seats) if owner is other]
        if self._texts.pop(seat, None) is not None:
            self._read_texts()

    def _entering(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[torch.Tensor, list[int]]:
        """What enters at first, row after row without padding, and how much of it is each row's."""
        x = self.lm.embed(inputs).float()
        real = torch.ones(x.shape[:2], dtype=torch.bool)
        if conditions.prefix is not None:
            mask = conditions.prefix_mask
            before = torch.ones(conditions.prefix.shape[:2], dtype=torch.bool) if mask is None else mask
            x, real = torch.cat([conditions.prefix.float(), x], dim=1), torch.cat([before, real], dim=1)
        lengths = real.sum(dim=1).tolist()
        if max(lengths) > self.capacity:
            raise ValueError(f"{max(lengths)} positions do not fit: a row has {self.capacity}")
        return x[real] + self._positions[(real.cumsum(dim=1) - 1)[real]], lengths

    def _text(self, conditions: Conditions) -> Text | None:
        if conditions.cross is None:
            return None
        mask = conditions.cross_mask
        real = torch.ones(conditions.cross.shape[:2], dtype=torch.bool) if mask is None else mask
        return self._project(conditions.cross), real

    def _project(self, condition: torch.Tensor) -> torch.Tensor:
        """[rows, T, D] -> its keys and values."""
        condition = condition.to(self.lm.embedding.weight.dtype)
        attentions = [block.cross_attention for block in self.lm.blocks]
        projected = [torch.stack(one.project(condition)) for one in attentions if isinstance(one, CrossAttention)]
        return torch.stack(projected).float()
