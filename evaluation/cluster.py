"""The same work on many machines, with Ray: embeddings in parts, clips from several copies of a system.

All machines must see the same folders (audio, cache, weights). Parts are fixed beforehand and a clip's numbers do not
hang on its neighbours, so results are those of one process, bit by bit on machines of one kind. A worker that dies
loses its part, which another one does again; what is in the cache is not done twice. Ray is imported when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from musicgen import extras
from musicgen.audio import Audio
from musicgen.errors import InputError

from .clips import Source
from .embedders.cache import Cache
from .embedders.registry import Registry
from .embedders.weights import Weights
from .embedding import embed
from .systems import Opener, Request

PART = 16
"""Clips that a worker embeds at once."""
COPIES = 2
"""Of a system, on each machine without a GPU; with GPUs, one on each."""
RETRIES = 3
"""Times that a part whose worker died is given to another."""


def connect(address: str) -> Any:
    """Ray, connected; `local`: workers on this machine."""
    ray: Any = extras.load("ray", "evaluation", "--ray")
    if not ray.is_initialized():
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--ray {address}: no cluster there ({str(error).splitlines()[0]})") from error
    return ray


def embed_with_ray(
    chosen: Weights, cache: Cache, device: str, batch: int, address: str
) -> Callable[[Sequence[Source], Sequence[str]], None]:
    """What `evaluation.run.score` takes as `embed`."""
    ray = connect(address)
    resources = {"num_gpus": 1} if device.startswith("cuda") else {"num_cpus": 1}
    remote = ray.remote(max_retries=RETRIES, **resources)(embed_part)
    threads = torch.get_num_threads()

    def hear(sources: Sequence[Source], names: Sequence[str]) -> None:
        parts = [list(sources[start : start + PART]) for start in range(0, len(sources), PART)]
        waiting = [
            remote.remote(part, list(names), chosen, str(cache.folder), device, batch, threads) for part in parts
        ]
        with tqdm(total=len(sources), desc="embeddings") as bar:
            while waiting:
                done, waiting = ray.wait(waiting)
                for each in done:
                    bar.update(ray.get(each))

    return hear


def embed_part(
    sources: Sequence[Source], names: Sequence[str], chosen: Weights, cache: str, device: str, batch: int, threads: int
) -> int:
    """What a worker does; how many clips. Networks stay loaded between parts; as many threads as the first process has add up
    numbers in the same order."""
    torch.set_num_threads(threads)
    registry = _registries.setdefault((str(sorted(chosen.files.items())), device), Registry(chosen, device))
    embed(sources, [registry[name] for name in names], Cache(cache), batch=batch)
    return len(sources)


class RaySystem:
    """A copy of a system on each GPU of the cluster, or COPIES on each machine where there is none."""

    def __init__(self, opener: Opener, address: str) -> None:
        self._ray = connect(address)
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        machines = sum(bool(node["Alive"]) for node in self._ray.nodes())
        count = gpus or max(1, min(COPIES * machines, int(resources.get("CPU", 1))))
        needs: Mapping[str, float] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        actor = self._ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
        self._workers = [actor.remote(opener) for _ in range(count)]
        self.name, self.settings, self._each = self._ray.get(self._workers[0].facts.remote())
        self.batch = self._each * count

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        parts = [list(requests[start : start + self._each]) for start in range(0, len(requests), self._each)]
        waiting = [worker.generate.remote(part) for worker, part in zip(self._workers, parts, strict=False)]
        return [clip for part in self._ray.get(waiting) for clip in part]


class Worker:
    """A system in a worker."""

    def __init__(self, opener: Opener) -> None:
        self._system = opener()

    def facts(self) -> tuple[str, Mapping[str, Any], int]:
        """name, settings, batch."""
        return self._system.name, self._system.settings, self._system.batch

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        return self._system.generate(requests)


_registries: dict[tuple[str, str], Registry] = {}
"""Of this worker."""
