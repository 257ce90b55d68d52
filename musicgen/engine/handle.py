"""The caller's side of a scheduled generation, and the channel through which the scheduler reports to it.

    caller: GenerationHandle  --cancel, garbage collection-->          scheduler: GenerationState
    caller: GenerationHandle  <--audio chunks, progress, error--       scheduler: GenerationState

Both sides share an `OutputChannel` and hold no strong reference to each other, so a handle that is garbage-collected cancels
its generation.
"""

from __future__ import annotations

import math
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch

from musicgen.cancellation import Cancellation
from musicgen.errors import MusicGenError

PROGRESS_SECONDS = 0.05
"""Time between two progress reports of a clip, at least: waking a reader costs the scheduler's thread time."""


class QueueFull(MusicGenError):
    """The request queue is full.

    Attributes:
        length: Number of waiting requests.
        wait: Estimated seconds until a new request would start; None before any step was timed.
    """

    def __init__(self, length: int, wait: float | None) -> None:
        self.length, self.wait = length, wait
        expected = "" if wait is None else f"; a new one would start in about {wait:.0f} s"
        super().__init__(f"the queue is full: {length} requests are waiting{expected}")


class Progress(NamedTuple):
    """Steps of the model and of a decoder that takes steps. done: so far; total: of the whole clip."""

    done: int
    total: int


class OutputChannel:
    """What the scheduler reports: audio chunks and progress, then the end or an error. Thread-safe.

    Chunks are queued until they are read; of the progress only the newest value is kept.

    Args:
        total: Number of steps of the generation.
        cancellation: Ends the generation when it is set, as `cancelled` does; None for none.
    """

    def __init__(self, total: int, cancellation: Cancellation | None = None) -> None:
        self.done, self.total = 0, total
        self.error: Exception | None = None
        self.cancelled = threading.Event()
        self._changed = threading.Condition()
        self._chunks: deque[torch.Tensor] = deque()
        self._closed = False
        self._reported, self._reported_at = 0, -math.inf
        self._withdraw = None if cancellation is None else cancellation.on_cancel(self.cancelled.set)

    @property
    def closed(self) -> bool:
        """Whether no more chunks will be added."""
        return self._closed

    def advance(self) -> None:
        """Count a step. The reader is woken by the first and the last one, and in between every PROGRESS_SECONDS at most."""
        now = time.monotonic()
        with self._changed:  # the scheduler's thread counts the language model's steps, the decoder's thread its own
            self.done += 1
            if self.done == self.total or now - self._reported_at >= PROGRESS_SECONDS:
                self._reported, self._reported_at = self.done, now
                self._changed.notify_all()

    def put(self, wave: torch.Tensor) -> None:
        """Append an audio chunk [C, samples]; ignored once the channel is closed."""
        with self._changed:
            if not self._closed:
                self._chunks.append(wave)
                self._changed.notify_all()

    def close(self, error: Exception | None = None) -> None:
        """Close the channel, with an error if the generation failed. Only the first call has an effect."""
        with self._changed:
            if self._closed:
                return
            self.error, self._closed = error, True
            self._changed.notify_all()
        if self._withdraw is not None:
            self._withdraw()

    def get(self, timeout: float | None = None, reported: int | None = None) -> torch.Tensor | Progress | None:
        """Wait for the next chunk or progress.

        Args:
            timeout: Seconds to wait; None waits without limit.
            reported: Number of steps that the reader knows of; None for a reader that wants chunks alone.

        Returns:
            The next chunk, [C, samples]; else the progress, if it is beyond `reported`; None at the end.

        Raises:
            queue.Empty: After `timeout` seconds without any of them.
        """

        def progressed() -> bool:
            return reported is not None and self._reported > reported

        with self._changed:
            if not self._changed.wait_for(lambda: self._chunks or progressed() or self._closed, timeout):
                raise queue.Empty
            if self._chunks:
                return self._chunks.popleft()
            return Progress(self._reported, self.total) if progressed() else None


class GenerationHandle:
    """One scheduled clip. Iterating over it yields float32 audio chunks [C, samples] as they are decoded; an error of the
    generation is raised after the last chunk.

    Args:
        output: The channel shared with the scheduler.
        queue_position: Callable that returns the current position in the queue.
    """

    def __init__(self, output: OutputChannel, queue_position: object) -> None:
        self._output, self._queue_position = output, queue_position
        weakref.finalize(self, output.cancelled.set)

    @property
    def progress(self) -> tuple[int, int]:
        """(steps done, total steps)."""
        return self._output.done, self._output.total

    @property
    def queue_position(self) -> int:
        """1 for the next request to be started; 0 once the generation has started."""
        return self._queue_position() if callable(self._queue_position) else 0

    @property
    def finished(self) -> bool:
        """Whether the generation has completed, failed or was cancelled: no more chunks will be added."""
        return self._output.closed

    def cancel(self) -> None:
        """Cancel the generation; it stops within one step. Chunks that were already decoded can still be read."""
        self._output.cancelled.set()

    def next_chunk(self, timeout: float | None = None) -> torch.Tensor | None:
        """Wait for the next audio chunk.

        Args:
            timeout: Seconds to wait; None waits without limit.

        Returns:
            Float32 [C, samples], or None at the end of the clip.

        Raises:
            queue.Empty: After `timeout` seconds without a chunk.
            Cancelled: If the generation was cancelled.
            Exception: Whatever made the generation fail.
        """
        wave = self._output.get(timeout)
        assert not isinstance(wave, Progress)  # which was not asked for
        if wave is None:
            self._raise_error()
        return wave

    def updates(self) -> Iterator[torch.Tensor | Progress]:
        """Iterate over audio chunks, float32 [C, samples], and over the progress whenever it has changed, as they come.

        Raises:
            Cancelled: If the generation was cancelled.
            Exception: Whatever made the generation fail.
        """
        reported = 0
        while (update := self._output.get(reported=reported)) is not None:
            if isinstance(update, Progress):
                reported = update.done
            yield update
        self._raise_error()

    def result(self) -> torch.Tensor:
        """Wait for the end and return all chunks that were not read yet as one float32 tensor [C, samples].

        Raises:
            Cancelled: If the generation was cancelled.
            Exception: Whatever made the generation fail.
        """
        return torch.cat(list(self), dim=1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        while (wave := self.next_chunk()) is not None:
            yield wave

    def _raise_error(self) -> None:
        if self._output.error is not None:
            raise self._output.error
