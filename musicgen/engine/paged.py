"""Rows of many clips on the CPU, stepped by the compiled graph (`graph.py`): same interface as `pool.Pool`.

Keys and values are allocated once, in blocks; every row owns as many as its longest clip can fill, so a clip that joins or
leaves moves nothing. Where the weights have 8 or 4 bits, so have keys and values 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from musicgen.engine.graph import EMPTY
from musicgen.engine.pool import Seat
from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import CrossAttention, sinusoid

if TYPE_CHECKING:
    import openvino

BLOCK = 32
"""Positions of a block."""


class PagedPool:
    """capacity: positions of a row, prefix included. A clip's text may be of any length."""

    def __init__(self, compiled: openvino.CompiledModel, lm: LanguageModel, rows: int, capacity: int) -> None:
        import openvino

        self._tensor = openvino.Tensor
        self.lm, self.rows, self.capacity = lm, rows, capacity
        self._blocks_of_a_row = -(-capacity // BLOCK)
        self._request = compiled.create_infer_request()
        self._held: dict[str, np.ndarray] = {}
        self._stores: list[openvino.Tensor] = []
        for port in compiled.inputs:
            if "_cache." in port.get_any_name():
                shape = [
                    rows * self._blocks_of_a_row,
                    *(dim.get_length() for dim in list(port.get_partial_shape())[1:]),
                ]
                # Zeros of the operating system: pages are taken when they are first written.
                zeros = np.zeros(int(np.prod(shape)) * port.get_element_type().size, dtype=np.uint8)
                self._held[port.get_any_name()] = zeros
                store = openvino.Tensor(zeros, openvino.Shape(shape), port.get_element_type())
                self._request.set_tensor(port, store)
                self._stores.append(store)
        self._positions = sinusoid(torch.arange(capacity), lm.config.dim)
        self._free = list(range(rows))
        """Where in the store a row that joins may live."""
        self._homes: list[int] = []
        self._lengths: list[int] = []
        self._seats: list[Seat] = []
        """All three of the rows in use, in the order of a step's batch."""
        self._texts: dict[Seat, tuple[torch.Tensor, torch.Tensor]] = {}
        """Keys and values [L, 2, rows, H, T, D / H] of a clip's text, and its mask [rows, T]."""

    @property
    def used(self) -> int:
        """Rows in use."""
        return len(self._seats)

    @property
    def bytes(self) -> int:
        """Of keys and values, those of texts not counted."""
        return sum(store.byte_size for store in self._stores)

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
            self._enter_texts([text])
        try:
            logits = self._infer(x, lengths, [0] * count, homes)
        finally:
            if self._texts:
                self._enter_texts(list(self._texts.values()))
        seat = Seat(list(range(self.used, self.used + count)))
        if text is not None:
            self._texts[seat] = text
            self._enter_texts(list(self._texts.values()))
        del self._free[:count]
        self._homes += homes
        self._lengths += lengths
        self._seats += [seat] * count
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
        if self._texts.pop(seat, None) is not None and self._texts:
            self._enter_texts(list(self._texts.values()))

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

    def _text(self, conditions: Conditions) -> tuple[torch.Tensor, torch.Tensor] | None:
        if conditions.cross is None:
            return None
        condition = conditions.cross.to(self.lm.embedding.weight.dtype)
        attentions = [block.cross_attention for block in self.lm.blocks]
        projected = [torch.stack(one.project(condition)) for one in attentions if isinstance(one, CrossAttention)]
        mask = conditions.cross_mask
        return torch.stack(projected).float(), torch.ones(condition.shape[:2]).bool() if mask is None else mask

    def _enter_texts(self, texts: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """The clips' texts, one under the other, padded to the longest."""
        rows, longest = sum(mask.shape[0] for _, mask in texts), max(mask.shape[1] for _, mask in texts)
        layers, _, _, heads, _, head = texts[0][0].shape
        keys, values = torch.zeros(layers, rows, heads, head, longest), torch.zeros(layers, rows, heads, longest, head)
        scores = torch.full((rows, 1, 1, longest), EMPTY)
        row = 0
        for projected, mask in texts:
            end, length = row + mask.shape[0], mask.shape[1]
            keys[:, row:end, ..., :length] = projected[:, 0].transpose(-1, -2) * head**-0.5
            values[:, row:end, :, :length] = projected[:, 1]
            scores[row:end, 0, 0, :length] = torch.where(mask, 0.0, EMPTY)
            row = end
        for layer in range(layers):
            self._set(f"cross_key.{layer}", keys[layer].numpy())
            self._set(f"cross_value.{layer}", values[layer].numpy())
        self._set("cross_mask", scores.numpy())

    def _infer(self, x: torch.Tensor, entering: list[int], past: list[int], homes: list[int]) -> torch.Tensor:
        """x [tokens, D], `entering[r]` of them row r's -> logits [rows, K, N]."""
        filled = np.array(past, dtype=np.int32) + np.array(entering, dtype=np.int32)
        needed = -(-filled // BLOCK)
        begins = np.concatenate([[0], np.cumsum(entering)]).astype(np.int32)
        blocks = [home * self._blocks_of_a_row + np.arange(count) for home, count in zip(homes, needed, strict=True)]
        self._set("x", x.contiguous().numpy())
        self._set("past", np.array(past, dtype=np.int32))
        self._set("begins", begins)
        self._set("blocks", np.concatenate(blocks).astype(np.int32))
        self._set("block_begins", np.concatenate([[0], np.cumsum(needed)]).astype(np.int32))
        self._set("longest", np.array(filled.max(), dtype=np.int32))
        self._set("last", begins[1:] - 1)
        self._request.infer()
        config = self.lm.config
        logits = torch.from_numpy(self._request.get_output_tensor(0).data)
        return logits.view(-1, config.num_codebooks, config.codebook_size).clone()

    def _set(self, name: str, values: np.ndarray) -> None:
        self._held[name] = values  # the request reads it where it is
        self._request.set_tensor(name, self._tensor(values, shared_memory=values.ndim > 0))
