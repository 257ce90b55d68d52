"""Limits on request bodies, enforced before they are read, and handling of broken streams without a traceback in the log."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 1_000_000
"""Of a request that sends no file. The longest that is meant holds an edited melody of ten minutes."""
BODY_SECONDS = 30.0
"""Time in which a body must have arrived, and more for each byte that has:"""
MIN_BYTES_PER_SECOND = 20_000


class BodyRefused(Exception):
    """A body that is longer than it may be, or comes too slowly."""


class StreamBroken(Exception):
    """A stream whose end is not there: its connection breaks off, so that nobody takes it for whole."""


class BodyLimits:
    """ASGI middleware: a body breaks off where it is longer or slower than it may be.

    Args:
        app: the application.
        upload_path: where files are sent.
        upload_bytes: of a file.
    """

    def __init__(self, app: ASGIApp, *, upload_path: str, upload_bytes: int) -> None:
        self._app, self._upload_path, self._upload_bytes = app, upload_path, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._upload_bytes if scope["path"] == self._upload_path else BODY_BYTES
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if b"content-length" in headers and b"transfer-encoding" in headers:
            await refuse(scope, receive, send, 400, "body", "a body has a length or is chunked, not both")
            return
        if not length.isdigit() or int(length[:20]) > limit:
            await refuse(scope, receive, send, 413, "body", f"the body is too long: {limit} bytes at most")
            return
        received, begun = 0, asyncio.get_running_loop().time()
        complete = started = False
        problem: tuple[int, str] | None = None

        async def counted() -> Message:
            nonlocal received, complete, problem
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(begun + BODY_SECONDS + received / MIN_BYTES_PER_SECOND):
                    message = await receive()
            except TimeoutError:
                problem = (408, "the body came too slowly")
                raise BodyRefused(problem[1]) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                problem = (413, f"the body is too long: {limit} bytes at most")
                raise BodyRefused(problem[1])
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if problem is None or started:  # else FastAPI's own answer to a body that cannot be read
                started = started or message["type"] == "http.response.start"
                await send(message)

        try:
            await self._app(scope, counted, watched)
        except StreamBroken:
            return
        except BodyRefused:
            pass
        if problem is not None and not started:
            await refuse(scope, receive, send, problem[0], "body", problem[1])


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    """Answer a request whose body is not read to its end."""
    headers = {"connection": "close"} | ({"www-authenticate": "Bearer"} if status == 401 else {})
    await JSONResponse({"error": {"code": code, "message": message}}, status, headers)(scope, receive, send)
