"""Checks of a request before its body is read: the host name, the API key, and that it does not come from a web page of another
origin."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from musicgen.serving import hosts
from musicgen.serving.web.body_limits import refuse
from musicgen.serving.web.errors import Refused
from musicgen.serving.web.keys import Keys

_WITH_KEYS = ("/v1/", "/metrics")
"""Beginnings of the paths that need a key."""


class RequestChecks:
    """ASGI middleware.

    Args:
        app: the application.
        keys: of the clients.
        served: the hosts whose names are answered, as of `hosts.admitted`.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, served: Sequence[str]) -> None:
        self._app, self._keys, self._served = app, keys, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            if not hosts.admitted(request.headers.get("host", ""), self._served):
                told = "this host name is not served here: the operator can add it with --hosts"
                await refuse(scope, receive, send, 421, "host", told)
                return
            if scope["path"].startswith(_WITH_KEYS):
                try:
                    self._keys.owner(request)
                except Refused as error:
                    await refuse(scope, receive, send, error.status, error.code, str(error))
                    return
            if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not _same_origin(request):
                await refuse(scope, receive, send, 403, "origin", "a web page of another origin may not ask for this")
                return
        await self._app(scope, receive, send)


def _same_origin(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("host", "")
    except ValueError:
        return False
