"""Clients that take their time: connections on which nothing comes, half requests, and answers that nobody reads."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from musicgen import file_descriptor_limit

SMALL_BUFFER = 4096
"""Bytes of a client's receive buffer: what it does not read stays with the server."""


def need_many_files(number: int) -> None:
    """Skips the test where this process may not have as many open files, clients and server together."""
    most = file_descriptor_limit.raise_limit()
    if most is not None and most < number:
        pytest.skip(f"the system allows {most} open files")


@contextlib.contextmanager
def connections(
    address: str, number: int, request: str = "", buffer: int | None = None
) -> Iterator[list[socket.socket]]:
    """Connections that send a request, or a part of one, and read nothing."""
    parts = urlsplit(address)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            one = stack.enter_context(socket.socket())
            if buffer is not None:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            one.settimeout(30)
            one.connect((str(parts.hostname), parts.port))
            one.sendall(request.encode())
            opened.append(one)
        yield opened


@contextlib.contextmanager
def read_a_byte_a_second(readers: Sequence[socket.socket]) -> Iterator[None]:
    """While the block runs, each of the connections takes a byte of its answer each second."""
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(1.0):
            for one in readers:
                with contextlib.suppress(OSError):
                    one.recv(1)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


def longest_answer(address: str, paths: Sequence[str], times: int = 5) -> float:
    """Seconds that somebody else waits at most, who asks for these paths one after the other."""
    waited = []
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        for path in (*paths,) * times:
            begun = time.monotonic()
            assert client.get(path).status_code == 200, path
            waited.append(time.monotonic() - begun)
    return max(waited)


def patience(quiet: float) -> float:
    """Seconds that somebody may wait while slow clients are there, by what the machine, however busy, took without them."""
    return max(2.0, 10 * quiet)


def megabytes(process: int | None = None) -> float:
    """What a process has in memory, as Linux tells it."""
    pages = int(Path(f"/proc/{process or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
