"""Embedding and generation on a Ray cluster.

All machines must share the same folders (audio, cache, weights). The work is partitioned beforehand and a clip's results do not
depend on other clips, so results equal those of one process, bit for bit on machines of one kind. The partition of a worker
that dies is given to another worker; what is in the cache is not computed again. Ray is imported only when it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from musicgen import extras
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.plugins import load_plugins

from ..clips.clip import Source
from ..embedders.cache import Cache
from ..embedders.embedding import compute_embeddings
from ..embedders.registry import Embedders
from ..embedders.weights import Weights
from ..systems.base import Request, SystemFactory

PART = 16
"""Clips that a worker embeds in one task."""
REPLICAS = 2
"""Of a system on each machine without a GPU; with GPUs, one on each."""
RETRIES = 3
"""Times that a part whose worker died is given to another."""


def connect(address: str) -> Any:
    """Connect to a cluster.

    Args:
        address: Ray's address of it; `local` for workers on this machine.

    Returns:
        The module ray.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    ray: Any = extras.load("ray", "evaluation", "--ray")
    if not ray.is_initialized():
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends statistics of its use unless told not to
            ray.init(address=None if address == "local" else address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--ray {address}: no cluster there ({str(error).splitlines()[0]})") from error
    return ray


def ray_embedding(
    weights: Weights, cache: Cache, device: str, batch: int, address: str, plugins: Sequence[str] = ()
) -> Callable[[Sequence[Source], Sequence[str]], None]:
    """The `embed` argument of `pipeline.scoring.score` that uses a cluster.

    Args:
        weights: where the files of weights are.
        cache: where embeddings are stored.
        device: of the workers.
        batch: inputs of one call.
        address: of the cluster.
        plugins: that workers import, too.

    Raises:
        InputError: as of `connect`.
    """
    ray = connect(address)
    resources = {"num_gpus": 1} if device.startswith("cuda") else {"num_cpus": 1}
    remote = ray.remote(max_retries=RETRIES, **resources)(embed_part)
    threads = torch.get_num_threads()

    def embed(sources: Sequence[Source], names: Sequence[str]) -> None:
        parts = [list(sources[start : start + PART]) for start in range(0, len(sources), PART)]
        pending = [
            remote.remote(part, list(names), weights, str(cache.folder), device, batch, threads, list(plugins))
            for part in parts
        ]
        with tqdm(total=len(sources), desc="embeddings") as bar:
            while pending:
                done, pending = ray.wait(pending)
                for each in done:
                    bar.update(ray.get(each))

    return embed


def embed_part(
    sources: Sequence[Source],
    names: Sequence[str],
    weights: Weights,
    cache: str,
    device: str,
    batch: int,
    threads: int,
    plugins: Sequence[str] = (),
) -> int:
    """The task of a worker. Networks stay loaded between tasks; as many threads as the first process has sum in the same order.

    Args:
        sources: the clips.
        names: of the embedders.
        weights, cache, device, batch, plugins: as of `ray_embedding`.
        threads: of PyTorch.

    Returns:
        The number of clips.
    """
    load_plugins(plugins)
    torch.set_num_threads(threads)
    key = (str(sorted(weights.files.items())), device)
    embedders = _embedders.setdefault(key, Embedders(weights, device))
    compute_embeddings(sources, [embedders[name] for name in names], Cache(cache), batch=batch)
    return len(sources)


class RaySystem:
    """A replica of a system on each GPU of the cluster, or REPLICAS on each machine without one.

    Args:
        load: loads the system in a worker.
        address: of the cluster.
        plugins: that workers import first.
    """

    def __init__(self, load: SystemFactory, address: str, plugins: Sequence[str] = ()) -> None:
        self._ray = connect(address)
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        machines = sum(bool(node["Alive"]) for node in self._ray.nodes())
        count = gpus or max(1, min(REPLICAS * machines, int(resources.get("CPU", 1))))
        needs: Mapping[str, float] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        actor = self._ray.remote(max_restarts=-1, max_task_retries=RETRIES, **needs)(Worker)
        self._workers = [actor.remote(load, list(plugins)) for _ in range(count)]
        self.name, self.settings, self._each = self._ray.get(self._workers[0].describe.remote())
        self.batch = self._each * count

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request, in order."""
        parts = [list(requests[start : start + self._each]) for start in range(0, len(requests), self._each)]
        pending = [worker.generate.remote(part) for worker, part in zip(self._workers, parts, strict=False)]
        return [clip for part in self._ray.get(pending) for clip in part]


class Worker:
    """A system in a worker process."""

    def __init__(self, load: SystemFactory, plugins: Sequence[str] = ()) -> None:
        load_plugins(plugins)
        self._system = load()

    def describe(self) -> tuple[str, Mapping[str, Any], int]:
        """(name, settings, batch) of the system."""
        return self._system.name, self._system.settings, self._system.batch

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request, in order."""
        return self._system.generate(requests)


_embedders: dict[tuple[str, str], Embedders] = {}
"""Of this worker process, by weights and device."""
