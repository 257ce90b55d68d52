"""Several processes of the page behind a proxy that sends each request to the next one, as the tests start them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.demo.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]
METHODS = ["GET", "POST", "HEAD", "DELETE", "PUT", "OPTIONS"]
_OF_A_CONNECTION = ("connection", "transfer-encoding", "keep-alive")


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
            return httpx.get(f"{self.url}gradio_api/app_id", timeout=5).status_code in (200, 401)
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """As the system kills a process: nothing of it runs any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)


class Page:
    """The workers, and the proxy in front of them.

    Attributes:
        address: of the proxy.
        counts: requests that each worker has answered.
    """

    def __init__(self, state: Path, workers: Sequence[Worker], address: str) -> None:
        self.state, self.workers, self.address = state, workers, address
        self.counts = dict.fromkeys((worker.port for worker in workers), 0)

    def read(self, query: str, *values: object) -> list[tuple]:
        """Rows of the index, which the test reads as one of its users would."""
        with contextlib.closing(sqlite3.connect(self.state / "index.sqlite3", timeout=20)) as index:
            return index.execute(query, values).fetchall()

    def worker_of_the_job(self) -> Worker:
        """The worker that makes the one clip that is being made."""
        ((url,),) = self.read("SELECT url FROM jobs JOIN workers USING (server) WHERE NOT waits")
        return next(worker for worker in self.workers if f"{url}/" == worker.url)


def _proxy(page: Page, client: httpx.AsyncClient) -> Starlette:
    turns = itertools.count()

    async def answer(request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.raw if name.decode() not in _OF_A_CONNECTION]
        headers.append((b"x-forwarded-for", request.headers.get("x-came-from", "127.0.0.1").encode()))
        body = await request.body()
        target = str(request.url).removeprefix(str(request.base_url))
        for _ in page.workers:
            worker = page.workers[next(turns) % len(page.workers)]
            asked = client.build_request(request.method, f"{worker.url}{target}", headers=headers, content=body or None)
            with contextlib.suppress(httpx.ConnectError):
                answered = await client.send(asked, stream=True)
                page.counts[worker.port] += 1
                given = StreamingResponse(
                    answered.aiter_raw(), answered.status_code, background=BackgroundTask(answered.aclose)
                )
                given.raw_headers = [
                    pair for pair in answered.headers.raw if pair[0].lower().decode() not in _OF_A_CONNECTION
                ]
                return given
        return Response(status_code=502)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])


@contextlib.contextmanager
def page_behind_a_proxy(state: Path, count: int, *arguments: str) -> Iterator[Page]:
    """Start workers and a proxy that sends each request to the next one."""
    workers = [Worker(state, *arguments) for _ in range(count)]
    port = free_port()
    page = Page(state, workers, f"http://127.0.0.1:{port}/")
    client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None), trust_env=False)
    server = uvicorn.Server(uvicorn.Config(_proxy(page, client), host="127.0.0.1", port=port, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        for worker in workers:
            wait_until(worker.answers, 180)
        yield page
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        for worker in workers:
            worker.process.wait(60)
        server.should_exit = server.force_exit = True
        thread.join(20)
