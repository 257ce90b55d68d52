"""Forwards requests to the worker that owns their session, so that a load balancer may send each request to any worker.

Gradio keeps the events of a session in one process. All other requests, such as for the page itself, clips and uploads, can be
answered by any worker from the shared folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from ..workers import Worker, Workers
from .guard import API, SAFE_METHODS, path_of
from .presence_middleware import subscription

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

COOKIE = "musicgen-browser"
"""Names a browser, so that its pages have one worker. It gives access to nothing."""
MAX_NAME = 200
"""Characters of a session's name that are looked at."""
UPLOADED, PROGRESS = f"{API}/upload", f"{API}/upload_progress"
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 2.0
"""Time in which an idle connection to a worker is used again: the less it is, the sooner an ended worker is noticed."""
ENDING_SECONDS = 20.0
"""Time in which a worker that has broken off a connection, because it is ending, lets go of its lock: twice as long as it waits
for a thread of its own."""
_LOOK_SECONDS = 0.05
UPLOAD_SECONDS = 3.0
"""Time in which an upload must come to some worker after its progress was asked for."""
_SECRET, _CLIENT = b"x-musicgen-worker", b"x-musicgen-client"
"""Headers of a request that a worker passes on: what only the workers know, and the visitor's address."""
_OF_SESSIONS = re.compile(rf"{API}/(?:queue/join|cancel|reset|(?:run|api|call)/.+)")
"""Requests whose body names a session or an event."""
_CALL = re.compile(rf"{API}/call/.+")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_OF_A_CONNECTION = (
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
    b"te",
    b"trailer",
    b"proxy-connection",
)
"""Headers that are about one connection (RFC 9110, section 7.6.1)."""


