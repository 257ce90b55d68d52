"""CPU time of a server's processes, of their threads, and of all other processes on this machine."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

Thread = tuple[int, int]
"""Process and thread identifier."""


@dataclass(frozen=True)
class Reading:
    """Processor time so far, seconds of a core.

    Attributes:
        processes: of each process, with its threads that have ended.
        threads: of each thread that runs.
        machine: of everything on the machine.
    """

    processes: dict[int, float]
    threads: dict[Thread, float]
    machine: float

    @classmethod
    def of(cls, pid: int) -> Reading:
        """That of a process with its descendants, and of this one, in which the listeners are."""
        family = {os.getpid(): psutil.Process()}
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            family |= {one.pid: one for one in (server, *server.children(recursive=True))}
        processes, threads = {}, {}
        for one in family.values():
            with contextlib.suppress(psutil.Error):  # it has ended since it was listed
                times = one.cpu_times()
                threads.update(
                    {(one.pid, thread.id): thread.user_time + thread.system_time for thread in one.threads()}
                )
                processes[one.pid] = times.user + times.system
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted as user and nice, too
        return cls(processes, threads, sum(times) - idle - guests)

    def since(self, before: Reading) -> Reading:
        """The time used since another reading."""
        return Reading(
            {pid: time - before.processes.get(pid, 0.0) for pid, time in self.processes.items()},
            {thread: time - before.threads.get(thread, 0.0) for thread, time in self.threads.items()},
            self.machine - before.machine,
        )

    @classmethod
    def sum(cls, readings: Iterable[Reading]) -> Reading:
        """The sum over several spans."""
        processes, threads, machine = Counter[int](), Counter[Thread](), 0.0
        for one in readings:
            processes.update(one.processes)
            threads.update(one.threads)
            machine += one.machine
        return cls(dict(processes), dict(threads), machine)

    @property
    def total(self) -> float:
        """That of all the processes."""
        return sum(self.processes.values())

    @property
    def others(self) -> float:
        """That of everything else on the machine."""
        return max(0.0, self.machine - self.total)

    def busiest(self, count: int) -> tuple[Thread, ...]:
        """The threads that have used most, but not this process's."""
        theirs = [thread for thread in self.threads if thread[0] != os.getpid()]
        return tuple(sorted(theirs, key=lambda thread: -self.threads[thread])[:count])

    def of_threads(self, threads: tuple[Thread, ...]) -> float:
        """That of some threads together."""
        return sum(self.threads.get(thread, 0.0) for thread in threads)
