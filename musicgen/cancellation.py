"""A cancellation flag, shared by the callers that may set it and the workers that check it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from musicgen.errors import MusicGenError


class Cancelled(MusicGenError):
    """The generation was cancelled before the clip was complete."""


class Cancellation:
    """A flag that is set once. Thread-safe.

    Nobody polls it to wait for it: what blocks registers a callback that wakes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` has been called."""
        return self._cancelled

    def cancel(self) -> None:
        """Set the flag and call the callbacks, in this thread. Only the first call has an effect."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:  # without the lock: a callback may take locks of its own
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call a function when the flag is set; at once where it is set already.

        Args:
            callback: Must not block.

        Returns:
            A function that withdraws the callback.
        """
        key = object()
        with self._lock:
            if not self._cancelled:
                self._callbacks[key] = callback
                return lambda: self._withdraw(key)
        callback()
        return lambda: None

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled once the flag is set."""
        if self._cancelled:
            raise Cancelled("cancelled")

    def _withdraw(self, key: object) -> None:
        with self._lock:
            self._callbacks.pop(key, None)
