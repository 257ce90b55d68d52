"""A slot pool in plain PyTorch, and the base of the CUDA pool.

The KV cache has a fixed number of rows, allocated once. A clip is prefilled alone by `LanguageModel` with a `KVCache`,
which is then copied into free rows. Rows in use are always the first ones, so that a step reads no others.

    rows      | clip A: conditional | clip A: null | clip B: conditional | clip B: null | free ...
    positions   0 ... lengths[row], the rest is masked

A step reads and writes static buffers and has one of a few shapes. On CUDA it is captured as a graph the first time a
shape is seen, and replayed from then on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from musicgen.engine.slot_pool import Slot, round_up
from musicgen.lm import Conditions, LanguageModel
from musicgen.transformer import KVCache, sinusoid

# The shape of a step is rounded up to multiples of these, so that there are few shapes to capture.
_POSITION_MULTIPLE = 256
_TEXT_MULTIPLE = 32


class TorchPool:
    """A `SlotPool` that runs the modules as they are.

    Args:
        lm: The language model, on any device.
        rows: Number of rows.
        capacity: Positions per row, prefix included.
        text_capacity: Vectors per row of a cross-attention condition.
    """

    def __init__(self, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        config = lm.config
        self.lm = lm
        self.capacity, self.text_capacity = capacity, text_capacity if config.cross_attention else 0
        like = lm.embedding.weight
        head_dim = config.dim // config.num_heads

        def buffers(length: int) -> list[torch.Tensor]:
            return [like.new_zeros(rows, config.num_heads, length, head_dim) for _ in range(config.num_layers)]

        self._keys, self._values = buffers(capacity), buffers(capacity)
        self._cross_keys, self._cross_values = buffers(self.text_capacity), buffers(self.text_capacity)
        self._mask = torch.zeros(rows, capacity, dtype=torch.bool, device=like.device)
        self._cross_mask = torch.zeros(rows, self.text_capacity, dtype=torch.bool, device=like.device)
        self._lengths = [0] * rows
        """Cached positions of each row, padding inside the prefix included."""
        self._next_positions = [0] * rows
        """Position of the next step of each row; padding is not counted."""
        self._text_lengths = [0] * rows
        self._added: torch.Tensor | None = None
        """`Conditions.added` of all rows [rows, D]; None until a clip has it."""
        self._slots: list[Slot] = []
        """The slot of each row in use."""
        self._step_positions = torch.zeros(2, rows, dtype=torch.int64, device=like.device)
        """Static inputs of a step: where in the cache each row writes, and its position embedding."""
        self._write_positions, self._positions = self._step_positions
        self._sequence = torch.zeros(rows, config.num_codebooks, 1, dtype=torch.int64, device=like.device)
        """Static input of a step: the codes."""
        self._row_indices = torch.arange(rows, device=like.device)
        self._shape = (0, 0)
        """(rows, positions) of the current step."""
        self._graphs: dict[tuple[int, int, int], tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.cross: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * config.num_layers

    @property
    def rows(self) -> int:
        """Number of allocated rows."""
        return len(self._lengths)

    @property
    def used(self) -> int:
        """Number of rows in use."""
        return len(self._slots)

    @property
    def bytes(self) -> int:
        """Size of the KV cache, that of cross-attention included."""
        buffers = (*self._keys, *self._values, *self._cross_keys, *self._cross_values)
        return sum(buffer.numel() * buffer.element_size() for buffer in buffers)

    @torch.no_grad()
    def admit(self, inputs: torch.Tensor, conditions: Conditions) -> tuple[Slot, torch.Tensor]:
        """See `SlotPool.admit`."""
        cache = self.lm.new_cache(inputs.shape[0], conditions.prefix_length + inputs.shape[2])
        logits = self.lm(inputs, conditions, cache)[:, :, -1].float()
        return self._copy_in(cache, conditions), logits

    def _copy_in(self, cache: KVCache, conditions: Conditions) -> Slot:
        """Copy a prefilled cache into free rows."""
        length, count = cache.length, cache.mask.shape[0]
        first = self.used
        if first + count > self.rows or length > self.capacity:
            raise ValueError(f"{count} rows of {length} positions do not fit: {self.rows - first} of {self.capacity}")
        rows = slice(first, first + count)
        for layer in range(len(self._keys)):
            self._keys[layer][rows, :, :length] = cache.keys[layer][:, :, :length]
            self._values[layer][rows, :, :length] = cache.values[layer][:, :, :length]
        self._mask[rows] = False
        self._mask[rows, :length] = cache.mask[:, :length]
        text_length = 0
        if conditions.cross is not None:
            text_length = conditions.cross.shape[1]
            for layer, known in enumerate(cache.cross):
                assert known is not None
                self._cross_keys[layer][rows, :, :text_length], self._cross_values[layer][rows, :, :text_length] = known
            self._cross_mask[rows] = False
            self._cross_mask[rows, :text_length] = True if conditions.cross_mask is None else conditions.cross_mask
        self._copy_added(rows, conditions)
        unpadded = cache.mask[:, :length].sum(dim=1)
        next_positions = (unpadded + conditions.offsets.to(unpadded.device)).tolist()
        slot = Slot(list(range(first, first + count)))
        for row, position in zip(slot.rows, next_positions, strict=True):
            self._lengths[row], self._next_positions[row], self._text_lengths[row] = length, position, text_length
        self._slots += [slot] * count
        return slot

    def _copy_added(self, rows: slice, conditions: Conditions) -> None:
        if conditions.added is not None:
            if self._added is None:
                like = self.lm.embedding.weight
                self._added = like.new_zeros(self.rows, like.shape[1])
                self._graphs.clear()  # they were captured without
            self._added[rows] = conditions.added.to(self._added.dtype)
        elif self._added is not None:
            self._added[rows] = 0

    def release(self, slot: Slot) -> None:
        """Free the rows of a clip; the last rows in use are copied into the gaps."""
        for row in sorted(slot.rows, reverse=True):
            last = self.used - 1
            moved = self._slots.pop()
            if row != last:
                self._move(last, row)
                self._slots[row] = moved
                moved.rows[moved.rows.index(last)] = row
        slot.rows = []

    @torch.no_grad()
    def step(self, sequence: torch.Tensor) -> torch.Tensor:
        """See `SlotPool.step`."""
        used = self.used
        rows = min(self.rows, 1 << (used - 1).bit_length())
        unused = [0] * (rows - used)
        positions = torch.tensor([self._lengths[:used] + unused, self._next_positions[:used] + unused])
        # The copy is asynchronous, so that the CPU can prepare the next step while the GPU computes this one.
        self._step_positions[:, :rows].copy_(positions, non_blocking=True)
        self._sequence[:used].copy_(sequence)
        return self._run(rows, *self._attended())[:used].clone()

    def _attended(self) -> tuple[int, int]:
        """Number of positions and of text vectors that a step attends to, rounded up."""
        end = min(self.capacity, round_up(max(self._lengths[: self.used]) + 1, _POSITION_MULTIPLE))
        return end, min(self.text_capacity, round_up(max(self._text_lengths[: self.used]), _TEXT_MULTIPLE))

    def _run(self, rows: int, end: int, text_end: int) -> torch.Tensor:
        if self._write_positions.device.type != "cuda":
            return self._forward(rows, end, text_end)
        shape = rows, end, text_end
        with torch.cuda.device(self._write_positions.device):
            if shape not in self._graphs:
                self._graphs[shape] = _capture(lambda: self._forward(*shape))
            graph, logits = self._graphs[shape]
            graph.replay()
        return logits

    def _forward(self, rows: int, end: int, text_end: int) -> torch.Tensor:
        """One step of the first `rows` rows, over the first `end` positions and `text_end` vectors of the text."""
        config = self.lm.config
        self._shape = rows, end
        self._mask[:rows].scatter_(1, self._write_positions[:rows, None], True)
        mask = self._mask[:rows, None, None, :end]
        cross_mask = None
        if config.cross_attention:
            buffers = zip(self._cross_keys, self._cross_values, strict=True)
            self.cross = [(k[:rows, :, :text_end], v[:rows, :, :text_end]) for k, v in buffers]
            cross_mask = self._cross_mask[:rows, None, None, :text_end]
        x = self.lm.embed(self._sequence[:rows])
        if self._added is not None:
            x = x + self._added[:rows, None]
        x = x + sinusoid(self._positions[:rows, None], config.dim).to(x.dtype)
        for layer, block in enumerate(self.lm.blocks):
            x = block(x, mask, None, cross_mask, self, layer)
        return self.lm.predict(x)[:, :, 0].float()

    def advance(self) -> None:
        """See `SlotPool.advance`."""
        for row in range(self.used):
            self._lengths[row] += 1
            self._next_positions[row] += 1

    def update(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Implements `transformer.Cache` for the blocks: every row writes at its own position.

        Args:
            layer: Index of the layer.
            k: New keys [rows, H, 1, D / H].
            v: New values [rows, H, 1, D / H].

        Returns:
            Keys and values [rows, H, positions, D / H] of the positions that the step attends to.
        """
        rows, end = self._shape
        index, at = self._row_indices[:rows], self._write_positions[:rows]
        self._keys[layer][index, :, at] = k[:, :, 0]
        self._values[layer][index, :, at] = v[:, :, 0]
        return self._keys[layer][:rows, :, :end], self._values[layer][:rows, :, :end]

    def _move(self, source: int, target: int) -> None:
        length, text_length = self._lengths[source], self._text_lengths[source]
        for buffer in (*self._keys, *self._values):
            buffer[target, :, :length] = buffer[source, :, :length]
        for buffer in (*self._cross_keys, *self._cross_values):
            buffer[target, :, :text_length] = buffer[source, :, :text_length]
        self._mask[target], self._cross_mask[target] = self._mask[source], self._cross_mask[source]
        if self._added is not None:
            self._added[target] = self._added[source]
        for values in (self._lengths, self._next_positions, self._text_lengths):
            values[target] = values[source]


def _capture(step: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """Capture a step as a CUDA graph. Returns the graph and the tensor that a replay writes its result to."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # warm-up: libraries initialise on their first call, which cannot be captured
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Another thread may be decoding audio: only this thread's work is captured.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = step()
    return graph, result
