"""The caller's side of a scheduled generation, and the channel through which the scheduler reports to it.

    caller: GenerationHandle  --cancel, garbage collection-->          scheduler: GenerationState
    caller: GenerationHandle  <--audio chunks, progress, error--       scheduler: GenerationState

Both sides share an `OutputChannel` and hold no strong reference to each other, so a handle that is garbage-collected cancels
its generation.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator

import torch

from musicgen.errors import MusicGenError


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


class Cancelled(MusicGenError):
    """The generation was cancelled before the clip was complete."""


class OutputChannel:
    """What the scheduler reports: audio chunks, the number of steps done, then the end or an error. Thread-safe.

    Args:
        total: Number of steps of the generation.
    """

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total
        self.error: Exception | None = None
        self.cancelled = threading.Event()
        self._chunks: queue.SimpleQueue[torch.Tensor | None] = queue.SimpleQueue()
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether no more chunks will be added."""
        return self._closed.is_set()

    def put(self, wave: torch.Tensor) -> None:
        """Append an audio chunk [C, samples]; ignored once the channel is closed."""
        if not self._closed.is_set():
            self._chunks.put(wave)

    def close(self, error: Exception | None = None) -> None:
        """Close the channel, with an error if the generation failed. Only the first call has an effect."""
        if not self._closed.is_set():
            self.error = error
            self._closed.set()
            self._chunks.put(None)

    def get(self, timeout: float | None) -> torch.Tensor | None:
        """Returns the next chunk, or None at the end.

        Raises:
            queue.Empty: After `timeout` seconds without a chunk.
        """
        chunk = self._chunks.get(timeout=timeout)
        if chunk is None:
            self._chunks.put(None)  # later calls find the end again
        return chunk


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
        if wave is None and self._output.error is not None:
            raise self._output.error
        return wave

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
