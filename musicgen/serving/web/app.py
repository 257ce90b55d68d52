"""The ASGI application of the API: routes, middleware, and errors as JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

import musicgen
from musicgen.errors import MusicGenError, one_line
from musicgen.serving.clip_store import NoSpace
from musicgen.serving.web import file_routes, generation_routes, operation_routes
from musicgen.serving.web.bodies import BodyLimits
from musicgen.serving.web.errors import Refused
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys
from musicgen.serving.web.metrics import Metrics

log = logging.getLogger(__name__)

NO_SPACE_SECONDS = 600
"""When to try again where the disk is full: clips expire."""


def create_app(generations: Generations, metrics: Metrics, keys: Keys, hosts: Sequence[str]) -> FastAPI:
    """Build the application.

    Args:
        generations: that are served.
        metrics: of them.
        keys: of the clients.
        hosts: values of the Host header that are answered; "*" answers all.
    """
    limits = generations.service.limits
    app = FastAPI(
        title="MusicGen", version=musicgen.__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        summary="Music from descriptions, melodies, chords and styles.",
    )  # fmt: skip
    operation_routes.add_routes(app, generations, metrics, keys)
    generation_routes.add_routes(app, generations, keys)
    file_routes.add_routes(app, generations, keys)
    app.add_middleware(BodyLimits, upload_path=file_routes.PATH, upload_bytes=int(limits.upload_mb * 1e6))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_exception_handler(MusicGenError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def _answer(status: int, code: str, message: str, retry: int | None = None) -> JSONResponse:
    headers = {} if retry is None else {"retry-after": str(retry)}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _refused(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Refused):
        return _answer(error.status, error.code, str(error), error.retry)
    assert isinstance(error, MusicGenError)
    if isinstance(error, NoSpace):
        return _answer(507, "no_space", error.told("page"), NO_SPACE_SECONDS)
    return _answer(422, "invalid", error.told("page"))


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:4])
    message = str(first["msg"]).removeprefix("Value error, ")
    # The place may be a key that somebody made up.
    text = one_line(f"{where}: {message}"[:300].encode("ascii", "backslashreplace").decode())
    return _answer(422, "invalid", text)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, "http", str(error.detail))
