"""Several processes of the page behind a proxy that sends each request to the next one, as the tests start them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import Response

from tests.demo.conftest import free_port, wait_until
from tests.demo.proxy import as_it_comes, proxy

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds in which a busy machine starts a process, or ends one."""


class Worker:
    """`python app.py` in a process of its own.

    Args:
        state: the folder that the workers share.
        arguments: of the program.
    """

    def __init__(self, state: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--state", str(state), "--no-open", *arguments],
            cwd=ROOT, env=os.environ | {"GRADIO_SERVER_PORT": str(self.port)}, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def answers(self) -> bool:
        assert self.process.poll() is None, "the page has ended"
        try:
            return httpx.get(f"{self.url}gradio_api/app_id", timeout=PATIENCE).status_code in (200, 401)
        except httpx.TransportError:
            return False

    def end(self, by: signal.Signals) -> None:
        """Send a signal, and wait until nothing of the process runs any more."""
        self.process.send_signal(by)
        self.process.wait(PATIENCE)


class Page:
    """The workers, and the proxy in front of them.

    Attributes:
        address: of the proxy.
        counts: requests that each worker has answered, by its port.
    """

    def __init__(self, state: Path, workers: Sequence[Worker], address: str, counts: Mapping[int, int]) -> None:
        self.state, self.workers, self.address, self.counts = state, workers, address, counts

    def read(self, query: str, *values: object) -> list[tuple]:
        """Rows of the index, which the test reads as one of its users would."""
        with contextlib.closing(sqlite3.connect(self.state / "index.sqlite3", timeout=20)) as index:
            return index.execute(query, values).fetchall()

    def worker_of_the_job(self) -> Worker:
        """The worker that makes the one clip that is being made."""
        ((url,),) = self.read("SELECT url FROM jobs JOIN workers USING (server) WHERE NOT waits")
        return next(worker for worker in self.workers if f"{url}/" == worker.url)


@contextlib.contextmanager
def page_behind_a_proxy(state: Path, count: int, *arguments: str) -> Iterator[Page]:
    """Start workers and a proxy that sends each request to the next one."""
    workers = [Worker(state, *arguments) for _ in range(count)]
    counts = {worker.port: 0 for worker in workers}

    async def counted(request: Request, answered: httpx.Response) -> Response:
        counts[answered.url.port or 0] += 1
        return await as_it_comes(request, answered)

    try:
        with proxy([worker.url for worker in workers], counted) as address:
            for worker in workers:
                wait_until(worker.answers, PATIENCE)
            yield Page(state, workers, address, counts)
    finally:
        running = [worker for worker in workers if worker.process.poll() is None]
        for worker in running:
            worker.process.terminate()
        codes = [worker.process.wait(PATIENCE) for worker in running]
    assert not any(codes), "a worker has not ended in good order"
