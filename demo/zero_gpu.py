"""The GPU that a ZeroGPU Space lends: it is there inside a generator that `spaces.GPU` decorates, which runs in a fork.

Plain values alone go there and back. What is loaded there stays in the fork; here, nothing touches a GPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from musicgen.errors import MusicGenError

from .request import Request

if TYPE_CHECKING:
    import numpy as np

    Report = Callable[[float, str], None]


class Part(NamedTuple):
    """The next sound of a clip. samples: float32 [C, n]; rate: Hz; precision: in which the model computes; unknown: the share
    of the description that it does not know, 0 to 1."""

    samples: np.ndarray
    rate: int
    precision: str
    unknown: float


START_SECONDS, SECONDS_PER_SECOND = 30.0, 1.5
"""GPU time asked for: to load a model, and for each second of sound. What is not used is not counted."""


def active() -> bool:
    """Whether this is such a Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def lent(
    make: Callable[[Request, int, Report], Iterator[Part]], fetch: Callable[[str], Any]
) -> Callable[[Request, int, Report], Iterator[Part]]:
    """`make(request, seed, report)` inside the decorated function: reports come with the parts. `fetch(model)` brings its
    files before the GPU is asked for. Other errors than ours are those of `spaces`, such as a quota that is used up."""

    def duration(request: Request, seed: int) -> float:  # noqa: ARG001 (it is called as the function is)
        return START_SECONDS + SECONDS_PER_SECOND * request.duration

    # Looked at by `spaces`: a function that merely returns a generator would have to send it back.
    def inside(request: Request, seed: int) -> Iterator[Part | MusicGenError]:
        try:
            yield from make(request, seed, lambda share, what: None)  # noqa: ARG005
        except MusicGenError as error:
            yield error  # raised there, its text would be lost on the way

    remote = importlib.import_module("spaces").GPU(duration=duration)(inside)

    def parts(request: Request, seed: int, report: Report) -> Iterator[Part]:
        fetch(request.model)
        made = 0.0
        for part in remote(request, seed):
            if isinstance(part, MusicGenError):
                raise part
            yield part
            made += part.samples.shape[1] / part.rate
            report(min(1.0, made / request.duration), f"{made:.0f} of {request.duration:g} s")

    return parts
