"""Keeps a server running: if its process dies, another one is started on the same socket and with the same folder.

Ray terminates its client processes when the head of the cluster is lost. The supervisor owns the socket, so that clients wait
for the next process instead of being refused. The new process resumes what was accepted.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

SOCKET_VARIABLE = "MUSICGEN_SERVE_SOCKET"
"""The environment variable in which a supervised process finds the number of its socket."""
MAX_RESTARTS = 5
"""Restarts in a row of processes that ran for less than SETTLED_SECONDS."""
SETTLED_SECONDS = 60.0
_ENDS = (0, 2, 130)
"""Exit codes of a process that ended on purpose, or would end again."""


def supervise(command: Sequence[str], listening: socket.socket, environment: Mapping[str, str] = os.environ) -> int:
    """Run a command until it ends on purpose, or a signal ends it.

    Args:
        command: the program and its arguments.
        listening: its socket.
        environment: its variables.

    Returns:
        Its exit code.
    """
    current: list[subprocess.Popen[bytes]] = []
    ending = False

    def forward(number: int, _frame: object) -> None:
        nonlocal ending
        ending = True
        for process in current:
            process.send_signal(number)

    listening.set_inheritable(True)
    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    restarts = 0
    try:
        while True:
            begun = time.monotonic()
            number = listening.fileno()
            # In a session of its own, so that Ctrl-C in a terminal reaches it once.
            process = subprocess.Popen(
                command, env={**environment, SOCKET_VARIABLE: str(number)}, pass_fds=(number,), start_new_session=True
            )
            current[:] = [process]
            code = process.wait()
            if code in _ENDS or ending:
                return code if code >= 0 else 128 - code
            restarts = restarts + 1 if time.monotonic() - begun < SETTLED_SECONDS else 1
            if restarts > MAX_RESTARTS:
                log.error("the server has ended %d times in a row: it is not started again", restarts)
                return 1
            log.warning("the server has ended unexpectedly (%s): it is started again", _reason(code))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def inherited(environment: Mapping[str, str] = os.environ) -> socket.socket | None:
    """The socket of a supervised process, None for a process without a supervisor."""
    number = environment.get(SOCKET_VARIABLE)
    return None if number is None else socket.socket(fileno=int(number))


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
