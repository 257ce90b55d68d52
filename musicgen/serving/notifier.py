"""Wakes asyncio tasks when a thread has changed a value that they wait for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator


class Notifier:
    """Tells its watchers, which are asyncio tasks of any event loop, that something has changed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def notify(self) -> None:
        """Wake the watchers. Callable from any thread; never blocks."""
        with self._lock:
            watchers = list(self._watchers)
        for loop, changed in watchers:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(changed.set)

    @contextlib.contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that each `notify` sets. The calling task clears it before it looks at what may have changed."""
        watcher = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._watchers.add(watcher)
        try:
            yield watcher[1]
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true. It is evaluated now and after each `notify`."""
        with self.watch() as changed:
            while not condition():
                await changed.wait()
                changed.clear()
