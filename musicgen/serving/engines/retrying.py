"""Resuming the clips of a lost engine: a clip depends only on its request and seed, so another engine generates the same
clip."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np

from musicgen.cancellation import Cancellation
from musicgen.errors import MusicGenError
from musicgen.serving.engines.base import AudioChunk, Report

log = logging.getLogger(__name__)

RETRY_TIMEOUT_SECONDS = 60.0
"""Time without any sound in which a lost engine is asked again."""
WAITING = "waiting for an engine"
"""The progress message while an engine is asked again."""
_RETRY_INTERVAL_SECONDS = 1.0


class EngineLost(MusicGenError):
    """The engine does not answer, or does not know the generation any more."""


def with_retries(
    attempt: Callable[[], Generator[AudioChunk]], report: Report, cancellation: Cancellation
) -> Iterator[AudioChunk]:
    """The sound of a clip, which is begun anew where its engine is lost; what has been yielded is not yielded again.

    Args:
        attempt: begins the clip, and raises EngineLost.
        report: called while an engine is waited for.
        cancellation: ends the generation.

    Raises:
        EngineLost: there is no engine for RETRY_TIMEOUT_SECONDS.
    """
    deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
    sent = 0
    while True:
        skip = sent
        try:
            with contextlib.closing(attempt()) as chunks:
                for chunk in chunks:
                    skipped = min(skip, chunk.samples.shape[1])
                    skip -= skipped
                    part = np.ascontiguousarray(chunk.samples[:, skipped:])
                    deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
                    sent += part.shape[1]
                    if part.shape[1]:
                        yield chunk._replace(samples=part)
            return
        except EngineLost as error:
            cancellation.raise_if_cancelled()
            if time.monotonic() > deadline:
                raise
            log.warning("%s: the generation is begun anew", error)
            report(0.0, WAITING)
            time.sleep(_RETRY_INTERVAL_SECONDS)
