"""A first-in, first-out job queue with worker threads and a limit for each visitor.

The module depends neither on music nor on the user interface. The caller that submits a job can follow it from an asyncio task,
which is woken by every change of its events, progress, position and state. It can stop the job, which keeps the output so far,
or cancel it, which discards the output. Both set the job's `Cancellation`, which is passed on to the computation.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from musicgen.cancellation import Cancellation, Cancelled
from musicgen.errors import MusicGenError
from musicgen.serving.notifier import Notifier
from musicgen.text_format import counted

Payload = TypeVar("Payload")
Event = TypeVar("Event")

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
"""Shortest time between two progress reports to a follower: a page takes longer to show one than a model to make a step."""


class QueueFull(MusicGenError):
    """The queue is full, or the visitor has reached the limit of jobs."""


class Demand(NamedTuple):
    """The share of the limits that a job uses.

    Attributes:
        visitor, address, seconds: as of `Job`.
        waits: whether it is waiting in the queue.
    """

    visitor: str
    address: str
    seconds: float
    waits: bool


class Job(Generic[Payload, Event]):
    """One job: its input, its events and its state.

    Attributes:
        identifier: 128 random bits, as text.
        visitor: the session that submitted the job.
        address: the network address that it came from, or the network of an IPv6 address; "" if there is none.
        seconds: duration of the audio that the job generates.
        payload: the input of the job.
        context: context variables of the submitting thread, in which the job runs. ZeroGPU reads the visitor's request, and so
            the GPU quota to charge, from them.
        cancellation: set by `stop` and by `cancel`.
        discarded: whether `cancel` has been called.
        progress: the newest progress report, None before the first. Older reports are dropped.
        error: the exception that ended the job, None without one.
        changes: notified after each change of events, progress, position and end.
        submitted: when the job was submitted (`time.monotonic`).
    """

    def __init__(
        self, visitor: str, payload: Payload, address: str, seconds: float, identifier: str | None = None
    ) -> None:
        self.identifier = secrets.token_hex(16) if identifier is None else identifier
        self.visitor, self.payload, self.address, self.seconds = visitor, payload, address, seconds
        self.context = contextvars.copy_context()
        self.cancellation = Cancellation()
        self.discarded = False
        self.progress: Event | None = None
        self.error: Exception | None = None
        self.changes = Notifier()
        self.submitted = time.monotonic()
        self._events: list[Event] = []
        self._done = threading.Event()

    # Called by the submitter of the job.

    def events(self, start: int = 0) -> list[Event]:
        """The events so far, oldest first. They are kept, because a page that was reloaded follows its job from the start.

        Args:
            start: number of events to leave out.
        """
        return self._events[start:]

    @property
    def done(self) -> bool:
        """Whether the job has finished, failed or been cancelled."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job is done.

        Args:
            timeout: seconds; None waits without a limit.

        Returns:
            Whether the job is done.
        """
        return self._done.wait(timeout)

    def stop(self) -> None:
        """End the job early. The output so far is kept."""
        self.cancellation.cancel()

    def cancel(self) -> None:
        """End the job early. The output is discarded."""
        self.discarded = True
        self.cancellation.cancel()

    def forget(self) -> None:
        """Free the events of a job that is done, also for followers that do not read them."""
        self._events = []

    # Called by the worker thread.

    def put_event(self, event: Event) -> None:
        """Append an event."""
        self._events.append(event)
        self.changes.notify()

    def report(self, progress: Event) -> None:
        """Replace the progress report."""
        self.progress = progress
        self.changes.notify()

    def finish(self, error: Exception | None = None) -> None:
        """Mark the job as done."""
        self.error = error
        self._done.set()
        self.changes.notify()


Check = Callable[[Sequence[Demand]], None]
"""Called with the jobs of other queues that share the limits. Raises QueueFull."""


def _admit(job: Job[Payload, Event], check: Check) -> None:  # noqa: ARG001
    """Admit a job to a queue that shares its limits with no other."""
    check(())


class JobQueue(Generic[Payload, Event]):
    """Jobs in the order of submission, and the worker threads that run them.

    Args:
        run_job: runs one job; called in a worker thread.
        workers: number of worker threads, and so of jobs that run at the same time. The attribute of that name has it.
        max_waiting: number of jobs that may wait.
        max_per_visitor: number of jobs of one visitor that may wait or run at the same time. Clients can choose their visitor
            name, so there are also limits on what they cannot choose.
        max_per_address: number of jobs of one network address.
        thing: the name of a job's result in error messages.
        max_seconds: seconds of sound of all jobs that wait or run; half of them for one address. A job that comes alone is
            always admitted.
        on_end: called with each job that ends, before its followers know.
        admit: checks a job together with those of other queues that share the limits, and registers it there.
    """

    def __init__(
        self,
        run_job: Callable[[Job[Payload, Event]], None],
        *,
        workers: int,
        max_waiting: int,
        max_per_visitor: int,
        max_per_address: float = math.inf,
        max_seconds: float = math.inf,
        thing: str = "clip",
        on_end: Callable[[Job[Payload, Event]], object] = lambda job: None,  # noqa: ARG005
        admit: Callable[[Job[Payload, Event], Check], None] = _admit,
    ) -> None:
        self._on_end, self._admit, self.workers = on_end, admit, workers
        self._run_job, self._max_waiting, self._max_per_visitor = run_job, max_waiting, max_per_visitor
        self._max_per_address, self._max_seconds, self._thing = max_per_address, max_seconds, thing
        self._waiting: deque[Job[Payload, Event]] = deque()
        self._running: list[Job[Payload, Event]] = []
        self._changed = threading.Condition()
        self._open = True
        self._threads = [
            threading.Thread(target=self._run_worker, daemon=True, name=f"worker-{i}") for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        visitor: str,
        payload: Payload,
        address: str = "",
        seconds: float = 0.0,
        *,
        admitted: bool = False,
        identifier: str | None = None,
    ) -> Job[Payload, Event]:
        """Append a job to the queue. It leaves the queue when it is stopped or cancelled before its turn.

        Args:
            visitor: the session of the visitor.
            payload: the input of the job.
            address: the visitor's network address; "" is not limited.
            seconds: of sound that the job makes.
            admitted: whether the limits have been checked before, by a queue that has ended.
            identifier: the job's in that queue; None for a new job.

        Raises:
            QueueFull: when the queue is full, or the visitor or the address has reached a limit.
        """
        job: Job[Payload, Event] = Job(visitor, payload, address, seconds, identifier)
        with self._changed:
            self._admit(job, lambda others: None if admitted else self._check_admitted(job, others))
            self._waiting.append(job)
            self._changed.notify_all()
        job.cancellation.on_cancel(lambda: self._drop_waiting(job))
        return job

    async def follow(self, job: Job[Payload, Event]) -> AsyncGenerator[int | Event]:
        """The past and future events of a job, until it is done. Several tasks can follow the same job.

        Yields:
            Each event from the first on; the position in the queue whenever it has changed; the progress report where it has
            changed, at most every REPORT_SECONDS.

        Raises:
            Exception: the error of the job.
        """
        shown: int | Event | None = None
        next_report = time.monotonic()
        num_events = 0
        with job.changes.watch() as changed:
            while True:
                changed.clear()
                done = job.done  # before the events are read: none comes after the end
                for event in job.events(num_events):
                    num_events += 1
                    yield event
                if done:
                    break
                state = self.position(job) or job.progress
                early = next_report - time.monotonic() if not isinstance(state, int) else 0.0
                if state is not None and state != shown and early <= 0:
                    shown, next_report = state, time.monotonic() + REPORT_SECONDS
                    yield state
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(early if early > 0 and state != shown else None):
                        await changed.wait()
        if job.error is not None:
            raise job.error

    def position(self, job: Job[Payload, Event]) -> int:
        """The job's position in the queue: 1 for the next to run, 0 if it is running or done."""
        with self._changed:
            return next((i + 1 for i, waiting in enumerate(self._waiting) if waiting is job), 0)

    def jobs_of(self, visitor: str) -> list[Job[Payload, Event]]:
        """A visitor's jobs, the running ones first."""
        with self._changed:
            return [job for job in (*self._running, *self._waiting) if job.visitor == visitor]

    def wait_until_empty(self, timeout: float) -> bool:
        """Block until no job waits or runs.

        Args:
            timeout: seconds.

        Returns:
            Whether there is none.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._running, timeout)

    def close(self) -> None:
        """Cancel all jobs and end the worker threads."""
        with self._changed:
            self._open = False
            jobs = [*self._waiting, *self._running]
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
        for thread in self._threads:
            thread.join(timeout=10)

    def __len__(self) -> int:
        """Number of jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + len(self._running)

    def load(self) -> tuple[int, int, float]:
        """Number of jobs that wait, number of those that run, and the seconds of sound of all of them."""
        with self._changed:
            seconds = sum(job.seconds for job in (*self._waiting, *self._running))
            return len(self._waiting), len(self._running), seconds

    def _check_admitted(self, job: Job[Payload, Event], others: Sequence[Demand]) -> None:
        here = [*((one, False) for one in self._running), *((one, True) for one in self._waiting)]
        present = [*(Demand(one.visitor, one.address, one.seconds, waits) for one, waits in here), *others]
        thing = self._thing
        own = sum(other.visitor == job.visitor for other in present)
        if own >= self._max_per_visitor:
            yours = counted(own, f"{thing} of yours is", f"{thing}s of yours are")
            raise QueueFull(f"{yours} being made or waiting already: wait for one, or stop it")
        num_waiting = sum(other.waits for other in present)
        if num_waiting >= self._max_waiting:
            waiting = counted(num_waiting, f"{thing} waits", f"{thing}s wait")
            raise QueueFull(f"the queue is full ({waiting}): try again in a minute")
        near = [other for other in present if job.address and other.address == job.address]
        if len(near) >= self._max_per_address:
            theirs = counted(len(near), f"{thing} of your network is", f"{thing}s of your network are")
            raise QueueFull(f"{theirs} being made or waiting already: try again in a minute")
        for those, limit, whose in (
            (near, self._max_seconds / 2, "your network"),
            (present, self._max_seconds, "all"),
        ):
            seconds = sum(other.seconds for other in those)
            if those and seconds + job.seconds > limit:
                raise QueueFull(
                    f"the queue is full: {seconds:.0f} s of sound of {whose} are waiting or being made, {limit:.0f} s at most "
                    "with yours: try again later, or a shorter clip"
                )

    def _drop_waiting(self, job: Job[Payload, Event]) -> None:
        """Remove a job that was stopped before its turn."""
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            self._changed.notify_all()
            behind = list(self._waiting)
        self._finish(job, None)
        for other in behind:
            other.changes.notify()

    def _run_worker(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or not self._open)
                if not self._open:
                    return
                job = self._waiting.popleft()
                self._running.append(job)
                moved = [job, *self._waiting]
            for one in moved:
                one.changes.notify()
            error: Exception | None = None
            try:
                job.cancellation.raise_if_cancelled()
                job.context.run(self._run_job, job)
            except Cancelled:
                pass
            except Exception as exception:  # the worker thread continues with the next job
                if not isinstance(exception, MusicGenError):
                    log.exception("a job failed")
                error = exception
            finally:
                self._finish(job, error)
                with self._changed:
                    self._running.remove(job)
                    self._changed.notify_all()

    def _finish(self, job: Job[Payload, Event], error: Exception | None) -> None:
        job.error = error
        try:
            self._on_end(job)
        finally:
            job.finish(error)
