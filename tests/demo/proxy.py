"""A proxy in front of pages, as nginx is by default: each request goes to the next server, or to another if it is gone."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.demo.conftest import free_port, wait_until

Carry = Callable[[Request, httpx.Response], Awaitable[Response]]
"""Makes the answer to a request of a server's."""
METHODS = ["GET", "POST", "HEAD", "DELETE", "PUT", "OPTIONS"]
_OF_A_CONNECTION = ("connection", "transfer-encoding", "keep-alive")


async def as_it_comes(request: Request, answered: httpx.Response) -> Response:  # noqa: ARG001
    return with_headers(StreamingResponse(answered.aiter_raw(), answered.status_code), answered)


def with_headers(given: Response, answered: httpx.Response) -> Response:
    """An answer with the headers of a server's."""
    given.raw_headers = [pair for pair in answered.headers.raw if pair[0].lower().decode() not in _OF_A_CONNECTION]
    given.background = given.background or BackgroundTask(answered.aclose)
    return given


def _application(urls: Sequence[str], carry: Carry, client: httpx.AsyncClient) -> Starlette:
    turns = itertools.count()

    async def answer(request: Request) -> Response:
        headers = [(name, value) for name, value in request.headers.raw if name.decode() not in _OF_A_CONNECTION]
        headers.append((b"x-forwarded-for", request.headers.get("x-came-from", "127.0.0.1").encode()))
        body = await request.body()
        target = str(request.url).removeprefix(str(request.base_url))
        turn = next(turns)
        for number in range(len(urls)):  # each of them once, whatever other requests come in between
            url = urls[(turn + number) % len(urls)]
            asked = client.build_request(request.method, f"{url}{target}", headers=headers, content=body or None)
            try:
                return await carry(request, await client.send(asked, stream=True))
            except httpx.TransportError as error:
                if not isinstance(error, httpx.ConnectError) and request.method not in ("GET", "HEAD"):
                    break
        return Response(status_code=502)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])


@contextlib.contextmanager
def proxy(urls: Sequence[str], carry: Carry = as_it_comes) -> Iterator[str]:
    """Serve a proxy.

    Args:
        urls: of the servers, each with a slash at its end.
        carry: makes the answers of theirs.

    Yields:
        Its URL.
    """
    port = free_port()
    client = httpx.AsyncClient(
        timeout=None, limits=httpx.Limits(max_connections=None, keepalive_expiry=2.0), trust_env=False
    )
    server = uvicorn.Server(
        uvicorn.Config(_application(urls, carry, client), host="127.0.0.1", port=port, log_level="critical")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
