"""Handling of the signals that end a server."""

from __future__ import annotations

import signal


def interrupt_on_termination() -> None:
    """Let SIGTERM and SIGHUP interrupt the program as Ctrl-C does, so that it cleans up.

    Process 1 of a container ignores signals without a handler, and by default SIGHUP ends a process without cleaning up.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.default_int_handler)
