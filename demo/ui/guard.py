"""Middleware that checks every HTTP request before Gradio handles it: host, path, origin, length, and for MCP the password.

A request with another host name comes from a web page whose DNS name was pointed to this machine (DNS rebinding); one with
another origin comes from another web site. Gradio limits only the length of each uploaded file, and its MCP routes do not
require the password.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import logging
import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from musicgen.errors import InputError
from musicgen.serving import hosts
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.networks import network_of

from .failures import FailureLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON = 1_000_000
"""Bytes of a request that is no upload. The longest that the page sends holds an edited melody and a visitor's history."""
MULTIPART_OVERHEAD = 100_000
"""Bytes of an upload besides its file."""
log = logging.getLogger(__name__)

BODY_SECONDS = 30.0
"""Time in which a request's body must have arrived, and more for each byte that has:"""
BODY_RATE = 10_000.0
"""Bytes a second. What comes slower keeps its place on the disk from others."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error codes of a full disk."""
API = "/gradio_api"
UPLOAD = f"{API}/upload"
HEARTBEAT = f"{API}/heartbeat/"
MCP = f"{API}/mcp"
_CLOSED = re.compile(
    r"/monitoring.*|/gradio_api/(?:component_server|custom_component|deep_link|dev|process_recording|profiling|proxy=|runs"
    r"|run-history|stream|undo-vibe|vibe).*",
    re.DOTALL,
)
"""Parts of Gradio that the page does not use: they let visitors write files, keep the server busy, call the hub, or see what
others do."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Rules:
    """What the guard allows.

    Attributes:
        hosts: as of `hosts.admitted`; ANY admits every origin, too.
        origins: names or patterns of hosts whose pages may call this one: those of a proxy in front of it that puts its own
            name for the visitor's into a request.
        upload_bytes: of one uploaded file.
        auth: user and password; None admits everybody.
    """

    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    upload_bytes: int
    auth: tuple[str, str] | None = None


class Guard:
    """ASGI middleware.

    Args:
        app: what answers the requests that are admitted.
        rules: what is admitted.
        store: holds the uploads.
    """

    def __init__(self, app: ASGIApp, rules: Rules, store: ClipStore) -> None:
        self.app, self.rules, self.store = app, rules, store
        self._failures = FailureLog(log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        upload = path_of(scope).rstrip("/") == UPLOAD
        limit = self.rules.upload_bytes + MULTIPART_OVERHEAD if upload else MAX_JSON
        declared = headers.get("content-length", "")
        expected = int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 20 else None
        if expected is not None and expected > limit:
            await _too_long(limit)(scope, receive, send)
            return
        if not upload:
            await self._limited(scope, receive, send, limit)
            return
        size = limit if expected is None else expected
        network = network_of(scope["client"][0], os.environ) if scope.get("client") else ""
        try:
            self.store.reserve(size, network)
        except InputError as error:
            await PlainTextResponse(str(error), 507)(scope, receive, send)
            return
        received, answer = size, bytearray()

        async def recording_send(message: Message) -> None:
            answer.extend(message.get("body", b""))
            await send(message)

        try:
            received = await self._limited(scope, receive, recording_send, limit)
        finally:
            self.store.release(size, received, _number_of_files(answer), network)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if "content-length" in headers and "transfer-encoding" in headers:
            # A reverse proxy may use the other one, and treat the rest as another client's request (RFC 9112, section 6.3).
            return _refused("a body has one length", 400)
        if not hosts.admitted(host, self.rules.hosts):
            return PlainTextResponse("this host name is not served here: the operator can add it with --hosts", 421)
        if _CLOSED.fullmatch(path_of(scope)):
            return PlainTextResponse("the page has no such part", 404)
        if origin is not None and scope["method"] not in SAFE_METHODS and not self._same_origin(origin, host):
            return PlainTextResponse("requests of another origin are refused", 403)
        if (
            self.rules.auth is not None
            and path_of(scope).startswith(MCP)
            and not _password_fits(headers, self.rules.auth)
        ):
            return PlainTextResponse(
                "MCP needs the user and the password as HTTP basic authentication",
                401,
                {"www-authenticate": 'Basic realm="MusicGen", charset="UTF-8"'},
            )
        return None

    def _same_origin(self, origin: str, host: str) -> bool:
        if hosts.ANY in self.rules.hosts:
            return True
        try:
            from_host = urlsplit(origin).netloc
        except ValueError:
            return False
        name = hosts.name_of(from_host)
        return name is not None and (from_host == host or hosts.is_named(name, self.rules.origins))

    async def _limited(self, scope: Scope, receive: Receive, send: Send, limit: int) -> int:
        """Answer the request; its body breaks off, as if the client had left, where it is longer or slower than it may be.

        Returns:
            The bytes of the body that were received.
        """
        received, begun, started, is_event_stream = 0, time.monotonic(), False, False
        complete = False
        refusal: PlainTextResponse | None = None

        async def counted() -> Message:
            nonlocal received, complete, refusal
            if complete:
                return await receive()
            seconds = begun + BODY_SECONDS + received / BODY_RATE - time.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    message = await receive()
            except TimeoutError:
                refusal = _refused("the request's body came too slowly", 408)
                return {"type": "http.disconnect"}
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > limit:
                    refusal = _too_long(limit)
                    return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started, is_event_stream
            if refusal is not None:
                return
            started = True
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                is_event_stream = kind.startswith("text/event-stream")
                if is_event_stream:
                    # Chromium sends a request twice where an answer by the same URL was cancelled and may be stored. Each of
                    # two streams of a session then has some of its events, and the page reads one.
                    MutableHeaders(raw=message["headers"])["cache-control"] = "no-store"
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Exception as error:
            if refusal is None:
                if started and not is_event_stream:
                    raise
                # A session that another connection has ended is not a failure; its stream has reported the end.
                if not (started and isinstance(error.__cause__, HTTPException)):
                    self._failures.add("a request failed", f"{scope['method']} {path_of(scope)}", error)
                if started:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return received
                full = isinstance(error, OSError) and error.errno in FULL
                refusal = (
                    PlainTextResponse("the server's disk is full: try again later", 507)
                    if full
                    else PlainTextResponse("the request cannot be answered; the server's log says why", 500)
                )
        if refusal is not None and not started:
            await refusal(scope, receive, send)
        return received


def path_of(scope: Scope) -> str:
    """The path of a request, behind the root path that a proxy adds."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _password_fits(headers: Headers, auth: tuple[str, str]) -> bool:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and secrets.compare_digest(given, ":".join(auth).encode())


def _number_of_files(answer: bytearray) -> int:
    """The files of an upload, whose paths its answer lists: one where it lists none."""
    try:
        paths = json.loads(answer)
    except ValueError:
        return 1
    return len(paths) if isinstance(paths, list) else 1


def _too_long(limit: int) -> PlainTextResponse:
    return _refused(f"the request is longer than the {limit} bytes that are accepted", 413)


def _refused(text: str, status: int) -> PlainTextResponse:
    """The answer to a request whose body is not read to its end."""
    return PlainTextResponse(text, status, {"connection": "close"})
