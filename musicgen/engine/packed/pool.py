"""Rows of many clips on the CPU, stepped by compiled code on packed weights: same interface as `engine.pool.Pool`.

Every row has a home of its own for keys and values (`cache`), which is allocated once. Clips of a prefix or a prompt enter by
the same step, many tokens at a time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import torch

from musicgen.engine.graph import EMPTY
from musicgen.engine.homes import HomePool, Text
from musicgen.engine.packed import GROUP, HEAD, PAGE, TERMS, TOKENS, exact_bytes, head_bytes
from musicgen.engine.packed.cache import allocate
from musicgen.engine.packed.crowds import MANY
from musicgen.engine.packed.step import Room, Store, product, step
from musicgen.engine.packed.weights import Table
from musicgen.engine.pool import whole
from musicgen.engine.precision import precision_of
from musicgen.lm import LanguageModel

_turn = threading.Lock()


class PackedPool(HomePool):
    """table: of `lm`'s weights; text_capacity: vectors of a text."""

    def __init__(self, table: Table, lm: LanguageModel, rows: int, capacity: int, text_capacity: int) -> None:
        super().__init__(lm, rows, capacity)
        self._table = table
        config = lm.config
        texts = text_capacity if config.cross_attention else 0
        layers, heads, positions = config.num_layers, config.num_heads, whole(capacity, PAGE)
        exact = precision_of(lm) == "float32"
        self._store = Store(
            cache=allocate(layers, rows, heads, (exact_bytes if exact else head_bytes)(capacity)),
            exact=exact,
            text_keys=np.zeros((layers, rows, heads, texts, HEAD), dtype=np.float32),
            text_values=np.zeros((layers, rows, heads, texts, HEAD), dtype=np.float32),
            text_masks=np.zeros((rows, texts), dtype=np.float32),
            text_counts=np.zeros(rows, dtype=np.int64),
        )
        tokens, widest = TOKENS, max(3 * config.dim, config.ffn_dim)
        groups = whole(widest // GROUP, TERMS)
        self._room = Room(
            codes=np.zeros((tokens, widest), dtype=np.int8),
            steps=np.zeros((tokens, groups), dtype=np.float32),
            sums=np.zeros((tokens, groups), dtype=np.float32),
            wide=np.zeros((tokens, widest), dtype=np.float32),
            narrow=np.zeros((tokens, config.dim), dtype=np.float32),
            queries=np.zeros((tokens, heads, 2 * HEAD), dtype=np.int8),
            scores=np.zeros((tokens, heads, max(positions, whole(texts, PAGE))), dtype=np.float32),
        )

    @property
    def bytes(self) -> int:
        return self._store.cache.nbytes

    def _read_text(self, text: Text, homes: list[int]) -> None:
        projected, mask = text
        length = mask.shape[1]
        if length > self._store.text_masks.shape[1]:
            raise ValueError(
                f"a text of {length} vectors does not fit: there is room for {self._store.text_masks.shape[1]}"
            )
        self._store.text_keys[:, homes, :, :length] = projected[:, 0].numpy()
        self._store.text_values[:, homes, :, :length] = projected[:, 1].numpy()
        self._store.text_masks[homes, :length] = torch.where(mask, 0.0, EMPTY).numpy()
        self._store.text_counts[homes] = length

    def _read_texts(self) -> None:
        """They stay at their homes."""

    def _project(self, condition: torch.Tensor) -> torch.Tensor:
        rows, length, dim = condition.shape
        layers, heads = self.lm.config.num_layers, self.lm.config.num_heads
        vectors, room = condition.float().reshape(-1, dim).numpy(), self._room
        made = np.empty((layers, rows * length, 2 * dim), dtype=np.float32)
        with self._threads():
            for layer, entry in enumerate(self._table.texts):
                for begin in range(0, len(vectors), TOKENS):
                    part = slice(begin, min(begin + TOKENS, len(vectors)))
                    count = part.stop - begin
                    rounded = room.codes[:count], room.steps[:count], room.sums[:count]
                    product(entry, vectors[part], *rounded, made[layer, part], False)
        return torch.from_numpy(made).view(layers, rows, length, 2, heads, HEAD).permute(0, 3, 1, 4, 2, 5)

    def _infer(self, x: torch.Tensor, entering: list[int], past: list[int], homes: list[int]) -> torch.Tensor:
        config = self.lm.config
        tokens = x.numpy()  # the step computes in it
        places = np.repeat(np.array(homes, dtype=np.int64), entering)
        positions = np.concatenate(
            [np.arange(begin, begin + count, dtype=np.int64) for begin, count in zip(past, entering, strict=True)]
        )
        last = np.cumsum(entering) - 1
        logits = np.empty((len(homes), config.num_codebooks * config.codebook_size), dtype=np.float32)
        with self._threads():
            for part, many in _parts(entering):
                ends = np.flatnonzero((last >= part.start) & (last < part.stop))
                made = np.empty((len(ends), logits.shape[1]), dtype=np.float32)
                step(
                    tokens[part],
                    places[part],
                    positions[part],
                    last[ends] - part.start,
                    many,
                    self._table.weights,
                    self._store,
                    self._room,
                    made,
                )
                logits[ends] = made
        return torch.from_numpy(logits).view(-1, config.num_codebooks, config.codebook_size)

    @staticmethod
    @contextmanager
    def _threads() -> Iterator[None]:
        """Numba's, as many as PyTorch has, for one caller at a time: not each of their kinds serves two."""
        with _turn:
            numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
            yield


def _parts(entering: list[int]) -> Iterator[tuple[slice, bool]]:
    """Tokens that enter at once, and whether they are multiplied as many. Each row's own number decides: what a clip becomes
    must not depend on who enters with it."""
    begin = 0
    for many, counts in itertools.groupby(entering, lambda count: count >= MANY):
        end = begin + sum(counts)
        for start in range(begin, end, TOKENS):
            yield slice(start, min(start + TOKENS, end)), many
        begin = end
