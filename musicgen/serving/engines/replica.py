"""The replica that Ray Serve runs on the machines of a cluster: an engine for one GPU, or for some cores, in a separate
process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from musicgen.cancellation import Cancellation
from musicgen.errors import MusicGenError
from musicgen.plugins import load_plugins
from musicgen.serving.engines.base import WARM_UP_SECONDS, AudioChunk, Report
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.job_queue import REPORT_SECONDS
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplicaSettings:
    """What each replica is started with. The folders are there under the same paths on all machines.

    Attributes:
        models, model_folder, adapter_folder: as of `ModelCatalog`.
        device: a PyTorch device, or "auto".
        max_models: number of models kept loaded.
        slots: clips that are generated in one batch.
        threads: of a replica on the CPU.
        plugins: modules or files that register conditioners, tokenisers or back ends.
    """

    models: tuple[str, ...] = ()
    model_folder: Path | None = None
    adapter_folder: Path | None = None
    device: str = "auto"
    max_models: int = 3
    slots: int = 4
    threads: int = 4
    plugins: tuple[str, ...] = ()

    def catalog(self) -> ModelCatalog:
        """The models that can be loaded."""
        return ModelCatalog(self.model_folder, self.models, self.adapter_folder)


class ReportMessage(NamedTuple):
    """A report of progress on its way to the server."""

    fraction: float
    message: str


class FailureMessage(NamedTuple):
    """The error of a generation on its way to the server: raised, it would be Ray's error."""

    error: MusicGenError


class SentFile(NamedTuple):
    """A file of a request: the server's folders may not be this machine's."""

    name: str
    content: bytes


class Replica:
    """Generates in this process.

    Args:
        settings: of all replicas.
    """

    def __init__(self, settings: ReplicaSettings) -> None:
        import torch

        load_plugins(settings.plugins)
        torch.set_num_threads(settings.threads)
        self._engine = LocalEngine(
            settings.catalog(), settings.device, max_models=settings.max_models, slots=settings.slots
        )
        self._engine.prepare()

    def warm_up(self) -> str | None:
        """Generate a short clip with the default model: the first one loads it and compiles kernels.

        Returns:
            The model's name; None where it would have to be downloaded, or cannot be loaded.
        """
        name = self._engine.catalog.warm_up_model()
        if name is None:
            return None
        try:
            for _ in self._engine.stream(ClipRequest("", name, WARM_UP_SECONDS), 0, lambda *_: None, Cancellation()):
                pass
        except MusicGenError as error:  # the server's own warm-up says so; other models may run
            log.warning("the warm-up failed: %s", error)
            return None
        return name

    async def stream(
        self, request: ClipRequest, files: Mapping[str, SentFile], seed: int
    ) -> AsyncIterator[AudioChunk | ReportMessage | FailureMessage]:
        """Generate a clip.

        Args:
            request: what to generate, without its files.
            files: name of the request's attribute -> file.
            seed: of the clip.
        """
        loop, items = asyncio.get_running_loop(), asyncio.Queue[Any]()
        cancellation, end = Cancellation(), object()

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(items.put_nowait, item)

        def work() -> None:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    located = request.with_files(_unpacked(files, Path(folder)))
                    for chunk in self._engine.stream(located, seed, throttled(put), cancellation):
                        put(chunk)
            except MusicGenError as error:
                put(FailureMessage(error))
            except BaseException as error:
                put(error)
            finally:
                put(end)

        thread = threading.Thread(target=work, daemon=True, name="generation")
        thread.start()
        try:
            while (item := await items.get()) is not end:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            cancellation.cancel()  # the server has ended the request, or everything has been sent

    async def extract_melody(self, recording: SentFile, separate: bool) -> tuple[int, ...] | FailureMessage:
        """The melody of a recording, as `EngineClient.extract_melody` says."""

        def work() -> tuple[int, ...]:
            with tempfile.TemporaryDirectory() as folder:
                return self._engine.extract_melody(_unpacked({"file": recording}, Path(folder))["file"], separate)

        try:
            return await asyncio.to_thread(work)
        except MusicGenError as error:
            return FailureMessage(error)


def throttled(send: Callable[[ReportMessage], object]) -> Report:
    """A report that sends only what followers of a job are shown: a model reports each step.

    Args:
        send: takes the first report, one every REPORT_SECONDS, those with another message, and the last one.
    """
    newest, sent = "", -math.inf

    def report(fraction: float, message: str) -> None:
        nonlocal newest, sent
        now = time.monotonic()
        if message == newest and fraction < 1 and now - sent < REPORT_SECONDS:
            return
        newest, sent = message, now
        send(ReportMessage(fraction, message))

    return report


def _unpacked(files: Mapping[str, SentFile], folder: Path) -> dict[str, Path]:
    paths = {}
    for number, (attribute, file) in enumerate(files.items()):
        path = folder / f"{number}{Path(file.name).suffix}"  # whatever the name is, it stays in the folder
        path.write_bytes(file.content)
        paths[attribute] = path
    return paths
