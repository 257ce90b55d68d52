"""The ASGI application of a study: routes, middleware, and errors as JSON."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..sessions import raters
from ..sessions.errors import RequestRefused
from ..sessions.prolific import ProlificClient
from . import admin_routes, audio_routes, page_routes, rater_routes, security


def create_app(
    study: Study, database: StudyDatabase, *, hosts: tuple[str, ...] = ("127.0.0.1", "localhost"), secure: bool = False,
    prolific: ProlificClient | None = None,
) -> FastAPI:  # fmt: skip
    """Build the application. On this occasion worker ids past the retention period are deleted.

    Args:
        study: the study.
        database: of the study.
        hosts: values of the Host header that are answered.
        secure: raters reach it by https: cookies are marked Secure.
        prolific: client for checking submissions, None without an API token.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    with database.write() as connection:
        raters.delete_expired_worker_ids(connection, database, study.settings.retention_days)
    page_routes.add_routes(app, study)
    audio_routes.add_routes(app, study, database)
    rater_routes.add_routes(app, study, database, secure, prolific)
    admin_routes.add_routes(app, study, database, secure)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(security.SecurityMiddleware)
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestRefused)
    return JSONResponse({"code": error.code, "error": str(error)} | error.extra, error.status)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:3])
    return JSONResponse({"code": "invalid", "error": f"{where}: {first['msg']}"[:200]}, 422)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"code": "http", "error": str(error.detail)}, error.status_code)
