"""What every request and response passes: headers, body size limit, origin check, CSRF tokens.

The middleware is plain ASGI: the body is counted as it arrives, and never held in memory beyond the limit.
"""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..database.study_database import StudyDatabase
from ..sessions.errors import RequestRefused

SESSION_COOKIE = "study_session"
TOKEN_PATTERN = r"^[0-9a-f]{32}$"
"""Form of lease ids and audio tokens."""

MAX_BODY_BYTES = 64 * 1024
"""Three times a page of ten clips with a hundred heard intervals each."""

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
    """The outermost middleware: adds the headers, and refuses bodies over MAX_BODY_BYTES."""

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

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            await _too_large(send_with_headers)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                await _too_large(send_with_headers)
                return
            if not message.get("more_body", False):
                break
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send_with_headers)


def check_origin(request: Request) -> None:
    """Refuse a request that comes from another site's page, or whose body is not JSON."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise RequestRefused(403, "other_origin", f"a request from {origin[:80]} is not taken")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise RequestRefused(403, "other_origin", "a request from another site is not taken")
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise RequestRefused(415, "not_json", "the body must be application/json")


def csrf_token(database: StudyDatabase, session: str) -> str:
    """The token that a page must send beside its session cookie; other sites cannot read it."""
    return database.keyed("csrf", session)


def check_csrf(request: Request, database: StudyDatabase, session: str) -> None:
    """Refuse a request whose X-CSRF-Token does not belong to its session."""
    given = request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(), csrf_token(database, session).encode()):
        raise RequestRefused(403, "forgery", "the page is out of date: reload it")


async def _too_large(send: Any) -> None:
    body = json.dumps({"code": "too_large", "error": f"a body has at most {MAX_BODY_BYTES} bytes"}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
