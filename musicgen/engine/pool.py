"""Keys and values of many clips, each at a position of its own, and one step of the model for all of them, in PyTorch.

A fixed number of rows is allocated once. Clips come and go at any step: a clip's cache is computed alone (by
`LanguageModel` with a `KVCache`), copied into free rows, and the rows that are in use always lie together, so that a step
reads no others.

    rows      | clip A: text | clip A: null | clip B: text | clip B: null | free ...
    positions   0 ... lengths[row], the rest is not attended

A step reads and writes buffers that stay where they are, in one of a few shapes: on CUDA it is captured as a graph when a
shape is first met, and launched as one from then on. Guidance, sampling and patterns are the scheduler's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import KVCache, sinusoid

_POSITIONS = 256
_TEXTS = 32
"""A step's shape is a multiple of these, so that there are few shapes."""


@dataclass(eq=False)
class Seat:
    """The rows of one clip, in the order they were given. They may change whenever another clip leaves."""

    rows: list[int]


class TorchPool:
    """capacity: positions of a row, prefix included; text_capacity: vectors of a cross-attention condition."""

    def __init__(self, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        config = lm.config
        self.lm = lm
        self.capacity, self.text_capacity = capacity, text_capacity if config.cross_attention else 0
        like = lm.embedding.weight
        head = config.dim // config.num_heads

        def stores(length: int) -> list[torch.Tensor]:
            return [like.new_zeros(rows, config.num_heads, length, head) for _ in range(config.num_layers)]

        self._keys, self._values = stores(capacity), stores(capacity)
        self._cross_keys, self._cross_values = stores(self.text_capacity), stores(self.text_capacity)
        self._real = torch.zeros(rows, capacity, dtype=torch.bool, device=like.device)
        self._cross_real = torch.zeros(rows, self.text_capacity, dtype=torch.bool, device=like.device)
        self._lengths = [0] * rows
        self._counts = [0] * rows
        """Positions that are no padding: where in time a row is."""
        self._texts = [0] * rows
        self._seats: list[Seat] = []
        """Of the rows in use, row by row."""
        self._places = torch.zeros(2, rows, dtype=torch.int64, device=like.device)
        """What a step reads: where each row writes, where in time it is."""
        self._at, self._positions = self._places
        self._sequence = torch.zeros(rows, config.num_codebooks, 1, dtype=torch.int64, device=like.device)
        """And its codes."""
        self._index = torch.arange(rows, device=like.device)
        self._shape = (0, 0)
        """Rows and positions of the step being made."""
        self._graphs: dict[tuple[int, int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.cross: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * config.num_layers

    @property
    def rows(self) -> int:
        """All there are."""
        return len(self._lengths)

    @property
    def used(self) -> int:
        """Rows in use."""
        return len(self._seats)

    @property
    def bytes(self) -> int:
        """Of keys and values."""
        stores = (*self._keys, *self._values, *self._cross_keys, *self._cross_values)
        return sum(store.numel() * store.element_size() for store in stores)

    @torch.no_grad()
    def join(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Seat, torch.Tensor]:
        """Take in a clip: its first steps [rows, K, S] -> (its seat, logits [rows, K, N] of the last). There must be room."""
        cache = self.lm.new_cache(inputs.shape[0], conditions.prefix_length + inputs.shape[2])
        logits = self.lm(inputs, conditions, cache)[:, :, -1].float()
        return self._seat(cache, conditions), logits

    def _seat(self, cache: KVCache, conditions: Conditions) -> Seat:
        """Take over a clip whose first positions `cache` holds."""
        length, count = cache.length, cache.mask.shape[0]
        first = self.used
        if first + count > self.rows or length > self.capacity:
            raise ValueError(f"{count} rows of {length} positions do not fit: {self.rows - first} of {self.capacity}")
        rows = slice(first, first + count)
        for layer in range(len(self._keys)):
            self._keys[layer][rows, :, :length] = cache.keys[layer][:, :, :length]
            self._values[layer][rows, :, :length] = cache.values[layer][:, :, :length]
        self._real[rows] = False
        self._real[rows, :length] = cache.mask[:, :length]
        texts = 0
        if conditions.cross is not None:
            texts = conditions.cross.shape[1]
            for layer, known in enumerate(cache.cross):
                assert known is not None
                self._cross_keys[layer][rows, :, :texts], self._cross_values[layer][rows, :, :texts] = known
            self._cross_real[rows] = False
            self._cross_real[rows, :texts] = True if conditions.cross_mask is None else conditions.cross_mask
        counts = cache.mask[:, :length].sum(dim=1).tolist()
        seat = Seat(list(range(first, first + count)))
        for row, seen in zip(seat.rows, counts, strict=True):
            self._lengths[row], self._counts[row], self._texts[row] = length, seen, texts
        self._seats += [seat] * count
        return seat

    def leave(self, seat: Seat) -> None:
        """Free a clip's rows; the last rows in use move into the gaps."""
        for row in sorted(seat.rows, reverse=True):
            last = self.used - 1
            moved = self._seats.pop()
            if row != last:
                self._move(last, row)
                self._seats[row] = moved
                moved.rows[moved.rows.index(last)] = row
        seat.rows = []

    @torch.no_grad()
    def step(self, sequence: torch.Tensor) -> torch.Tensor:
        """The next step of every row in use, [rows, K, 1] -> logits [rows, K, N].

        The positions count only when `advance` is called: a step that failed can be made again.
        """
        used = self.used
        rows = min(self.rows, 1 << (used - 1).bit_length())
        idle = [0] * (rows - used)
        places = torch.tensor([self._lengths[:used] + idle, self._counts[:used] + idle])
        # Not waiting for the copy lets the processor prepare the next step while a GPU makes this one.
        self._places[:, :rows].copy_(places, non_blocking=True)
        self._sequence[:used].copy_(sequence)
        return self._run(rows, *self._extent())[:used].clone()

    def _extent(self) -> tuple[int, int]:
        """The positions and the vectors of the text that a step reads."""
        end = min(self.capacity, whole(max(self._lengths[: self.used]) + 1, _POSITIONS))
        return end, min(self.text_capacity, whole(max(self._texts[: self.used]), _TEXTS))

    def _run(self, rows: int, end: int, texts: int) -> torch.Tensor:
        if self._at.device.type != "cuda":
            return self._forward(rows, end, texts)
        shape = rows, end, texts
        with torch.cuda.device(self._at.device):
            if shape not in self._graphs:
                self._graphs[shape] = _capture(lambda: self._forward(*shape))
            graph, logits = self._graphs[shape]
            graph.replay()
        return logits

    def _forward(self, rows: int, end: int, texts: int) -> torch.Tensor:
        """A step of the first `rows` rows, over the first `end` positions and `texts` vectors of the text."""
        config = self.lm.config
        self._shape = rows, end
        self._real[:rows].scatter_(1, self._at[:rows, None], True)
        mask = self._real[:rows, None, None, :end]
        cross_mask = None
        if config.cross_attention:
            stores = zip(self._cross_keys, self._cross_values, strict=True)
            self.cross = [(k[:rows, :, :texts], v[:rows, :, :texts]) for k, v in stores]
            cross_mask = self._cross_real[:rows, None, None, :texts]
        x = self.lm.embed(self._sequence[:rows])
        x = x + sinusoid(self._positions[:rows, None], config.dim).to(x.dtype)
        for layer, block in enumerate(self.lm.blocks):
            x = block(x, mask, None, cross_mask, self, layer)
        return self.lm.predict(x)[:, :, 0].float()

    def advance(self) -> None:
        """The step that was made is one of the past."""
        for row in range(self.used):
            self._lengths[row] += 1
            self._counts[row] += 1

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For the blocks (`transformer.Cache`): every row writes at its own position."""
        rows, end = self._shape
        index, at = self._index[:rows], self._at[:rows]
        self._keys[layer][index, :, at] = k[:, :, 0]
        self._values[layer][index, :, at] = v[:, :, 0]
        return self._keys[layer][:rows, :, :end], self._values[layer][:rows, :, :end]

    def _move(self, source: int, target: int) -> None:
        length, texts = self._lengths[source], self._texts[source]
        for store in (*self._keys, *self._values):
            store[target, :, :length] = store[source, :, :length]
        for store in (*self._cross_keys, *self._cross_values):
            store[target, :, :texts] = store[source, :, :texts]
        self._real[target], self._cross_real[target] = self._real[source], self._cross_real[source]
        for values in (self._lengths, self._counts, self._texts):
            values[target] = values[source]


def whole(count: int, step: int) -> int:
    """`count`, rounded up to a multiple."""
    return -(-count // step) * step


def _capture(step: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """A step as a CUDA graph, and where its result will be."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # libraries set themselves up at the first call, which cannot be captured
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Another thread may be decoding: only what this one does is captured.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = step()
    return graph, result
