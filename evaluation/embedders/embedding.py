"""Embeddings of clips and captions, through the cache: what is cached is not computed again.

Decoding and preparation run in threads ahead of the network, with a bounded queue, so that memory does not grow with the number
of clips. On the CPU a batch is one clip, which makes a clip's embedding independent of the other clips, bit by bit; on a GPU
inputs of equal shape are batched across clips. Captions are embedded one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from musicgen.errors import InputError

from ..clips.clip import Clip, Inspection, Source, inspect
from .base import Array, Embedder, TextEmbedder, digest, embedding_key, text_key
from .cache import Cache

INSPECTION_VERSION = "1"
PREFETCH = 4
"""Clips that are decoded ahead of the network."""
GPU_BATCH = 32
"""Inputs of one call on a GPU."""

Progress = Callable[[float], object]
"""Called with the number of clips that were completed since the last call."""


def inspection_key(source: Source) -> str:
    """The cache key of a clip's inspection."""
    return digest(source.sha256, source.preparation("paper_whole"), "inspection", INSPECTION_VERSION)


def inspect_sources(
    sources: Sequence[Source], cache: Cache, progress: Progress | None = None
) -> dict[str, Inspection | str]:
    """Decode and inspect clips.

    Args:
        sources: the clips.
        cache: where inspections are stored.
        progress: called after each clip.

    Returns:
        id → inspection, or the reason why the clip cannot be decoded, in one line.
    """
    results: dict[str, Inspection | str] = {}
    for source in sources:
        cached = cache.get(inspection_key(source))
        if cached is not None:
            results[source.id] = Inspection.from_array(cached)
        else:
            try:
                inspection = inspect(Clip(source))
            except InputError as error:
                results[source.id] = str(error).removeprefix(f"{source.file}: ")
            else:
                cache.put(inspection_key(source), inspection.to_array(), f"inspection {source.file.name}")
                results[source.id] = inspection
        if progress:
            progress(1)
    return results


def compute_embeddings(
    sources: Sequence[Source],
    embedders: Sequence[Embedder],
    cache: Cache,
    *,
    batch: int = 1,
    progress: Progress | None = None,
) -> None:
    """Compute the embeddings that are not in the cache yet, and store them there: without rows for a clip that is too short for
    an embedder.

    Args:
        sources: the clips.
        embedders: each embeds every clip.
        cache: where embeddings are stored.
        batch: inputs of one call; with 1 no call mixes clips.
        progress: called after each clip.

    Raises:
        InputError: a clip cannot be decoded.
    """
    queues = {embedder.name: _BatchQueue(embedder, cache, batch) for embedder in embedders}
    for prepared in _prefetched(sources, embedders, cache):
        for name, inputs in prepared.inputs.items():
            queues[name].add(prepared.source, inputs)
        if progress:
            progress(1)
    for queue in queues.values():
        queue.flush()


def read_embedding(source: Source, embedder: Embedder, cache: Cache) -> Array:
    """A clip's embedding [rows, d], float32, from the cache, where `compute_embeddings` stored it; [0, 0] if it is too short.

    Raises:
        InputError: it is not there.
    """
    array = cache.get(embedding_key(embedder, source))
    if array is None:
        raise InputError(f"{source.file}: its {embedder.name} embedding is not in the cache: run again")
    return array


def text_embeddings(texts: Sequence[str], embedder: TextEmbedder, cache: Cache) -> Array:
    """Embeddings [n, d] of n captions, through the cache.

    One caption a call: in a batch its last bits would depend on which of the other captions are in the cache already.
    """
    for text in dict.fromkeys(texts):
        if text_key(embedder, text) not in cache:
            cache.put(text_key(embedder, text), embedder.embed_texts([text])[0], f"{embedder.name} {text[:60]}")
    rows = [cache.get(text_key(embedder, text)) for text in texts]
    return np.stack([row for row in rows if row is not None])


@dataclass(frozen=True)
class _Prepared:
    source: Source
    inputs: dict[str, list[torch.Tensor]]


@dataclass
class _BatchQueue:
    """Inputs of one embedder until they fill a batch; a clip is stored when its last input has been embedded."""

    embedder: Embedder
    cache: Cache
    batch: int
    queue: dict[tuple[int, ...], list[tuple[str, int, torch.Tensor]]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[Array | None]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, source: Source, inputs: list[torch.Tensor]) -> None:
        key = embedding_key(self.embedder, source)
        if key in self.sources:
            return
        if not inputs:
            self.cache.put(key, np.zeros((0, 0), np.float32), f"{self.embedder.name} {source.file.name}: too short")
            return
        self.sources[key], self.rows[key] = source, [None] * len(inputs)
        for index, tensor in enumerate(inputs):
            self.queue[tuple(tensor.shape)].append((key, index, tensor))
        for shape in list(self.queue):
            while len(self.queue[shape]) >= self.batch and self.batch > 1:
                self._run(shape, self.batch)
        if self.batch == 1:
            self.flush()

    def flush(self) -> None:
        for shape in list(self.queue):
            while self.queue[shape]:
                self._run(shape, max(self.batch, GPU_BATCH))

    def _run(self, shape: tuple[int, ...], count: int) -> None:
        part, self.queue[shape] = self.queue[shape][:count], self.queue[shape][count:]
        outputs = self.embedder.embed(torch.stack([tensor for _, _, tensor in part]))
        for (key, index, _), rows in zip(part, outputs, strict=True):
            self.rows[key][index] = rows
            complete = [row for row in self.rows[key] if row is not None]
            if len(complete) == len(self.rows[key]):
                source = self.sources.pop(key)
                del self.rows[key]
                label = f"{self.embedder.name} {source.file.name}"
                self.cache.put(key, np.concatenate(complete).astype(np.float32), label)


def _prefetched(sources: Sequence[Source], embedders: Sequence[Embedder], cache: Cache) -> Iterator[_Prepared]:
    """Clips with the inputs of their missing embeddings, prepared in threads, in order."""

    def prepare(source: Source, missing: list[Embedder]) -> _Prepared:
        clip = Clip(source)
        inputs = {each.name: each.prepare(clip.view(each.view, each.rate), source.id) for each in missing}
        return _Prepared(source, inputs)

    with ThreadPoolExecutor(max_workers=2) as pool:
        futures: list[Future[_Prepared]] = []
        remaining = iter(sources)
        finished = False
        while futures or not finished:
            while not finished and len(futures) < PREFETCH:
                source = next(remaining, None)
                if source is None:
                    finished = True
                    break
                missing = [each for each in embedders if embedding_key(each, source) not in cache]
                if missing:
                    futures.append(pool.submit(prepare, source, missing))
                else:
                    yield _Prepared(source, {})
            if futures:
                yield futures.pop(0).result()
