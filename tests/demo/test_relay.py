"""What becomes of a request that is passed on to a worker which ends meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from demo.ui import relay
from demo.ui.relay import Relay
from demo.workers import Workers
from musicgen.serving.index import Index
from musicgen.serving.servers import Servers
from tests.demo.conftest import free_port

JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"
BODY = {"session_hash": "a"}
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Other:
    """Another worker that has the session."""

    def __init__(self, folder: Path) -> None:
        index, self.servers = Index(folder / "index"), Servers(folder / "workers")
        self.workers = Workers(index, self.servers, 3600.0)

    @contextlib.asynccontextmanager
    async def serving(self, handler: Handler) -> AsyncIterator[None]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.registered(port)
        async with server:
            yield

    def registered(self, port: int) -> None:
        self.workers.register(f"http://127.0.0.1:{port}")
        assert self.workers.claim(["session:a"]) is None


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.fixture
def other(tmp_path: Path) -> Other:
    return Other(tmp_path)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    """The relay of this worker, whose application says that it has answered itself."""
    monkeypatch.setattr(relay, "ENDING_SECONDS", 1.0)

    async def answer(request: Request) -> Response:
        return PlainTextResponse(f"mine: {(await request.body()).decode()}")

    workers = Workers(Index(tmp_path / "index"), Servers(tmp_path / "workers"), 3600.0)
    workers.register("http://127.0.0.1:1")
    return Relay(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]), workers)


async def ask(mine: Relay, method: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(mine), base_url="http://page") as client:
        if method == "POST":
            return await client.post(JOIN, json=BODY)
        return await client.get(DATA, params=BODY)


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
def test_what_a_worker_that_ends_may_have_begun_is_not_begun_twice(
    mine: Relay, other: Other, method: str, status: int
) -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other.servers.close()
        await break_off(reader, writer)

    async def asked() -> httpx.Response:
        async with other.serving(end):
            return await ask(mine, method)

    answer = asyncio.run(asked())
    assert answer.status_code == status
    assert answer.text.startswith("mine" if status == 200 else "the worker of this session does not answer")


def test_what_a_worker_that_has_ended_was_never_sent_is_answered_here(mine: Relay, other: Other) -> None:
    """The system still says that it runs, for a moment: its connections are closed before its lock."""
    other.registered(free_port())
    asked = 0
    runs = mine._workers.is_running

    def is_running(worker: object) -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            other.servers.close()
        return runs(worker)  # type: ignore[arg-type]

    mine._workers.is_running = is_running  # type: ignore[method-assign, assignment]
    answer = asyncio.run(ask(mine, "POST"))
    assert answer.status_code == 200
    assert answer.text == 'mine: {"session_hash":"a"}'
    assert asked == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_worker_that_runs_and_does_not_answer_is_said(
    mine: Relay, other: Other, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def asked() -> httpx.Response:
        async with other.serving(break_off):
            return await ask(mine, method)

    assert asyncio.run(asked()).status_code == 502
    assert "does not answer" in caplog.text


def test_a_worker_has_no_session_before_the_others_know_where_it_is(tmp_path: Path) -> None:
    workers = Workers(Index(tmp_path / "index"), Servers(tmp_path / "workers"), 3600.0)
    other = Workers(Index(tmp_path / "index"), Servers(tmp_path / "workers"), 3600.0)
    other.register("http://127.0.0.1:2")

    async def asked() -> tuple[object, object]:
        waiting = asyncio.create_task(asyncio.to_thread(workers.claim, ["session:a"]))
        begun = await asyncio.to_thread(other.claim, ["session:b"])
        assert not waiting.done()
        workers.register("http://127.0.0.1:1")
        return await waiting, begun

    assert asyncio.run(asked()) == (None, None)
    found = other.claim(["session:a"])
    assert found is not None
    assert found.url == "http://127.0.0.1:1"
