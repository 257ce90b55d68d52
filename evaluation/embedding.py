"""Sources in, embeddings in the cache: what is there already is left alone, the rest is decoded once and heard by all.

Decoding and preparing run ahead in threads while a network works; at most a few clips wait, so memory does not grow with
their number. On the CPU a clip is a batch of its own, which costs nothing and makes a clip's numbers independent of its
neighbours, bit by bit; on a GPU inputs of equal shape are gathered across clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from musicgen.errors import InputError

from .clips import Clip, Inspection, Source, inspect
from .embedders.base import Array, Embedder, TextEmbedder, digest, key, text_key
from .embedders.cache import Cache

INSPECTION_VERSION = "1"
AHEAD = 4
"""Clips that are decoded ahead of the network."""
GPU_BATCH = 32
"""Inputs of one call on a GPU."""

Tick = Callable[[float], object]
"""Is told how many clips are done."""


def inspection_key(source: Source) -> str:
    """Of what decoding showed."""
    return digest(source.sha256, source.preparation("paper_whole"), "inspection", INSPECTION_VERSION)


def inspected(sources: Sequence[Source], cache: Cache, tick: Tick | None = None) -> dict[str, Inspection | str]:
    """id → what decoding a clip showed, or why it could not be decoded, in one line."""
    found: dict[str, Inspection | str] = {}
    for source in sources:
        kept = cache.get(inspection_key(source))
        if kept is not None:
            found[source.id] = Inspection.from_array(kept)
        else:
            try:
                seen = inspect(Clip(source))
            except InputError as error:
                found[source.id] = str(error).removeprefix(f"{source.file}: ")
            else:
                cache.put(inspection_key(source), seen.to_array(), f"inspection {source.file.name}")
                found[source.id] = seen
        if tick:
            tick(1)
    return found


def embed(
    sources: Sequence[Source], embedders: Sequence[Embedder], cache: Cache, *, batch: int = 1, tick: Tick | None = None
) -> None:
    """Bring every embedding of every source into the cache. batch: inputs a call; 1 keeps clips apart."""
    waiting = {embedder.name: _Waiting(embedder, cache, batch) for embedder in embedders}
    for prepared in _ahead(sources, embedders, cache):
        for name, inputs in prepared.inputs.items():
            waiting[name].add(prepared.source, inputs)
        if tick:
            tick(1)
    for each in waiting.values():
        each.flush()


def embedding(source: Source, embedder: Embedder, cache: Cache) -> Array:
    """One clip's rows, float32; `embed` brought them."""
    array = cache.get(key(embedder, source))
    if array is None:
        raise InputError(f"{source.file}: its {embedder.name} embedding is gone from the cache: run again")
    return array


def text_embeddings(texts: Sequence[str], embedder: TextEmbedder, cache: Cache) -> Array:
    """[n, d] of captions, from the cache where they are there."""
    missing = [text for text in dict.fromkeys(texts) if text_key(embedder, text) not in cache]
    for start in range(0, len(missing), GPU_BATCH):
        part = missing[start : start + GPU_BATCH]
        for text, row in zip(part, embedder.texts(part), strict=True):
            cache.put(text_key(embedder, text), row, f"{embedder.name} {text[:60]}")
    rows = [cache.get(text_key(embedder, text)) for text in texts]
    return np.stack([row for row in rows if row is not None])


@dataclass(frozen=True)
class _Prepared:
    source: Source
    inputs: dict[str, list[torch.Tensor]]


@dataclass
class _Waiting:
    """Inputs of one embedder until they fill a batch; a clip is written when its last input has been heard."""

    embedder: Embedder
    cache: Cache
    batch: int
    queue: dict[tuple[int, ...], list[tuple[str, int, torch.Tensor]]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[Array | None]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, source: Source, inputs: list[torch.Tensor]) -> None:
        if not inputs:
            raise InputError(f"{source.file}: too short for {self.embedder.name}")
        name = key(self.embedder, source)
        if name in self.sources:
            return
        self.sources[name], self.rows[name] = source, [None] * len(inputs)
        for place, tensor in enumerate(inputs):
            self.queue[tuple(tensor.shape)].append((name, place, tensor))
        for shape in list(self.queue):
            while len(self.queue[shape]) >= self.batch and self.batch > 1:
                self._hear(shape, self.batch)
        if self.batch == 1:
            self.flush()

    def flush(self) -> None:
        for shape in list(self.queue):
            while self.queue[shape]:
                self._hear(shape, max(self.batch, GPU_BATCH))

    def _hear(self, shape: tuple[int, ...], count: int) -> None:
        part, self.queue[shape] = self.queue[shape][:count], self.queue[shape][count:]
        heard = self.embedder.embed(torch.stack([tensor for _, _, tensor in part]))
        for (name, place, _), rows in zip(part, heard, strict=True):
            self.rows[name][place] = rows
            done = [row for row in self.rows[name] if row is not None]
            if len(done) == len(self.rows[name]):
                source = self.sources.pop(name)
                del self.rows[name]
                label = f"{self.embedder.name} {source.file.name}"
                self.cache.put(name, np.concatenate(done).astype(np.float32), label)


def _ahead(sources: Sequence[Source], embedders: Sequence[Embedder], cache: Cache) -> Iterator[_Prepared]:
    """Clips with the inputs that are still missing, prepared in threads, in order."""

    def prepare(source: Source, missing: list[Embedder]) -> _Prepared:
        clip = Clip(source)
        inputs = {each.name: each.prepare(clip.view(each.view, each.rate), source.id) for each in missing}
        return _Prepared(source, inputs)

    with ThreadPoolExecutor(max_workers=2) as pool:
        futures: list[Future[_Prepared]] = []
        remaining = iter(sources)
        finished = False
        while futures or not finished:
            while not finished and len(futures) < AHEAD:
                source = next(remaining, None)
                if source is None:
                    finished = True
                    break
                missing = [each for each in embedders if key(each, source) not in cache]
                if missing:
                    futures.append(pool.submit(prepare, source, missing))
                else:
                    yield _Prepared(source, {})
            if futures:
                yield futures.pop(0).result()
