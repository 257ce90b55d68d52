"""The ASGI application of a study: routes, middleware, and errors as JSON."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from musicgen.errors import InputError, one_line

from ..database.study_database import DatabaseBusy, DatabaseError, StudyDatabase
from ..design.manifest import Study
from ..sessions import raters
from ..sessions.errors import RequestRefused
from ..sessions.prolific import ProlificClient
from . import admin_routes, audio_routes, page_routes, rater_routes, security

logger = logging.getLogger("uvicorn.error")


def create_app(
    study: Study, database: StudyDatabase, *, hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1"), secure: bool = False,
    prolific: ProlificClient | None = None,
) -> FastAPI:  # fmt: skip
    """Build the application. On this occasion worker ids past the retention period are deleted.

    Args:
        study: the study.
        database: of the study.
        hosts: values of the Host header that are answered.
        secure: raters reach it by https: cookies are marked Secure.
        prolific: client for checking submissions, None without an API token.

    Raises:
        InputError: raters from Prolific are to be verified, and there is no API token; a secret or a language is missing.
    """
    check_verification(study, prolific)
    # A redirection to the path without a slash would name scheme and host, as a proxy in front does not know them.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    with database.write() as connection:
        raters.delete_expired_worker_ids(connection, database, study.settings.retention_days)
    page_routes.add_routes(app, study)
    audio_routes.add_routes(app, study, database)
    rater_routes.add_routes(app, study, database, secure, prolific)
    admin_routes.add_routes(app, study, database, secure)
    app.add_middleware(security.DatabaseGate)
    app.add_middleware(security.HostMiddleware, hosts=hosts)
    app.add_middleware(security.SecurityMiddleware)
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(DatabaseError, _no_database)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def check_verification(study: Study, prolific: ProlificClient | None) -> None:
    """Check that raters from Prolific can be verified, unless the study does without.

    Args:
        study: the study.
        prolific: client for checking submissions, None without an API token.

    Raises:
        InputError: they cannot.
    """
    settings = study.settings.prolific
    if settings is not None and settings.verify and prolific is None:
        raise InputError(
            "raters from Prolific cannot be verified without an API token: set PROLIFIC_TOKEN, or build the study with "
            "'verify: false' under 'prolific:', with which anybody can make up worker ids"
        )


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestRefused)
    headers = {"retry-after": str(security.RETRY_SECONDS)} if error.status == 503 else None
    return JSONResponse({"code": error.code, "error": str(error)} | error.extra, error.status, headers)


def _no_database(_request: Request, error: Exception) -> JSONResponse:
    # The reason is for the log: it names files and hosts.
    logger.error("%s", error)
    busy = isinstance(error, DatabaseBusy)
    body = {"code": "busy", "error": "the server is busy" if busy else "the ratings cannot be stored now"}
    return JSONResponse(body, 503, {"retry-after": str(security.RETRY_SECONDS)})


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:3])
    # The location may contain a key that the client made up.
    text = one_line(f"{where}: {first['msg']}"[:200].encode("ascii", "backslashreplace").decode())
    return JSONResponse({"code": "invalid", "error": text}, 422)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"code": "http", "error": str(error.detail)}, error.status_code)
