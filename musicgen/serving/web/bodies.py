"""Limits of the bodies of requests, before anything reads them."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 1_000_000
"""Of a request that sends no file. The longest that is meant holds an edited melody of ten minutes."""
BODY_SECONDS = 30.0
"""Time in which a body must have arrived, and more for each byte that has:"""
MIN_BYTES_PER_SECOND = 20_000


class BodyTooLong(Exception):
    """A body that is longer than it may be, or comes too slowly."""


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
            await _refuse(scope, receive, send, 400, "a body has a length or is chunked, not both")
            return
        if not length.isdigit() or int(length) > limit:
            await _refuse(scope, receive, send, 413, f"the body is too long: {limit} bytes at most")
            return
        received, begun = 0, asyncio.get_running_loop().time()
        complete = started = False

        async def counted() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(begun + BODY_SECONDS + received / MIN_BYTES_PER_SECOND):
                    message = await receive()
            except TimeoutError:
                raise BodyTooLong("the body came too slowly") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                raise BodyTooLong(f"the body is too long: {limit} bytes at most")
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except BodyTooLong as error:
            if not started:
                await _refuse(scope, receive, send, 413, str(error))


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    answer = JSONResponse({"error": {"code": "body", "message": text}}, status, {"connection": "close"})
    await answer(scope, receive, send)
