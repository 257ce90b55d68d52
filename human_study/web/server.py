"""Runs the application of a study until a signal ends it."""

from __future__ import annotations

from types import FrameType

import uvicorn
from fastapi import FastAPI

from musicgen.serving.connections import BoundedConnection

CONNECTIONS_SECONDS = 10
"""Time that requests have to be answered once the server has been told to end."""


class Server(uvicorn.Server):
    """Serves an application. A signal is the normal end of the program, whose exit code is then 0.

    Args:
        app: the application.
    """

    def __init__(self, app: FastAPI) -> None:
        # No access log: query strings contain the worker ids of raters. What proxies say of themselves (X-Forwarded-*) is not
        # used: the scheme and the host that raters see are those of --public-url.
        super().__init__(uvicorn.Config(
            app, access_log=False, log_level="warning", proxy_headers=False, server_header=False, http=BoundedConnection,
            ws="none", timeout_graceful_shutdown=CONNECTIONS_SECONDS,
        ))  # fmt: skip

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Called with a signal; a second one does not wait. uvicorn would send the process the signal again at its end."""
        self.force_exit = self.should_exit
        self.should_exit = True
