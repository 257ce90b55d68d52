"""Security middleware for every request and response: headers, host check, size limits, timeouts, origin check, CSRF tokens.

The middleware is plain ASGI: the body is counted as it arrives, and never kept in memory beyond the limit.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..database.study_database import StudyDatabase
from ..sessions.errors import RequestRefused

SESSION_COOKIE = "study_session"
TOKEN_PATTERN = r"^[0-9a-f]{32}$"
"""Form of lease ids and audio tokens."""

MAX_BODY_BYTES = 64 * 1024
"""Three times a page of ten clips with a hundred heard intervals each."""

BODY_SECONDS = 30.0
"""Time in which a body must have arrived."""

MAX_DEPTH = 8
"""Nesting of a body: a submitted page has four levels."""

GATED = ("/api/", "/audio/", "/admin/api/")
"""Beginnings of the paths that use the database."""

GATE_PLACES = 30
"""Requests that use the database at once; ten of the server's forty threads are left for static files."""

GATE_SECONDS = 10.0
"""How long a request waits for a place."""

RETRY_SECONDS = 5
"""When to try again after a 503."""

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say where a body ends."""

_TOO_LARGE = (413, "too_large", f"a body has at most {MAX_BODY_BYTES} bytes")

_TOKENS = re.compile(rb'[\[\]{}"]|\\.', re.DOTALL)
"""Brackets, quotation marks and escaped characters of JSON."""

logger = logging.getLogger("uvicorn.error")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityMiddleware:
    """The outermost middleware: adds the headers, also to the answer to an error of the server, and refuses bodies that are
    not JSON, over MAX_BODY_BYTES, BODY_SECONDS or MAX_DEPTH."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                wanted = HEADERS if scope["path"].startswith("/static/") else HEADERS | {"cache-control": "no-store"}
                message["headers"] = list(message["headers"]) + [
                    (name.encode(), value.encode()) for name, value in wanted.items() if name.encode() not in present
                ]
            await send(message)

        problem = _body_problem(scope)
        if problem is not None:
            await _refuse(send_with_headers, *problem)
            return
        body = bytearray()
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                await _refuse(send_with_headers, 408, "too_slow", "the body came too slowly")
                return
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                await _refuse(send_with_headers, *_TOO_LARGE)
                return
            if not message.get("more_body", False):
                break
        if not _is_utf8(body):
            await _refuse(send_with_headers, 400, "invalid", "the body is not UTF-8")
            return
        if _depth(body) > MAX_DEPTH:
            await _refuse(send_with_headers, 422, "invalid", f"the body is nested more than {MAX_DEPTH} levels deep")
            return
        replayed = started = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        async def send_once(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send_with_headers(message)

        try:
            await self._app(scope, replay, send_once)
        except Exception:
            logger.exception("a request failed")
            if not started:
                await _refuse(send_once, 500, "failed", "the server failed: its log says why")


class HostMiddleware:
    """Answers requests that name one of the study's hosts, so that no other site's name leads to it (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Wrap an application.

        Args:
            app: the application.
            hosts: names and addresses; IPv6 addresses without brackets.
        """
        self._app = app
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            named = [value for name, value in scope["headers"] if name == b"host"]
            if len(named) != 1 or host_of(named[0].decode("latin-1")) not in self._hosts:
                await _refuse(send, 400, "host", "this server does not answer to this Host")
                return
        await self._app(scope, receive, send)


class DatabaseGate:
    """Bounds the requests that use the database: those beyond wait here, without a thread, and are told to come again after
    GATE_SECONDS. Static files and pages have the threads that are left."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._places = asyncio.Semaphore(GATE_PLACES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GATED):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(GATE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            await _refuse(send, 503, "busy", "the server is busy", retry=True)
            return
        held = True

        async def send_and_leave(message: Message) -> None:
            # The work is done when the answer begins: a slow reader of a clip keeps no place.
            nonlocal held
            if held and message["type"] == "http.response.start":
                held = False
                self._places.release()
            await send(message)

        try:
            await self._app(scope, receive, send_and_leave)
        finally:
            if held:
                self._places.release()


def host_of(header: str) -> str | None:
    """The host in a Host header or in an origin's place: lower case, without port and brackets; None for what is none."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?", header)
    return (match[1] or match[2]).lower().rstrip(".") if match else None


def check_origin(request: Request) -> None:
    """Refuse a request that comes from another site's page, or whose body is not JSON."""
    origin = request.headers.get("origin")
    if origin is not None and not _same_place(origin, request.headers.get("host", "")):
        raise RequestRefused(403, "other_origin", "a request from another site is not taken")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise RequestRefused(403, "other_origin", "a request from another site is not taken")
    if not _is_json(request.headers.get("content-type", "")):
        raise RequestRefused(415, "not_json", "the body must be application/json")


def _same_place(origin: str, host: str) -> bool:
    scheme, _, place = origin.partition("://")
    return scheme in {"http", "https"} and host_of(place) is not None and place.lower() == host.lower()


def csrf_token(database: StudyDatabase, session: str) -> str:
    """The token that a page must send beside its session cookie; other sites cannot read it."""
    return database.keyed("csrf", session)


def check_csrf(request: Request, database: StudyDatabase, session: str) -> None:
    """Refuse a request whose X-CSRF-Token does not belong to its session."""
    given = request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), csrf_token(database, session).encode()):
        raise RequestRefused(403, "forgery", "the page is out of date: reload it")


def _body_problem(scope: Scope) -> tuple[int, str, str] | None:
    headers = [(name, value) for name, value in scope["headers"] if name in FRAMING or name == b"content-type"]
    if {name for name, _ in headers} >= FRAMING:
        # A reverse proxy may use the other one, and treat the rest as another client's next request (RFC 9112, section 6.3).
        return 400, "two_lengths", "a body has one length"
    for name, value in headers:
        if name == b"content-length" and not (value.isdigit() and len(value) < 10 and int(value) <= MAX_BODY_BYTES):
            return _TOO_LARGE
    if scope["method"] in {"POST", "PUT", "PATCH", "DELETE"}:
        kinds = [value.decode("latin-1") for name, value in headers if name == b"content-type"]
        if len(kinds) != 1 or not _is_json(kinds[0]):
            return 415, "not_json", "the body must be application/json"
    return None


def _is_json(content_type: str) -> bool:
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    return kind == "application/json" and all(part in {"", "charset=utf-8", 'charset="utf-8"'} for part in parameters)


def _is_utf8(body: bytes | bytearray) -> bool:
    # JSON on the network is UTF-8 (RFC 8259, §8.1); the parser would take UTF-16 and UTF-32 as well.
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False


def _depth(body: bytes | bytearray) -> int:
    """How deep brackets are nested in JSON; those within texts do not count."""
    deepest = depth = 0
    in_text = False
    for token in _TOKENS.findall(body):
        if token == b'"':
            in_text = not in_text
        elif in_text or token[0] == ord("\\"):
            continue
        elif token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


async def _refuse(send: Any, status: int, code: str, message: str, retry: bool = False) -> None:
    body = json.dumps({"code": code, "error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in {400, 408, 413, 415}:
        headers.append((b"connection", b"close"))
    if retry:
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
