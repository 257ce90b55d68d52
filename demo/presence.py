"""Tracking of connected visitors, so that a job can be cancelled when its visitor has had no open connection for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator


class SessionPresence:
    """Counts the open connections of each session. All methods are called in one event loop.

    Args:
        on_gone: called with a session that has had no connection for the grace period.
        grace_seconds: the time in which a client may connect for the first time, or again.
    """

    def __init__(self, on_gone: Callable[[str], object], grace_seconds: float) -> None:
        self._on_gone, self.grace_seconds = on_gone, grace_seconds
        self._connections: Counter[str] = Counter()
        self._expected: Counter[str] = Counter()
        """Running timers of each session."""

    @contextlib.contextmanager
    def connected(self, session: str) -> Iterator[None]:
        """For the time of a connection."""
        self._connections[session] += 1
        try:
            yield
        finally:
            self._connections[session] -= 1
            if not self._connections[session]:
                del self._connections[session]
                self.expect(session)

    def expect(self, session: str) -> None:
        """Take a session for gone unless it is connected after the grace period."""
        if session not in self._connections:
            self._expected[session] += 1
            asyncio.get_running_loop().call_later(self.grace_seconds, self._check, session)

    def is_present(self, session: str) -> bool:
        """Whether a session is connected, or may still connect within its grace period."""
        return session in self._connections or session in self._expected

    def _check(self, session: str) -> None:
        self._expected[session] -= 1
        if not self._expected[session]:
            del self._expected[session]
        if session not in self._connections:
            self._on_gone(session)
