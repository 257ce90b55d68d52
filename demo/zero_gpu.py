"""The GPU that a ZeroGPU Space lends: it is there inside a generator that `spaces.GPU` decorates, which runs in a fork.

    this process: parts() --thread--> spaces: queue, quota --fork--> inside() --thread--> make(): the GPU

Weights that were put on "cuda" here before the page was launched (`Service.preload`) are on the GPU there. Plain values alone
go there and back. Both sides work in a thread and look up several times a second, so that a visitor who stops waits neither
for the queue of GPUs nor for the next second of sound.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from musicgen.errors import MusicGenError

from .job_queue import JobStopped
from .request import Request

if TYPE_CHECKING:
    import numpy as np

    Report = Callable[[float, str], None]
    Put = Callable[[Any], None]

POLL = 0.1
"""Seconds between two looks at whether anybody still wants the clip."""

MEMORY = 30e9
"""Bytes of weights that are kept on the GPU: it has 48 GB, and each clip needs room for keys and values."""

FACTOR = 1.5
"""Of the seconds asked for, those that `spaces` asks the hub for on a GPU of the size `large`."""
QUOTAS = {"without an account": 120.0, "with a free account": 300.0, "with a PRO account": 2400.0}
"""Seconds of GPU that a visitor has a day."""
MOST = QUOTAS["with a free account"] / FACTOR
"""Seconds asked for at most: more is refused as an illegal duration to most visitors, whatever they have left. A clip that
needs more may be aborted before its end."""
LEAST = 8.0
"""Seconds asked for at least: the fork and the weights' way to the GPU."""

# Estimates, not measurements: no ZeroGPU was at hand. Published speeds of MusicGen small in float32 and float16 are 44 to 89
# steps a second on laptop GPUs (an RTX 5070), 50 steps are a second of sound; larger models read more bytes a step. The first
# clip of a model, as this process sees it made, takes the estimate's place.
START = 6.0
"""Seconds from the fork to the first step."""
COMPILING = 6.0
"""Seconds that the first clip of a model may spend on compiling its kernels."""
READING = 0.5e9
"""Bytes a second at which a model that was not preloaded is read."""
SPEEDS = ((0.5e9, 0.3), (3e9, 0.6), (9e9, 1.0), (float("inf"), 1.4))
"""(bytes of a model's files up to which it holds, seconds of GPU for a second of sound)."""
SEPARATE = 1.5
"""What guiding text and melody apart costs."""
MARGIN = 1.3
"""On what was seen: GPUs are shared, and late steps take longer than early ones."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of GPU: what a clip is expected to need, and what is asked for."""

    needed: float

    @property
    def asked(self) -> float:
        """Whole seconds: `spaces` drops the rest."""
        return min(MOST, max(LEAST, math.ceil(self.needed)))

    @property
    def counted(self) -> float:
        """What the visitor must have left for it to begin; the rest is given back at its end."""
        return self.asked * FACTOR

    def told(self, variations: int) -> str:
        """A visitor's quota, in words, for so many clips."""
        total = self.counted * variations
        each = f", {variations} times" if variations > 1 else ""
        text = f"{self.counted:.0f} s of your GPU quota are reserved{each}, what is not used comes back"
        short = [who for who, seconds in QUOTAS.items() if seconds < total]
        if self.needed > MOST:
            return f"{text}; it may need {self.needed:.0f} s and be cut: make it shorter, or choose a smaller model"
        return f"{text}; more than a visitor {short[-1]} has in a day" if short else text


def estimate(request: Request, size: int, known: float | None, ready: bool) -> Estimate:
    """size: bytes of the model's files; known: seconds that making the clip takes, as far as the model was seen at work; ready:
    whether its weights are on the GPU already."""
    if known is None:
        speed = next(seconds for most, seconds in SPEEDS if size <= most)
        apart = SEPARATE if request.options.melody_guidance_scale is not None else 1.0
        making = COMPILING + speed * apart * request.duration
    else:
        making = MARGIN * known
    return Estimate(START + (0.0 if ready else size / READING) + making)


class Part(NamedTuple):
    """The next sound of a clip. samples: float32 [C, n]; rate: Hz; precision: in which the model computes; unknown: the share
    of the description that it does not know, 0 to 1."""

    samples: np.ndarray
    rate: int
    precision: str
    unknown: float


def active() -> bool:
    """Whether this is such a Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@dataclass(frozen=True)
class Told:
    """A report, on its way back."""

    share: float
    what: str


@dataclass(frozen=True)
class Failed:
    """What `work` raised, in `beside`."""

    error: BaseException


_END = object()


def beside(work: Callable[[Put], None], wait: bool) -> Iterator[Any]:
    """What `work(put)` puts, while it runs in a thread of its own, and None whenever there was nothing for a while. When the
    reader leaves, the next `put` raises JobStopped; wait: until the thread has ended then."""
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left = threading.Event()

    def put(item: Any) -> None:
        if left.is_set():
            raise JobStopped("nobody reads any more")
        items.put(item)

    def run() -> None:
        try:
            work(put)
            items.put(_END)
        except BaseException as error:
            items.put(Failed(error))

    # The caller's context says whose request it is, which `spaces` asks.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="zero-gpu")
    thread.start()
    try:
        while True:
            try:
                item = items.get(timeout=POLL)
            except queue.Empty:
                item = None
            if item is _END:
                return
            if isinstance(item, Failed):
                raise item.error
            yield item
    finally:
        left.set()
        if wait:
            thread.join()


def lent(
    make: Callable[[Request, int, Report], Iterator[Part]],
    fetch: Callable[[str], Any],
    cost: Callable[[Request], Estimate],
) -> Callable[[Request, int, Report], Iterator[Part]]:
    """`make(request, seed, report)` inside the decorated function. `fetch(model)` brings its files before the GPU is asked for,
    for as long as `cost(request)` says. Other errors than ours are those of `spaces`, such as a quota that is used up."""

    def duration(request: Request, seed: int) -> float:  # noqa: ARG001 (it is called as the function is)
        return cost(request).asked

    # Looked at by `spaces`: a function that merely returns a generator would have to send it back.
    def inside(request: Request, seed: int) -> Iterator[Part | Told | MusicGenError | None]:
        def work(put: Put) -> None:
            for part in make(request, seed, lambda share, what: put(Told(share, what))):
                put(part)

        try:
            yield from beside(work, wait=True)  # the GPU is gone after it
        except MusicGenError as error:
            yield error  # raised there, its text would be lost on the way

    remote = importlib.import_module("spaces").GPU(duration=duration)(inside)

    def parts(request: Request, seed: int, report: Report) -> Iterator[Part]:
        def work(put: Put) -> None:
            with contextlib.closing(remote(request, seed)) as items:
                for item in items:
                    put(item)

        fetch(request.model)
        latest = Told(0.0, "waiting for a GPU")
        report(latest.share, latest.what)
        for item in beside(work, wait=False):
            if isinstance(item, MusicGenError):
                raise item
            if isinstance(item, Told):
                latest = item
            elif item is not None:
                yield item
            report(latest.share, latest.what)  # raises when the visitor wants no more

    return parts
