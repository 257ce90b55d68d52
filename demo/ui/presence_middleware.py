"""Middleware that tracks the connections by which pages and clients wait for results or signal their presence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse

from ..presence import SessionPresence
from .guard import API, HEARTBEAT, path_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

DATA = f"{API}/queue/data"
_SUBSCRIPTION = re.compile(rf"{API}/(?:heartbeat/(?P<session>[^/]+)|call/(?:v2/)?[^/]+/(?P<event>[^/]+))")


class PresenceMiddleware:
    """ASGI middleware.

    Args:
        app: the application.
        presence: is told of the connections.
        session_of: the session of an event that was started by its id alone.
        has_results: whether a session has events under way, or results that nobody has fetched.
    """

    def __init__(
        self,
        app: ASGIApp,
        presence: SessionPresence,
        session_of: Callable[[str], str],
        has_results: Callable[[str], bool],
    ) -> None:
        self.app, self.presence, self.session_of, self.has_results = app, presence, session_of, has_results

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session, event = subscription(scope)
        if event is not None:
            session = self.session_of(event)
        if session is None:
            await self.app(scope, receive, send)
            return
        if not path_of(scope).startswith(HEARTBEAT) and not self.has_results(session):
            # Gradio begins an answer, and breaks it off with an exception in the log.
            await PlainTextResponse("there are no such events", 404)(scope, receive, send)
            return
        with self.presence.connected(session):
            await self.app(scope, receive, send)


def subscription(scope: Scope) -> tuple[str | None, str | None]:
    """The session that a request follows, or the event; None for neither."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None, None
    path = path_of(scope)
    if path == DATA:
        return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0], None
    match = _SUBSCRIPTION.fullmatch(path)
    return (None, None) if match is None else (match["session"], match["event"])
