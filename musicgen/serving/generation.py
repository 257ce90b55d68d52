"""Conversion of the page's request to the library's `GenerationRequest`, and of its clip to a stream of audio."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from musicgen.cancellation import Cancellation
from musicgen.conditioners.base import Conditioner
from musicgen.engine import Scheduler
from musicgen.errors import InputError
from musicgen.request import GenerationRequest
from musicgen.serving import melody
from musicgen.serving.request import ClipRequest

CHUNK_SECONDS = 1.0
"""Length of the chunks of audio that are streamed to the page. Shorter ones cause gaps in playback."""
CANDIDATES = 8
"""Of a span that is made anew."""


def library_request(request: ClipRequest, seed: int) -> GenerationRequest:
    """The request of one clip, without the loop, which is made when the clip is complete.

    Args:
        request: The page's request; the melody of a recording is taken from `frames`.
        seed: Of the clip.
    """
    conditions: dict[str, Any] = dict(request.conditions)
    if request.style is not None:
        conditions["style"] = request.style
    if request.chords is not None:
        conditions["melody"] = request.chords
    elif request.frames is not None:
        conditions["melody"] = melody.to_one_hot(request.frames)
    elif request.melody is not None:
        conditions["melody"] = request.melody
    return GenerationRequest.of(
        request.prompt,
        request.duration,
        seed=seed,
        conditions=conditions,
        continue_from=request.continue_from,
        options=request.options,
        timeline=request.timeline,
    )


def check_conditions(conditioners: Mapping[str, Conditioner], request: ClipRequest) -> None:
    """Check that what a visitor gives as text is no path for the model's conditioners.

    Args:
        conditioners: name -> conditioner of the model.
        request: the page's request.

    Raises:
        InputError: for a condition that the model does not have, and one that may read its text as a path.
    """
    for name, _ in request.conditions:
        conditioner = conditioners.get(name)
        if conditioner is None:
            raise InputError(
                f"{request.model} follows no condition {name[:40]!r}: remove it from the further conditions"
            )
        if not conditioner.from_text:
            raise InputError(
                f"the condition {name[:40]!r} of {request.model} is not given as text, and the page has no input for it: use "
                "the command line, musicgen generate --condition"
            )


def stream(
    scheduler: Scheduler,
    request: ClipRequest,
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

    Raises:
        InputError: for a request that the model cannot follow.
    """
    check_conditions(scheduler.model.named_conditioners, request)
    if request.span is not None:
        return _repainted(scheduler, request, seed, progress, cancellation)
    return scheduler.stream(library_request(request, seed), progress=progress, cancellation=cancellation)


def _repainted(
    scheduler: Scheduler,
    request: ClipRequest,
    seed: int,
    progress: Callable[[int, int], None],
    cancellation: Cancellation,
) -> Iterator[torch.Tensor]:
    """The clip with its span made anew, in one piece."""
    assert request.span is not None
    assert request.continue_from is not None
    whole = dataclasses.replace(library_request(request, seed), continue_from=None)
    made = scheduler.repaint(
        request.continue_from, *request.span, whole, candidates=CANDIDATES, progress=progress, cancellation=cancellation
    )
    yield made.wave
