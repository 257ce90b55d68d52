"""The ASGI application of the API: routes, middleware, and errors as JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import musicgen
from musicgen.errors import MusicGenError, one_line
from musicgen.serving.api_schema import Refusal
from musicgen.serving.clip_store import Expired, NoSpace
from musicgen.serving.web import file_routes, generation_routes, operation_routes
from musicgen.serving.web.body_limits import BodyLimits
from musicgen.serving.web.errors import Refused
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys
from musicgen.serving.web.metrics import Metrics
from musicgen.serving.web.request_checks import RequestChecks

log = logging.getLogger(__name__)

NO_SPACE_SECONDS = 3600
"""When to try again where the disk is full: clips expire."""


def create_app(generations: Generations, metrics: Metrics, keys: Keys, hosts: Sequence[str]) -> FastAPI:
    """Build the application.

    Args:
        generations: that are served.
        metrics: of them.
        keys: of the clients.
        hosts: whose names are answered, as of `hosts.admitted`.
    """
    limits = generations.service.limits
    app = FastAPI(
        title="MusicGen", version=musicgen.__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        summary="Music from descriptions, melodies, chords and styles.",
        responses={code: {"model": Refusal} for code in (401, 421, 422, 507)},
        dependencies=[Depends(HTTPBearer(auto_error=False))] if keys else [],  # for the schema: `RequestChecks` checks keys
    )  # fmt: skip
    operation_routes.add_routes(app, generations, metrics, keys)
    generation_routes.add_routes(app, generations, keys)
    file_routes.add_routes(app, generations, keys)
    app.add_middleware(BodyLimits, upload_path=file_routes.PATH, upload_bytes=int(limits.upload_mb * 1e6))
    app.add_middleware(RequestChecks, keys=keys, served=hosts)
    app.add_exception_handler(MusicGenError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
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
    if isinstance(error, Expired):
        return _answer(404, "not_found", str(error))
    if isinstance(error, NoSpace):
        return _answer(507, "no_space", error.told("page"), NO_SPACE_SECONDS)
    return _answer(422, "invalid", error.told("page"))


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:4]) or "the body"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return _answer(422, "invalid", f"the body is no JSON (at character {first['loc'][-1]})")
    if first["type"] in ("model_attributes_type", "dict_type") and len(first["loc"]) == 1:
        return _answer(422, "invalid", "the body is no JSON object: send one, with content-type: application/json")
    # The location may contain a key that the client made up.
    text = one_line(f"{where}: {message}"[:300].encode("ascii", "backslashreplace").decode())
    return _answer(422, "invalid", text)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and "parsing the body" in str(error.detail):  # too deeply nested, too long a number
        return _answer(422, "invalid", "the body cannot be read as JSON")
    codes = {404: "not_found", 405: "method"}
    told = (
        "there is nothing at this path: /openapi.json describes the API"
        if error.status_code == 404
        else str(error.detail)
    )
    answer = _answer(error.status_code, codes.get(error.status_code, "http"), told)
    answer.headers.update(error.headers or {})  # such as Allow, of 405
    return answer


def _failed(_request: Request, _error: Exception) -> JSONResponse:
    return _answer(500, "internal", "an error of the server, which its log describes")
