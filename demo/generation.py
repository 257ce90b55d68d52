"""The page's request as a request of the library, and its clip as a stream of audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from musicgen.cancellation import Cancellation
from musicgen.engine import Scheduler
from musicgen.request import GenerationRequest

from . import melody
from .request import PageRequest

CHUNK_SECONDS = 1.0
"""Length of the chunks of audio that are streamed to the page. Shorter ones cause gaps in playback."""


def library_request(request: PageRequest, seed: int) -> GenerationRequest:
    """The request of one clip, without the loop, which is made when the clip is complete.

    Args:
        request: The page's request; its melody is taken from `frames`.
        seed: Of the clip.
    """
    return GenerationRequest.of(
        request.prompt,
        request.duration,
        seed=seed,
        melody=None if request.frames is None else melody.to_one_hot(request.frames),
        continue_from=request.continue_from,
        options=request.options,
        timeline=request.timeline,
    )


def stream(
    scheduler: Scheduler,
    request: PageRequest,
    seed: int,
    progress: Callable[[int, int], None],
    cancellation: Cancellation,
) -> Iterator[torch.Tensor]:
    """Generate one clip.

    Args:
        scheduler: Of the model.
        request: The page's request.
        seed: Of the clip.
        progress: Called with (steps done, total steps) during generation.
        cancellation: Ends the generation.

    Returns:
        An iterator over chunks of audio, float32 [C, T] at the model's sample rate.
    """
    return scheduler.stream(library_request(request, seed), progress=progress, cancellation=cancellation)
