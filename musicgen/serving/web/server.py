"""Runs the API server, with a graceful shutdown.

On SIGTERM or Ctrl-C, new generations are refused (503), queued and running ones are finished, and open streams are completed.
What is not finished by the deadline is resumed by the next server with the same folder. A second signal ends the server at
once.
"""

from __future__ import annotations

import logging
import socket
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from musicgen.errors import InputError
from musicgen.serving.connections import BoundedConnection
from musicgen.serving.web.generations import Generations

log = logging.getLogger(__name__)

CONNECTIONS_SECONDS = 10.0
"""Time that connections have to end once all generations have."""


class Server(uvicorn.Server):
    """Serves an API; ends as the module says.

    Args:
        app: the API.
        generations: that are drained.
        drain_seconds: time that generations have to end.
    """

    def __init__(self, app: FastAPI, generations: Generations, drain_seconds: float) -> None:
        # No access log: identifiers of generations are what keeps others out.
        super().__init__(uvicorn.Config(
            app, access_log=False, log_level="warning", server_header=False, http=BoundedConnection, ws="none", lifespan="off",
            timeout_graceful_shutdown=round(CONNECTIONS_SECONDS),
        ))  # fmt: skip
        self._generations, self._drain_seconds = generations, drain_seconds
        self._draining: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with a signal."""
        if self._draining is None:
            self._draining = threading.Thread(target=self._drain, daemon=True, name="drain")
            self._draining.start()
        else:
            super().handle_exit(sig, frame)

    def _drain(self) -> None:
        self._generations.draining = True
        queue = self._generations.service.job_queue
        waiting, running, _ = queue.load()
        log.warning("ending: %d generations run and %d wait, at most %g s", running, waiting, self._drain_seconds)
        if not queue.wait_until_empty(self._drain_seconds):
            log.warning("%d generations are not finished", len(queue))
        # Their listeners are sent away now: the connections would else keep the server for CONNECTIONS_SECONDS.
        self._generations.service.close(warm_up_timeout=2)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address, so that it is printed only when it is this server's.

    Args:
        host: the address.
        port: 0 for any that is free.

    Raises:
        InputError: the port is in use, or the address is not this machine's.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): is another server running there? Choose "
            "another --port"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