class Relay:
    """ASGI middleware.

    Args:
        app: answers what is this worker's.
        workers: all of them.
    """

    def __init__(self, app: ASGIApp, workers: Workers) -> None:
        self.app, self._workers = app, workers
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS),
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if secrets.compare_digest(headers.get(_SECRET.decode(), "").encode(), self._workers.secret.encode()):
            scope["client"] = (headers.get(_CLIENT.decode(), ""), 0)
            await self._answer(scope, receive, send)
            return
        await self._find_upload(scope)
        body: list[Message] = []
        if scope["method"] == "POST" and _OF_SESSIONS.fullmatch(path_of(scope)):
            body = await _read(receive)
        keys = _keys(scope, _contents(body))
        browser = _browser(headers)
        if keys and browser:
            keys.append(f"browser:{browser}")
        if keys and not body:
            body = await _read(receive)  # an empty body, which is replayed to whatever answers in the end
        while keys:
            worker = await asyncio.to_thread(self._workers.claim, keys)
            if worker is None:
                break
            try:
                await self._pass_on(worker, scope, body, receive, send)
                return
            except httpx.TransportError as error:
                ended = await self._ends(worker)
                if not ended:
                    log.error("the worker at %s does not answer: %s", worker.url, error or type(error).__name__)
                # What the worker may have begun, such as a clip, is not begun twice: the page, loaded anew, finds it.
                if not ended or (scope["method"] not in SAFE_METHODS and not isinstance(error, _NOT_SENT)):
                    await PlainTextResponse("the worker of this session does not answer: try again", 502)(
                        scope, receive, send
                    )
                    return
        named = send if browser or path_of(scope) != "/" else _named(send)
        await self._answer(scope, _replayed(body, receive), named)

    async def _ends(self, worker: Worker) -> bool:
        """Whether a worker that has broken off a connection has ended, or is just ending."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING_SECONDS):
                while await asyncio.to_thread(self._workers.is_running, worker):
                    await asyncio.sleep(_LOOK_SECONDS)
                return True
        return False

    async def _find_upload(self, scope: Scope) -> None:
        """An upload is taken here; its progress is told by the worker that takes it, which may be asked first."""
        upload = _upload(scope)
        if upload and path_of(scope) == UPLOADED:
            await asyncio.to_thread(self._workers.claim, [upload])
        elif upload:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UPLOAD_SECONDS):
                    while not await asyncio.to_thread(self._workers.is_claimed, upload):
                        await asyncio.sleep(UPLOAD_SECONDS / 30)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request here. An event that is begun by a call without a session is this worker's."""
        begun = scope["method"] == "POST" and _CALL.fullmatch(path_of(scope))
        await self.app(scope, receive, _EventClaimer(self._workers, send) if begun else send)

    async def _pass_on(self, worker: Worker, scope: Scope, body: list[Message], receive: Receive, send: Send) -> None:
        """Let a worker answer a request. Raises httpx.TransportError where it has not begun to."""
        client = scope.get("client") or ("", 0)
        headers = [
            (name, value) for name, value in scope["headers"] if name not in (*_OF_A_CONNECTION, _SECRET, _CLIENT)
        ]
        headers += [(_SECRET, self._workers.secret.encode()), (_CLIENT, str(client[0]).encode())]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        url = httpx.URL(worker.url).copy_with(raw_path=scope.get("raw_path", scope["path"].encode()) + query)
        content = b"".join(message.get("body", b"") for message in body)
        request = self._client.build_request(scope["method"], url, headers=headers, content=content or None)
        leaving = asyncio.create_task(_left(receive))
        answering = asyncio.create_task(self._copy(request, send))
        try:
            await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (leaving, answering):
                task.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)

    async def _copy(self, request: httpx.Request, send: Send) -> None:
        answer = await self._client.send(request, stream=True)
        try:
            headers = [
                (name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _OF_A_CONNECTION
            ]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            try:
                async for part in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except httpx.TransportError:
                return  # without an end: the client's connection breaks off as the worker's has
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()


class _EventClaimer:
    """Passes an answer on, and lets the workers know whose the event is that it names."""

    def __init__(self, workers: Workers, send: Send) -> None:
        self._workers, self._send, self._body = workers, send, bytearray()

    async def __call__(self, message: Message) -> None:
        self._body.extend(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            event = _text(_json(bytes(self._body)), "event_id")
            if event:
                await asyncio.to_thread(self._workers.claim, [f"event:{event}"])
        await self._send(message)


def _keys(scope: Scope, contents: object) -> list[str]:
    """Names of what a request is about that one worker has; none for what any worker answers."""
    session, event = subscription(scope)
    session = session or _text(contents, "session_hash")
    event = event or ("" if session else _text(contents, "event_id"))
    named = [f"{kind}:{name[:MAX_NAME]}" for kind, name in (("session", session), ("event", event)) if name]
    return [*named, *([_upload(scope)] if path_of(scope) == PROGRESS else [])]


def _upload(scope: Scope) -> str:
    """The name of an upload that a request sends or asks after, "" for none."""
    if path_of(scope) not in (UPLOADED, PROGRESS):
        return ""
    name = parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [""])[0]
    return f"upload:{name[:MAX_NAME]}" if name else ""


def _contents(body: list[Message]) -> object:
    return _json(b"".join(message.get("body", b"") for message in body))


def _json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(contents: object, name: str) -> str:
    value = contents.get(name) if isinstance(contents, dict) else None
    return value if isinstance(value, str) else ""


def _browser(headers: Headers) -> str:
    """The name of the browser that a request comes from, "" where it has none yet."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None and _TOKEN.fullmatch(morsel.value) else ""


def _named(send: Send) -> Send:
    """Gives the browser that gets an answer a name."""

    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie = f"{COOKIE}={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Lax"
            message = {**message, "headers": [*message.get("headers", []), (b"set-cookie", cookie.encode())]}
        await send(message)

    return named


async def _read(receive: Receive) -> list[Message]:
    """The messages of a body, whose length and time the guard bounds."""
    messages = []
    while True:
        messages.append(await receive())
        if not messages[-1].get("more_body", False):
            return messages


def _replayed(body: list[Message], receive: Receive) -> Receive:
    waiting = list(body)

    async def replayed() -> Message:
        return waiting.pop(0) if waiting else await receive()

    return replayed


async def _left(receive: Receive) -> None:
    """Wait until the client of a request has hung up."""
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
