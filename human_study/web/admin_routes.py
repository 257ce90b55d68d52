"""The admin page: progress, flags, pause, screening, export.

The token in the study folder (admin.token) is exchanged for a cookie, so no URL contains it.
"""

from __future__ import annotations

import hmac
import re
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update

from ..analysis import exports, interim_screening, ratings_csv
from ..database import queries, schema
from ..database.study_database import StudyDatabase
from ..design import manifest
from ..design.manifest import ADMIN_TOKEN, Study
from ..html_templates import render
from ..sessions import raters
from ..sessions.errors import RequestRefused
from . import admin_overview, security

TEMPLATE = Path(__file__).parent / "templates" / "admin.html"
COOKIE = "study_admin"
SESSION_SECONDS = 12 * 3600


class LoginRequest(BaseModel):
    """Login.

    Attributes:
        token: the contents of admin.token.
    """

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(max_length=200)]


class PauseRequest(BaseModel):
    """Pause or resume.

    Attributes:
        paused: no new pages are assigned.
    """

    model_config = ConfigDict(extra="forbid")

    paused: bool


class ExclusionRequest(BaseModel):
    """Exclude or include a rater.

    Attributes:
        rater: pseudonym in exports.
        excluded: False to include the rater again.
    """

    model_config = ConfigDict(extra="forbid")

    rater: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    excluded: bool


def add_routes(app: FastAPI, study: Study, database: StudyDatabase, secure: bool) -> None:
    """Add the admin page and its endpoints.

    Args:
        app: the application.
        study: the study.
        database: of the study.
        secure: cookies are marked Secure.

    Raises:
        InputError: the token is missing or too short.
    """
    token = manifest.secret(study.path, ADMIN_TOKEN)
    shell = render(TEMPLATE, name=study.settings.name)

    def check(request: Request, changes: bool = False) -> None:
        session = request.cookies.get(COOKIE, "")
        if not _valid(database, token, session):
            raise RequestRefused(401, "no_admin", "log in with the token in admin.token")
        if changes:
            security.check_origin(request)
            security.check_csrf(request, database, session)

    @app.get("/admin")
    async def page() -> Response:
        return Response(shell, media_type="text/html")

    @app.post("/admin/api/login")
    def login(request: Request, body: LoginRequest) -> Response:
        security.check_origin(request)
        if not hmac.compare_digest(body.token.encode(), token.encode()):
            raise RequestRefused(403, "bad_token", "this is not the token in admin.token")
        session = _session(database, token, int(time.time()) + SESSION_SECONDS)
        response = JSONResponse({"saved": True})
        response.set_cookie(
            COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure, path="/admin"
        )
        return response

    @app.get("/admin/api/progress")
    def progress(request: Request) -> dict[str, Any]:
        check(request)
        with database.read() as connection:
            answer = admin_overview.study_progress(connection, database, study)
        return answer | {"csrf": security.csrf_token(database, request.cookies[COOKIE])}

    @app.post("/admin/api/pause")
    def pause(request: Request, body: PauseRequest) -> dict[str, bool]:
        check(request, changes=True)
        with database.write() as connection:
            connection.execute(
                update(schema.study).where(schema.study.c.id == database.study_id).values(paused=body.paused)
            )
            queries.log_event(
                connection, database.study_id, "paused" if body.paused else "resumed", "on the admin page"
            )
        return {"saved": True}

    @app.post("/admin/api/screen")
    def screen(request: Request) -> dict[str, Any]:
        check(request, changes=True)
        with database.write() as connection:
            excluded = interim_screening.screen(connection, database, study)
        return {"saved": True, "excluded": excluded}

    @app.post("/admin/api/exclude")
    def exclude(request: Request, body: ExclusionRequest) -> dict[str, bool]:
        check(request, changes=True)
        with database.write() as connection:
            rows = connection.execute(
                select(schema.rater.c.id, schema.rater.c.public_id).where(schema.rater.c.study_id == database.study_id)
            ).all()
            found = [row.id for row in rows if raters.export_id(database, row.public_id) == body.rater]
            if not found:
                raise RequestRefused(404, "no_rater", f"no rater {body.rater}")
            if body.excluded:
                raters.exclude(connection, database, found[0], "by hand, on the admin page")
            else:
                raters.include(connection, database, found[0])
        return {"saved": True}

    @app.get("/admin/api/export/{table}.csv")
    def download(request: Request, table: str) -> Response:
        check(request)
        with database.read() as connection:
            tables = exports.raw_tables(connection, database, study)
        if table not in tables:
            raise RequestRefused(404, "no_table", f"no table {table[:20]!r}: {', '.join(tables)}")
        headers = {"content-disposition": f'attachment; filename="{table}.csv"'}
        return Response(
            ratings_csv.to_csv(tables[table], exports.COLUMNS[table]),
            media_type="text/csv; charset=utf-8",
            headers=headers,
        )


def _session(database: StudyDatabase, token: str, expires: int) -> str:
    return f"{expires}.{database.keyed('admin', token, str(expires))}"


def _valid(database: StudyDatabase, token: str, session: str) -> bool:
    expires, _, _ = session.partition(".")
    # Times of 13 digits are in the year 5138 and later; `isdigit` would take other scripts' digits, too.
    if not re.fullmatch(r"[0-9]{1,12}", expires) or int(expires) < time.time():
        return False
    return hmac.compare_digest(session.encode(), _session(database, token, int(expires)).encode())
