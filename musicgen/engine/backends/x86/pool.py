"""A slot pool on the CPU that runs the x86-64 kernels (`step`).

Every row of the KV cache is allocated once. Prefill uses the same code as decoding, up to `MAX_BATCHED_TOKENS` tokens per call.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import torch

from musicgen.engine.backends.x86 import (
    GROUP_MULTIPLE,
    GROUP_SIZE,
    HEAD_DIM,
    MAX_BATCHED_TOKENS,
    PAGE_SIZE,
    float32_bytes,
    quantized_bytes,
)
from musicgen.engine.backends.x86.gemm import GEMM_MIN_TOKENS
from musicgen.engine.backends.x86.kv_cache import allocate
from musicgen.engine.backends.x86.step import CacheBuffers, Workspace, linear, step
from musicgen.engine.backends.x86.weights import WeightTable
from musicgen.engine.precision import precision_of
from musicgen.engine.slot_pool import MASKED_SCORE, CpuPool, CrossKeyValues, round_up
from musicgen.lm import LanguageModel

_numba_lock = threading.Lock()


class X86Pool(CpuPool):
    """A `SlotPool` on the x86-64 kernels.

    Args:
        table: The weights of `lm`.
        lm: The language model.
        rows: Number of rows.
        capacity: Positions per row, prefix included.
        text_capacity: Vectors per row of a cross-attention condition.
    """

    def __init__(self, table: WeightTable, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        super().__init__(lm, rows, capacity)
        self._table = table
        config = lm.config
        cross_length = text_capacity if config.cross_attention else 0
        layers, heads, positions = config.num_layers, config.num_heads, round_up(capacity, PAGE_SIZE)
        float32 = precision_of(lm) == "float32"
        self._buffers = CacheBuffers(
            cache=allocate(layers, rows, heads, (float32_bytes if float32 else quantized_bytes)(capacity)),
            float32=float32,
            cross_keys=np.zeros((layers, rows, heads, cross_length, HEAD_DIM), dtype=np.float32),
            cross_values=np.zeros((layers, rows, heads, cross_length, HEAD_DIM), dtype=np.float32),
            cross_masks=np.zeros((rows, cross_length), dtype=np.float32),
            cross_lengths=np.zeros(rows, dtype=np.int64),
        )
        tokens, widest = MAX_BATCHED_TOKENS, max(3 * config.dim, config.ffn_dim)
        groups = round_up(widest // GROUP_SIZE, GROUP_MULTIPLE)
        self._workspace = Workspace(
            codes=np.zeros((tokens, widest), dtype=np.int8),
            scales=np.zeros((tokens, groups), dtype=np.float32),
            sums=np.zeros((tokens, groups), dtype=np.float32),
            wide=np.zeros((tokens, widest), dtype=np.float32),
            narrow=np.zeros((tokens, config.dim), dtype=np.float32),
            queries=np.zeros((tokens, heads, 2 * HEAD_DIM), dtype=np.int8),
            scores=np.zeros((tokens, heads, max(positions, round_up(cross_length, PAGE_SIZE))), dtype=np.float32),
        )

    @property
    def bytes(self) -> int:
        """Size of the KV cache, that of cross-attention not included."""
        return self._buffers.cache.nbytes

    def _load_cross(self, cross: CrossKeyValues, cache_rows: list[int]) -> None:
        projected, mask = cross
        length = mask.shape[1]
        if length > self._buffers.cross_masks.shape[1]:
            raise ValueError(
                f"a text of {length} vectors does not fit: there is room for {self._buffers.cross_masks.shape[1]}"
            )
        self._buffers.cross_keys[:, cache_rows, :, :length] = projected[:, 0].numpy()
        self._buffers.cross_values[:, cache_rows, :, :length] = projected[:, 1].numpy()
        self._buffers.cross_masks[cache_rows, :length] = torch.where(mask, 0.0, MASKED_SCORE).numpy()
        self._buffers.cross_lengths[cache_rows] = length

    def _load_all_cross(self) -> None:
        """Nothing to do: every cache row keeps its condition."""

    def _project(self, condition: torch.Tensor) -> torch.Tensor:
        rows, length, dim = condition.shape
        layers, heads = self.lm.config.num_layers, self.lm.config.num_heads
        vectors, workspace = condition.float().reshape(-1, dim).numpy(), self._workspace
        projected = np.empty((layers, rows * length, 2 * dim), dtype=np.float32)
        with self._threads():
            for layer, entry in enumerate(self._table.cross_key_values):
                for begin in range(0, len(vectors), MAX_BATCHED_TOKENS):
                    part = slice(begin, min(begin + MAX_BATCHED_TOKENS, len(vectors)))
                    count = part.stop - begin
                    scratch = workspace.codes[:count], workspace.scales[:count], workspace.sums[:count]
                    linear(entry, vectors[part], *scratch, projected[layer, part], False)
        return torch.from_numpy(projected).view(layers, rows, length, 2, heads, HEAD_DIM).permute(0, 3, 1, 4, 2, 5)

    def _forward(
        self, x: torch.Tensor, query_lengths: list[int], past_lengths: list[int], cache_rows: list[int]
    ) -> torch.Tensor:
        config = self.lm.config
        tokens = x.numpy()  # overwritten by the step
        token_rows = np.repeat(np.array(cache_rows, dtype=np.int64), query_lengths)
        positions = np.concatenate(
            [
                np.arange(begin, begin + count, dtype=np.int64)
                for begin, count in zip(past_lengths, query_lengths, strict=True)
            ]
        )
        last = np.cumsum(query_lengths) - 1
        logits = np.empty((len(cache_rows), config.num_codebooks * config.codebook_size), dtype=np.float32)
        with self._threads():
            for part, use_gemm in _chunks(query_lengths):
                ends = np.flatnonzero((last >= part.start) & (last < part.stop))
                chunk_logits = np.empty((len(ends), logits.shape[1]), dtype=np.float32)
                step(
                    tokens[part],
                    token_rows[part],
                    positions[part],
                    last[ends] - part.start,
                    use_gemm,
                    self._table.weights,
                    self._buffers,
                    self._workspace,
                    chunk_logits,
                )
                logits[ends] = chunk_logits
        return torch.from_numpy(logits).view(-1, config.num_codebooks, config.codebook_size)

    @staticmethod
    @contextmanager
    def _threads() -> Iterator[None]:
        """Use as many Numba threads as PyTorch has. Under a lock: not all of Numba's threading layers are thread-safe."""
        with _numba_lock:
            numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
            yield


def _chunks(query_lengths: list[int]) -> Iterator[tuple[slice, bool]]:
    """Split a ragged batch into chunks of tokens, each with whether it uses GEMM.

    That is decided by the number of tokens of each row alone: a clip's result must not depend on the clips admitted with it.
    """
    begin = 0
    for use_gemm, counts in itertools.groupby(query_lengths, lambda count: count >= GEMM_MIN_TOKENS):
        end = begin + sum(counts)
        for start in range(begin, end, MAX_BATCHED_TOKENS):
            yield slice(start, min(start + MAX_BATCHED_TOKENS, end)), use_gemm
        begin = end
