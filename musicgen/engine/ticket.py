"""A request in the scheduler, as its owner sees it and as the scheduler does.

    owner: Ticket  --cancel, drop-->  Job  --parts, progress, failure-->  Ticket

The owner holds the ticket, the scheduler the job: a ticket that nobody holds any more cancels its job.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator

import torch

from musicgen.errors import MusicGenError


class QueueFull(MusicGenError):
    """The queue takes no more. length: requests that wait; wait: seconds until a new one would begin, None where nothing was
    measured yet."""

    def __init__(self, length: int, wait: float | None) -> None:
        self.length, self.wait = length, wait
        expected = "" if wait is None else f"; a place at its end would begin in about {wait:.0f} s"
        super().__init__(f"the queue is full: {length} requests wait{expected}")


class Cancelled(MusicGenError):
    """The clip was cancelled before it was whole."""


class Outcome:
    """What the scheduler tells the owner: parts of the clip, then the end."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total
        self.failure: Exception | None = None
        self.cancelled = threading.Event()
        self._parts: queue.SimpleQueue[torch.Tensor | None] = queue.SimpleQueue()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def put(self, wave: torch.Tensor) -> None:
        if not self._ended.is_set():
            self._parts.put(wave)

    def end(self, failure: Exception | None = None) -> None:
        """The first call counts."""
        if not self._ended.is_set():
            self.failure = failure
            self._ended.set()
            self._parts.put(None)

    def get(self, timeout: float | None) -> torch.Tensor | None:
        """The next part; None at the end. Raises queue.Empty after `timeout` seconds."""
        part = self._parts.get(timeout=timeout)
        if part is None:
            self._parts.put(None)  # for whoever asks again
        return part


class Ticket:
    """One clip being made. Iterate over it for its parts [C, n] as they come; what went wrong is raised at the end."""

    def __init__(self, outcome: Outcome, place: object) -> None:
        self._outcome, self._place = outcome, place
        weakref.finalize(self, outcome.cancelled.set)

    @property
    def progress(self) -> tuple[int, int]:
        """Steps done and in all."""
        return self._outcome.done, self._outcome.total

    @property
    def place(self) -> int:
        """Requests before this one in the queue, itself included; 0 when it is being made."""
        return self._place() if callable(self._place) else 0

    @property
    def ended(self) -> bool:
        """Nothing more comes."""
        return self._outcome.ended

    def cancel(self) -> None:
        """End it within one step. What has been decoded can still be read."""
        self._outcome.cancelled.set()

    def part(self, timeout: float | None = None) -> torch.Tensor | None:
        """The next part, None at the end. Raises queue.Empty after `timeout` seconds, and what ended the clip early."""
        wave = self._outcome.get(timeout)
        if wave is None and self._outcome.failure is not None:
            raise self._outcome.failure
        return wave

    def result(self) -> torch.Tensor:
        """The whole clip [C, samples], waited for: all its parts joined, if none was taken before."""
        return torch.cat(list(self), dim=1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        while (wave := self.part()) is not None:
            yield wave
