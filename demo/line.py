"""Who waits, who is served: tickets in the order they came, some workers, a limit a visitor.

It knows nothing of music or widgets. A ticket's owner reads its events without blocking, sees the place in the line, stops it
(what was made is kept) or leaves (nothing is).
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from musicgen.errors import MusicGenError

Job = TypeVar("Job")
Event = TypeVar("Event")

log = logging.getLogger(__name__)


class Busy(MusicGenError):
    """The line is full, or the visitor has enough in it."""


class Stopped(MusicGenError):
    """The owner stopped the work or left."""


class Ticket(Generic[Job, Event]):
    """One job in the line. `failure` is for the owner to see; `latest` is the newest progress, older ones are dropped;
    `context` is the owner's, in which the work is done (it says whose request it is, which a Space's GPU quota asks for)."""

    def __init__(self, visitor: str, job: Job) -> None:
        self.visitor, self.job = visitor, job
        self.context = contextvars.copy_context()
        self.latest: Event | None = None
        self.failure: Exception | None = None
        self._events: deque[Event] = deque()
        self._stop, self._left, self._done = threading.Event(), threading.Event(), threading.Event()

    # The owner's side.

    def take(self) -> list[Event]:
        """What happened since the last call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Until it is done."""
        return self._done.wait(seconds)

    def stop(self) -> None:
        """End it soon and keep what was made."""
        self._stop.set()

    def leave(self) -> None:
        """End it soon and keep nothing."""
        self._left.set()
        self._stop.set()

    # The worker's side.

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def left(self) -> bool:
        return self._left.is_set()

    def put(self, event: Event) -> None:
        self._events.append(event)

    def end(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self._done.set()

    def check(self) -> None:
        """Raise Stopped if the owner wants no more."""
        if self._stop.is_set():
            raise Stopped("stopped")


class Line(Generic[Job, Event]):
    """Tickets and the threads that serve them by `work(ticket)`."""

    def __init__(
        self, work: Callable[[Ticket[Job, Event]], None], *, workers: int, length: int, per_visitor: int
    ) -> None:
        self._work, self._length, self._per_visitor = work, length, per_visitor
        self._waiting: deque[Ticket[Job, Event]] = deque()
        self._serving: list[Ticket[Job, Event]] = []
        self._changed = threading.Condition()
        self._open = True
        self._threads = [threading.Thread(target=self._serve, daemon=True, name=f"line-{i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def join(self, visitor: str, job: Job) -> Ticket[Job, Event]:
        """A ticket at the end of the line. Raises Busy."""
        with self._changed:
            own = sum(ticket.visitor == visitor for ticket in (*self._waiting, *self._serving))
            if own >= self._per_visitor:
                raise Busy(f"{own} clips of yours are being made or waiting already: wait for one, or stop it")
            if len(self._waiting) >= self._length:
                raise Busy(f"the queue is full ({len(self._waiting)} clips wait): try again in a minute")
            ticket: Ticket[Job, Event] = Ticket(visitor, job)
            self._waiting.append(ticket)
            self._changed.notify()
            return ticket

    def place(self, ticket: Ticket[Job, Event]) -> int:
        """How many are before it: 0 when it is being served (or done), 1 for the next."""
        with self._changed:
            return next((i + 1 for i, one in enumerate(self._waiting) if one is ticket), 0)

    def of(self, visitor: str) -> list[Ticket[Job, Event]]:
        """A visitor's tickets."""
        with self._changed:
            return [ticket for ticket in (*self._serving, *self._waiting) if ticket.visitor == visitor]

    def forget(self, ticket: Ticket[Job, Event]) -> None:
        """Take a ticket out of the line, if it still waits, and end it if it does not."""
        ticket.leave()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                ticket.end()

    def close(self) -> None:
        """End all work; the threads finish."""
        with self._changed:
            self._open = False
            for ticket in (*self._waiting, *self._serving):
                ticket.leave()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=10)

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting) + len(self._serving)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or not self._open)
                if not self._open:
                    return
                ticket = self._waiting.popleft()
                self._serving.append(ticket)
            failure: Exception | None = None
            try:
                if not ticket.left:
                    ticket.context.run(self._work, ticket)
            except Stopped:
                pass
            except Exception as error:  # a worker outlives every job
                if not isinstance(error, MusicGenError):
                    log.exception("a job failed")
                failure = error
            finally:
                with self._changed:
                    self._serving.remove(ticket)
                ticket.end(failure)
