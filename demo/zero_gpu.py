"""Runs generations on the GPU of a ZeroGPU Space, which is available only inside a generator decorated with `spaces.GPU`.

The decorated generator runs in a forked process:

    this process: stream() --thread--> spaces: queue, quota --fork--> run_on_gpu() --thread--> generate(): the GPU

Weights that this process put on "cuda" before the page was launched (`Service.preload`) are on the GPU in the fork. Only
picklable values pass between the processes. A pipe tells the fork that the clip is no longer wanted, and this process does not
wait for it, so that stopping takes effect while waiting for a GPU and between two chunks of audio.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import math
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from musicgen.cancellation import Cancellation, Cancelled
from musicgen.catalog import DECODERS
from musicgen.errors import MusicGenError
from musicgen.serving.engines.base import AudioChunk, Report, Stream
from musicgen.serving.request import ClipRequest

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    Put = Callable[[Any], None]

MAX_PRELOADED_BYTES = 30e9
"""Bytes of weights that are kept on the GPU. It has 48 GB, and each clip needs memory for its key-value cache."""

QUOTA_FACTOR = 1.5
"""Seconds of quota for each requested second, on a GPU of the size `large`: `spaces` multiplies before it asks the hub."""
DAILY_QUOTAS = {"without an account": 120.0, "with a free account": 300.0, "with a PRO account": 2400.0}
"""Seconds of GPU quota that a visitor has each day."""
MAX_REQUEST_SECONDS = DAILY_QUOTAS["with a free account"] / QUOTA_FACTOR
"""Longest duration that is requested. The hub rejects longer ones as illegal for most visitors, whatever quota they have left.
A clip that needs more may be aborted before its end."""
MIN_REQUEST_SECONDS = 8.0
"""Shortest duration that is requested: the fork, and the transfer of the weights to the GPU."""

# The following values are estimates, not measurements: no ZeroGPU was available. Published speeds of MusicGen small in float32
# and float16 are 44 to 89 steps per second on laptop GPUs (an RTX 5070), and 50 steps are one second of audio. Larger models
# read more bytes in each step. Once this process has measured a model's first clip, the measurement replaces the estimate.
STARTUP_SECONDS = 6.0
"""Seconds from the fork to the first step."""
COMPILE_SECONDS = 6.0
"""Seconds that the first clip of a model may spend on compiling kernels."""
LOAD_BYTES_PER_SECOND = 0.5e9
"""Rate at which a model that was not preloaded is read."""
GPU_SECONDS_PER_AUDIO_SECOND = ((0.5e9, 0.3), (3e9, 0.6), (9e9, 1.0), (float("inf"), 1.4))
"""(largest size in bytes of a model's files to which it applies, GPU seconds for each second of audio)."""
OWN_GUIDANCE_FACTOR = 1.5
"""Cost of a guidance scale of its own for melody or style, relative to a single one."""
DIFFUSION_SECONDS_PER_AUDIO_SECOND = 1.0
"""GPU seconds of multi-band diffusion for each second of audio, beside the generation of codes."""
SAFETY_MARGIN = 1.3
"""Factor on measured times: GPUs are shared, and late steps take longer than early ones."""


@dataclass(frozen=True)
class Estimate:
    """GPU seconds that a clip is expected to need."""

    needed: float

    @property
    def requested(self) -> float:
        """The duration to request. It is a whole number, because `spaces` truncates fractions."""
        return min(MAX_REQUEST_SECONDS, max(MIN_REQUEST_SECONDS, math.ceil(self.needed)))

    @property
    def reserved(self) -> float:
        """The quota in seconds that the visitor must have left. What is not used is returned at the end."""
        return self.requested * QUOTA_FACTOR

    def describe(self, variations: int) -> str:
        """The quota that a number of clips reserve, as text for the page."""
        total = self.reserved * variations
        each = f", {variations} times" if variations > 1 else ""
        text = f"{self.reserved:.0f} s of your GPU quota are reserved{each}, what is not used comes back"
        insufficient = [account for account, seconds in DAILY_QUOTAS.items() if seconds < total]
        if self.needed > MAX_REQUEST_SECONDS:
            return f"{text}; it may need {self.needed:.0f} s and be cut: make it shorter, or choose a smaller model"
        return f"{text}; more than a visitor {insufficient[-1]} has in a day" if insufficient else text


def estimate(request: ClipRequest, model_bytes: int, measured_seconds: float | None, preloaded: bool) -> Estimate:
    """Estimate the GPU time of one clip.

    Args:
        request: the request.
        model_bytes: size of the model's files.
        measured_seconds: time for the clip according to earlier clips of the model, None before the first.
        preloaded: whether the model's weights are on the GPU already.
    """
    if measured_seconds is None:
        rate = next(seconds for max_bytes, seconds in GPU_SECONDS_PER_AUDIO_SECOND if model_bytes <= max_bytes)
        guidance = OWN_GUIDANCE_FACTOR if request.options.own_scales else 1.0
        generation = COMPILE_SECONDS + rate * guidance * request.duration
    else:
        generation = SAFETY_MARGIN * measured_seconds
    if request.decoder != DECODERS[0]:
        generation += DIFFUSION_SECONDS_PER_AUDIO_SECOND * request.duration
    return Estimate(STARTUP_SECONDS + (0.0 if preloaded else model_bytes / LOAD_BYTES_PER_SECOND) + generation)


def is_active() -> bool:
    """Whether this process runs in a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@dataclass(frozen=True)
class ProgressReport:
    """A progress report on its way from the fork. fraction: 0 to 1."""

    fraction: float
    message: str


@dataclass(frozen=True)
class Failure:
    """The exception that `work` raised in `run_in_thread`."""

    error: BaseException


_END = object()


def run_in_thread(work: Callable[[Put], None], cancellation: Cancellation) -> Iterator[Any]:
    """Run a function in a thread of its own and iterate over the items that it produces.

    The iterator ends as soon as it is cancelled, and does not wait for the thread.

    Args:
        work: called with a function `put(item)`, which raises Cancelled once the iterator has ended.
        cancellation: ends the iterator.

    Yields:
        The items.

    Raises:
        Cancelled: when `cancellation` has been set.
        BaseException: what `work` raised.
    """
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ended = Cancellation()

    def put(item: Any) -> None:
        ended.raise_if_cancelled()
        items.put(item)

    def run() -> None:
        try:
            work(put)
            items.put(_END)
        except BaseException as error:
            items.put(Failure(error))

    # `spaces` reads the visitor's request from the caller's context.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="zero-gpu")
    thread.start()
    withdraw = cancellation.on_cancel(lambda: items.put(Failure(Cancelled("cancelled"))))
    try:
        while True:
            item = items.get()
            if item is _END:
                return
            if isinstance(item, Failure):
                raise item.error
            yield item
    finally:
        withdraw()
        ended.cancel()


def _cancel_on_message(stop: Connection, cancellation: Cancellation) -> None:
    """Wait for the other process, which sends a message when the clip is no longer wanted or the call is over."""
    with contextlib.suppress(EOFError, OSError):
        stop.recv_bytes()
    cancellation.cancel()


def wrap(
    generate: Callable[[ClipRequest, int, Report, Cancellation], Iterator[AudioChunk]],
    download: Callable[[str], Any],
    estimate_time: Callable[[ClipRequest], Estimate],
) -> Stream:
    """Wrap a generator function so that it runs inside `spaces.GPU`.

    Args:
        generate: called as `generate(request, seed, report, cancellation)`; report takes a fraction from 0 to 1 and a message.
        download: called with the model's name before a GPU is requested.
        estimate_time: returns the GPU time to request.

    Returns:
        A function with the signature of `generate`. It raises the MusicGenErrors of `generate`, and the errors of `spaces`, for
        example when the visitor's quota is used up.
    """

    def duration(request: ClipRequest, seed: int, stop: Connection) -> float:  # noqa: ARG001 (as `run_on_gpu` takes them)
        return estimate_time(request).requested

    # A generator function itself, which `spaces` detects: a function that returns a generator would have to pickle it.
    def run_on_gpu(
        request: ClipRequest, seed: int, stop: Connection
    ) -> Iterator[AudioChunk | ProgressReport | MusicGenError]:
        cancellation = Cancellation()
        finished = threading.Event()

        def work(put: Put) -> None:
            try:
                for chunk in generate(
                    request, seed, lambda fraction, message: put(ProgressReport(fraction, message)), cancellation
                ):
                    put(chunk)
            finally:
                finished.set()

        threading.Thread(target=_cancel_on_message, args=(stop, cancellation), daemon=True, name="stop").start()
        try:
            yield from run_in_thread(work, cancellation)
        except MusicGenError as error:
            yield error  # `spaces` does not transfer the message of an exception that is raised here
        finally:
            cancellation.cancel()
            finished.wait()  # the GPU is not available after the generator has ended

    remote = importlib.import_module("spaces").GPU(duration=duration)(run_on_gpu)

    def stream(
        request: ClipRequest,
        seed: int,
        report: Report,
        cancellation: Cancellation,
        key: str = "",  # noqa: ARG001
    ) -> Iterator[AudioChunk]:
        # To the fork, which unpickles `stop` as a connection of its own.
        stop, stopper = multiprocessing.Pipe(duplex=False)

        def send() -> None:
            stopper.send_bytes(b"stop")

        def work(put: Put) -> None:
            with stop, stopper, contextlib.closing(remote(request, seed, stop)) as items:
                withdraw = cancellation.on_cancel(send)
                try:
                    for item in items:
                        put(item)
                finally:
                    withdraw()
                    send()

        download(request.model)
        report(0.0, "waiting for a GPU")
        for item in run_in_thread(work, cancellation):
            if isinstance(item, MusicGenError):
                raise item
            if isinstance(item, ProgressReport):
                report(item.fraction, item.message)
            else:
                yield item

    return stream
