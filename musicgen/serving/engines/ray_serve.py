"""Engines on many GPUs, cores and machines, placed by Ray Serve.

The server has the queue and the clips; the replicas (`replica.py`) generate. A request goes to a replica that has its model
loaded, otherwise to one with free memory (model multiplexing). If a replica dies, another one regenerates its clips from the
start; they are identical, so their streams continue where they were. If the connection to the cluster is lost, it is
established again. No other module of this package imports Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen import extras
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.errors import InputError
from musicgen.serving import downloads
from musicgen.serving.engines.base import AudioChunk, Report
from musicgen.serving.engines.files import check_files
from musicgen.serving.engines.replica import FailureMessage, Replica, ReplicaSettings, ReportMessage, SentFile
from musicgen.serving.engines.retrying import EngineLost, with_retries
from musicgen.serving.request import ClipRequest

log = logging.getLogger(__name__)

APPLICATION, DEPLOYMENT = "musicgen", "Replica"
CORES = 4
"""Of a replica without a GPU, unless the machine has fewer."""
_STATE_SECONDS = 2.0
"""Time for which the number of replicas is believed."""


@dataclass(frozen=True)
class Replicas:
    """How many replicas there are.

    Attributes:
        low, high: the fewest and the most; between them Ray Serve chooses by the number of requests. None: as many as there
            are GPUs, or cores for.
    """

    low: int | None = None
    high: int | None = None

    @classmethod
    def parse(cls, text: str) -> Replicas:
        """Replicas of "auto", "2" or "1:4".

        Raises:
            InputError: for another text.
        """
        if text == "auto":
            return cls()
        low, colon, high = text.partition(":")
        numbers = [low, high] if colon else [low, low]
        if not all(number.isascii() and number.isdigit() and 0 < int(number) <= 1000 for number in numbers):
            raise InputError(
                f"--replicas is {text[:40]!r}: it must be 'auto', a number such as 2, or a range such as 1:4"
            )
        if int(numbers[0]) > int(numbers[1]):
            raise InputError(f"--replicas is {text!r}: the first number must not be above the second")
        return cls(int(numbers[0]), int(numbers[1]))


class RayEngine:
    """Generates on a cluster; the methods are those of `EngineClient`.

    Args:
        settings: of each replica; its `threads` are the cores of one without a GPU.
        replicas: how many.
        address: Ray's address of the cluster; "" for one on this machine, which ends with this process.

    Raises:
        InputError: Ray is not installed, or there is no cluster, or it has not the resources for one replica.
    """

    def __init__(self, settings: ReplicaSettings, replicas: Replicas, address: str = "") -> None:
        self._ray: Any = extras.load("ray", "cluster", "--replicas")
        self._serve: Any = extras.load("ray.serve", "cluster", "--replicas")
        self._errors: Any = extras.load("ray.exceptions", "cluster", "--replicas")
        self.catalog = settings.catalog()
        self._settings, self._wanted, self._address = settings, replicas, address
        self._lock = threading.Lock()
        self._handle: Any = None
        self._counted, self._counted_at = 0, -_STATE_SECONDS
        self._closed = False
        with self._lock:
            self._connect()
        self.max_replicas = self._range()[1]

    def prepare(self) -> None:
        """Import what finishes clips."""
        import musicgen.postprocessing  # noqa: F401

    def check(self, request: ClipRequest) -> None:
        """Check what the files of model and adapters tell, which are those of all machines; only a replica knows its device."""
        check_files(self.catalog, request)

    def stream(
        self,
        request: ClipRequest,
        seed: int,
        report: Report,
        cancellation: Cancellation,
        key: str = "",  # noqa: ARG002
    ) -> Iterator[AudioChunk]:
        """Generate a clip, as `EngineClient.stream` says. A lost replica's clip is begun anew."""
        files = {name: SentFile(path.name, path.read_bytes()) for name, path in request.files.items()}
        if request.frames is not None:  # which were extracted from it
            files.pop("melody", None)
        bare = request.with_files({})
        return with_retries(lambda: self._attempt(bare, files, seed, report, cancellation), report, cancellation)

    def extract_melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The melody of a recording, as `EngineClient.extract_melody` says; on a replica."""
        file = SentFile(recording.name, recording.read_bytes())
        with self._lost_is_said():
            answer = self._connected().extract_melody.remote(file, separate).result()
        if isinstance(answer, FailureMessage):
            raise answer.error
        return tuple(answer)

    def resolve_precision(self, model: str, precision: str) -> str | None:  # noqa: ARG002
        """Any precision but "auto" unchanged: only the replica's machine tells."""
        return None if precision == "auto" else precision

    def is_downloaded(self, model: str) -> bool:
        """Whether a model is no published one, whose weights each machine downloads; the hub's cache is taken for shared."""
        return downloads.is_downloaded(self.catalog.get(model))

    def can_download(self) -> bool:
        """Whether this machine may ask the hub, which is taken for the same on all."""
        return downloads.can_download()

    def has_multi_band_diffusion(self) -> bool:
        """Whether the decoder's file is in the hub's cache, which is taken for shared."""
        return downloads.has_multi_band_diffusion()

    def step_bytes(self, model: str, precision: str) -> None:
        """Not known."""

    def bandwidth(self) -> None:
        """Not known."""

    def replicas(self) -> int:
        """Number of replicas that run."""
        if time.monotonic() - self._counted_at > _STATE_SECONDS:
            self._counted_at = time.monotonic()
            try:
                application = self._serve.status().applications.get(APPLICATION)
                states = application.deployments[DEPLOYMENT].replica_states if application is not None else {}
                self._counted = int(states.get("RUNNING", 0))
            except Exception as error:  # Ray raises many kinds, Python's own among them, where its head is gone
                log.warning("the cluster does not answer: %s", _line(error))
                self._counted = 0
        return self._counted

    def loaded(self) -> list[tuple[str, str]]:
        """Not known."""
        return []

    def close(self) -> None:
        """End the replicas; a cluster on this machine, too."""
        with self._lock:
            self._closed, self._handle = True, None
            with contextlib.suppress(Exception):  # a cluster that is gone has ended already
                self._serve.delete(APPLICATION)
            self._ray.shutdown()

    def _attempt(
        self, request: ClipRequest, files: dict[str, SentFile], seed: int, report: Report, cancellation: Cancellation
    ) -> Generator[AudioChunk]:
        with self._lost_is_said():
            handle = self._connected().options(
                stream=True, multiplexed_model_id=_used(request.model, request.precision)
            )
            items = handle.stream.remote(request, files, seed)
            withdraw = cancellation.on_cancel(items.cancel)
            try:
                for item in items:
                    cancellation.raise_if_cancelled()
                    if isinstance(item, FailureMessage):
                        raise item.error
                    if isinstance(item, ReportMessage):
                        report(item.fraction, item.message)
                    else:
                        yield item
            except (self._errors.TaskCancelledError, self._cancelled_errors()) as error:
                if cancellation.cancelled:
                    raise Cancelled("cancelled") from error
                raise EngineLost("a replica ended the generation") from error
            finally:
                withdraw()
                items.cancel()
        cancellation.raise_if_cancelled()

    def _cancelled_errors(self) -> Any:
        return extras.load("ray.serve.exceptions", "cluster", "--replicas").RequestCancelledError

    @contextlib.contextmanager
    def _lost_is_said(self) -> Iterator[None]:
        """Raise EngineLost where a replica, or the cluster, is gone."""
        lost = (
            self._errors.RayActorError, self._errors.WorkerCrashedError, self._errors.RaySystemError,
            self._errors.GetTimeoutError, ConnectionError,
        )  # fmt: skip
        try:
            yield
        except lost as error:
            if not self._is_alive():
                with self._lock:
                    self._handle = None
            raise EngineLost(f"a replica is lost ({_line(error)})") from error

    def _is_alive(self) -> bool:
        try:
            self._serve.status()
        except Exception:  # as in `replicas`
            return False
        return True

    def _connected(self) -> Any:
        """The handle of the replicas. Raises EngineLost where the cluster cannot be connected to."""
        with self._lock:
            if self._closed:
                raise Cancelled("the server ends")
            if self._handle is None:
                try:
                    self._connect()
                except InputError as error:
                    raise EngineLost(str(error)) from error
            return self._handle

    def _connect(self) -> None:
        """Connect to the cluster, and start the replicas where they do not run."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends statistics of its use unless told not to
        quiet = {"log_to_driver": False, "configure_logging": False}
        try:
            self._ray.shutdown()
            if self._address:
                self._ray.init(address=self._address, **quiet)
            else:
                self._ray.init(include_dashboard=False, **quiet)
        except (ConnectionError, ValueError, RuntimeError, self._errors.RayError) as error:
            where = f"--address {self._address}" if self._address else "--replicas"
            raise InputError(f"{where}: there is no cluster ({_line(error)})") from error
        try:
            self._handle = self._deploy()
        except InputError:
            raise
        except Exception as error:  # of the replicas' start, which Ray wraps in many kinds
            raise InputError(f"no replica starts: {_line(error)}") from error

    def _deploy(self) -> Any:
        low, high, per_replica = self._range()
        settings = self._settings
        scaling: dict[str, Any] = {"num_replicas": high}
        if low < high:
            scaling = {"autoscaling_config": {
                "min_replicas": low, "max_replicas": high, "target_ongoing_requests": settings.slots,
            }}  # fmt: skip
        deployment = self._serve.deployment(
            _multiplexed(self._serve, settings.max_models),
            name=DEPLOYMENT,
            ray_actor_options=per_replica,
            max_ongoing_requests=settings.slots,
            health_check_period_s=5,
            graceful_shutdown_timeout_s=30,
            **scaling,
        )
        self._serve.start(proxy_location="Disabled")  # clients ask the server
        return self._serve.run(deployment.bind(settings), name=APPLICATION, route_prefix=None)

    def _range(self) -> tuple[int, int, dict[str, float]]:
        """The fewest and the most replicas, and the resources of each."""
        resources = self._ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        on_gpu = bool(gpus) and self._settings.device in ("auto", "cuda")
        room = gpus if on_gpu else cores // self._settings.threads
        low, high = self._wanted.low or room, self._wanted.high or room
        if (not on_gpu and self._settings.threads * low > cores) or (on_gpu and low > gpus) or not room:
            has = f"{gpus} GPUs" if on_gpu else f"{cores} cores, and a replica takes {self._settings.threads} (--cores)"
            raise InputError(f"there is no room for {max(low, 1)} replicas: the cluster has {has}")
        return low, high, {"num_gpus": 1, "num_cpus": 1} if on_gpu else {"num_cpus": self._settings.threads}


def _used(model: str, precision: str) -> str:
    """The identifier of a loaded model for Ray Serve."""
    return f"{model} {precision}"


def _multiplexed(serve: Any, max_models: int) -> type:
    """The replica's class for Ray Serve, which keeps track of the models that each replica has used last.

    It prefers replicas that have a request's model until none of them has room, so all of them begin with the default model.
    """

    class MultiplexedReplica(Replica):
        async def __init__(self, settings: ReplicaSettings) -> None:  # type: ignore[misc]  # Ray awaits it
            super().__init__(settings)
            model = self.warm_up()
            if model is not None:
                await self.note(_used(model, "auto"))

        @serve.multiplexed(max_num_models_per_replica=max_models)
        async def note(self, model: str) -> str:
            return model

        async def stream(self, request: ClipRequest, files: Any, seed: int) -> Any:
            await self.note(serve.get_multiplexed_model_id())
            async for item in super().stream(request, files, seed):
                yield item

    return MultiplexedReplica


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
