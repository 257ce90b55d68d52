"""The web server that raters meet. It acknowledges a page after its transaction is committed, and never before.

Endpoints speak JSON; the page is static HTML and small JavaScript modules. What is allowed is decided in `raters`,
`leases` and `trials`; here are only the routes, the session cookie and the order of the stages.
"""

from __future__ import annotations

import functools
import math
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import yaml
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy import Connection, select
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from . import admin, headphones, leases, padding, pages_html, platforms, raters, schema, security, trials
from .errors import Refused
from .manifest import Study
from .platforms import Prolific
from .raters import Rater
from .settings import BANDS, SCALE
from .store import Store

HERE = Path(__file__).parent
COOKIE = "study_session"
COOKIE_SECONDS = 30 * 86400

Text = Annotated[str, Field(max_length=200)]
HEX = r"^[0-9a-f]{32}$"
Token = Annotated[str, Field(pattern=HEX)]
Second = Annotated[float, Field(allow_inf_nan=False, ge=0, le=3600)]


class Entry(BaseModel):
    """Who comes: with a personal code, from Prolific, or by an open link."""

    model_config = ConfigDict(extra="forbid")
    language: Annotated[str, Field(max_length=8)] = "en"
    code: Text | None = None
    prolific_pid: Text | None = None
    study_id: Text = ""
    session_id: Text = ""


class Consent(BaseModel):
    """agreed: the box was ticked."""

    agreed: bool


class HeadphoneAnswers(BaseModel):
    """The quietest tone of each clip, 1 to 3."""

    answers: Annotated[list[Annotated[StrictInt, Field(ge=1, le=3)]], Field(max_length=6)]


class Ratings(BaseModel):
    """One page; see `trials.Submission`."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{8,64}$")]
    values: Annotated[dict[Token, StrictInt], Field(max_length=20)] = {}
    preferred: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] | None = None
    heard: Annotated[dict[Token, Annotated[list[tuple[Second, Second]], Field(max_length=500)]], Field(max_length=20)]


def create_app(
    study: Study, database: Store, *, hosts: tuple[str, ...] = ("127.0.0.1", "localhost"), secure: bool = False,
    prolific: Prolific | None = None,
) -> FastAPI:  # fmt: skip
    """The application. hosts: names that it answers to; secure: it is reached by https, so cookies are too."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    with database.write() as connection:
        raters.forget_expired(connection, database, study.settings.retention_days)
    _add_pages(app, study)
    _add_audio(app, study, database)
    _add_rater_routes(app, study, database, secure, prolific)
    admin.add_routes(app, study, database, secure)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(security.Guard)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def texts(language: str) -> dict[str, Any]:
    """Every text of the page in one language."""
    document = yaml.safe_load((HERE / "texts" / f"{language}.yaml").read_text(encoding="utf-8"))
    return dict(document)


def _add_pages(app: FastAPI, study: Study) -> None:
    mimetypes.add_type("text/javascript", ".js")
    languages = study.settings.languages
    translated = {language: _study_texts(study, language) for language in languages}
    shell = pages_html.render(
        "study.html", title=next(iter(study.settings.title.values()), study.settings.name), languages=list(languages),
        contact=study.settings.contact,
    )  # fmt: skip

    @app.get("/")
    def index() -> Response:
        return Response(shell, media_type="text/html")

    @app.get("/texts/{language}.json")
    def language_texts(language: str) -> JSONResponse:
        if language not in translated:
            raise Refused(404, "no_language", f"no texts in {language[:8]!r}: {', '.join(languages)}")
        return JSONResponse(translated[language])

    app.mount("/static", StaticFiles(directory=HERE / "static"))


def _study_texts(study: Study, language: str) -> dict[str, Any]:
    settings = study.settings
    found = texts(language)
    found["title"] = settings.title.get(language, found["title"])
    if language in settings.consent:
        found["consent_text"] = [part for part in settings.consent[language].split("\n\n") if part.strip()]
    values = {"days": settings.retention_days, "contact": settings.contact or "—"}
    found["consent_text"] = [str(part).replace("{days}", str(values["days"])).replace("{contact}", str(values["contact"]))
                             for part in found["consent_text"]]  # fmt: skip
    for question in settings.questions:
        if question.text.get(language):
            found["questions"][question.name] = question.text[language]
    return found


def _add_audio(app: FastAPI, study: Study, database: Store) -> None:
    @functools.lru_cache(maxsize=64)
    def stored(file_name: str) -> bytes:
        return study.audio_file(file_name).read_bytes()

    @app.get("/audio/{token}")
    def audio(request: Request, token: str, compressed: bool = False) -> Response:
        if not re.fullmatch(HEX, token):
            raise Refused(404, "no_audio", "no such clip")
        with database.read() as connection:
            rater = raters.of_session(connection, database, request.cookies.get(COOKIE))
            # The token is looked up, never joined to a path; and it is good for its own rater alone.
            row = connection.execute(
                select(schema.clip.c.name)
                .join(schema.token, schema.token.c.clip_id == schema.clip.c.id)
                .where(schema.token.c.token == token, schema.token.c.rater_id == rater.id)
            ).one_or_none()
        if row is None:
            raise Refused(404, "no_audio", "no such clip")
        clip = study.clips[row.name]
        length = int(database.keyed("padding", token)[:8], 16) % padding.MAX_PADDING
        if compressed:
            return Response(padding.pad_mp3(stored(clip.compressed), length), media_type="audio/mpeg")
        return Response(padding.pad_flac(stored(clip.lossless), length), media_type="audio/flac")


def _add_rater_routes(app: FastAPI, study: Study, database: Store, secure: bool, prolific: Prolific | None) -> None:
    settings = study.settings

    def with_rater(request: Request, change: Callable[[Connection, Rater], Any]) -> Any:
        """`change` in one write transaction, for the rater of a request that may change something."""
        security.check_origin(request)
        session = request.cookies.get(COOKIE)
        with database.write() as connection:
            rater = raters.of_session(connection, database, session)
            security.check_forgery(request, database, str(session))
            return change(connection, rater)

    @app.post("/api/enter")
    def enter(request: Request, entry: Entry) -> Response:
        security.check_origin(request)
        language = entry.language if entry.language in settings.languages else settings.languages[0]
        current = request.cookies.get(COOKIE)
        arrival = None
        if entry.prolific_pid is not None:
            arrival = platforms.Arrival(entry.prolific_pid, entry.study_id, entry.session_id)
            if settings.prolific is None:
                raise Refused(403, "not_prolific", "this study takes no raters from Prolific")
            if settings.prolific.verify and (prolific is None or not prolific.is_active(arrival)):
                raise Refused(403, "not_active", "Prolific does not know this submission: open the study from its page")
        with database.write() as connection:
            if arrival is not None:
                session = raters.enter(
                    connection, database, study, platform="prolific", language=language, worker=arrival.worker,
                    submission=arrival.submission, current=current,
                )  # fmt: skip
            elif entry.code:
                code = raters.check_code(connection, database, entry.code)
                session = raters.enter(
                    connection, database, study, platform="code", language=language, worker=code, current=current
                )
            elif settings.open_link:
                session = raters.enter(connection, database, study, platform="open", language=language)
            else:
                raise Refused(403, "no_code", "this study is by invitation: enter the code that you were sent")
        response = JSONResponse({"csrf": security.forgery_token(database, session)})
        response.set_cookie(
            COOKIE, session, max_age=COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure, path="/"
        )
        return response

    @app.get("/api/state")
    def state(request: Request) -> dict[str, Any]:
        session = request.cookies.get(COOKIE)
        with database.write() as connection:
            rater = raters.of_session(connection, database, session)
            paused = bool(
                connection.execute(
                    select(schema.study.c.paused).where(schema.study.c.id == database.study_id)
                ).scalar_one()
            )
            answer = stage(connection, database, study, rater, paused)
        return answer | {"csrf": security.forgery_token(database, str(session)), "languages": list(settings.languages)}

    @app.post("/api/consent")
    def consent(request: Request, body: Consent) -> dict[str, bool]:
        if not body.agreed:
            raise Refused(422, "not_agreed", "nobody takes part without agreeing")
        with_rater(request, lambda connection, rater: raters.consent(connection, rater))
        return {"saved": True}

    @app.post("/api/headphones")
    def headphone_answers(request: Request, body: HeadphoneAnswers) -> dict[str, bool]:
        passed = with_rater(
            request, lambda connection, rater: headphones.answer(connection, database, study, rater, body.answers)
        )
        return {"saved": True, "passed": passed}

    @app.post("/api/leases/{lease}/renew")
    def renew(request: Request, lease: Token) -> dict[str, float]:
        return {"seconds": with_rater(request, lambda connection, rater: leases.renew(connection, study, rater, lease))}

    @app.post("/api/trials/{lease}")
    def submit(request: Request, lease: Token, body: Ratings) -> dict[str, Any]:
        submission = trials.Submission(body.key, body.values, body.preferred, body.heard)

        def change(connection: Connection, rater: Rater) -> str:
            if rater.consented_at is None or not headphones.over(study, rater):
                raise Refused(409, "too_early", "consent and the headphone check come first")
            return trials.submit(connection, database, study, rater, lease, submission)

        return {"saved": True, "receipt": with_rater(request, change)}


def stage(connection: Connection, database: Store, study: Study, rater: Rater, paused: bool) -> dict[str, Any]:
    """What a rater sees now. It follows from what is stored alone, so a reload changes nothing."""
    if rater.consented_at is None:
        return {"stage": "consent"}
    if not headphones.over(study, rater) and rater.excluded_for is None:
        return {
            "stage": "headphones",
            "clips": headphones.tokens(connection, study, rater),
            "tries_left": headphones.TRIES - rater.headphone_tries,
        }
    progress = leases.progress(connection, database, study, rater, paused)
    counts = {"done": progress.done, "total": progress.total}
    if progress.lease is not None:
        return {"stage": "trial", "trial": _trial(study, progress.lease)} | counts
    if rater.excluded_for is not None and progress.rated == 0:
        return {"stage": "not_eligible"}
    if not progress.complete:
        return {"stage": "paused"} | counts
    if progress.rated == 0:
        return {"stage": "full"}
    completion = platforms.completion_url(study.settings) if rater.platform == "prolific" else None
    return {
        "stage": "done",
        "receipt": raters.export_id(database, rater.public_id),
        "completion_url": completion,
    } | counts


def _trial(study: Study, lease: leases.Lease) -> dict[str, Any]:
    page = lease.page
    show_prompt = page.kind == "rating" and study.question(page.question).show_prompt
    reference = next((stimulus for stimulus in lease.stimuli if stimulus.slot == 0), None)
    left = study.question(page.question).open_reference if page.kind == "rating" else "reference"
    return {
        "lease": lease.public_id,
        "kind": page.kind,
        "method": page.method,
        "question": page.question,
        "prompt": page.prompt if show_prompt else None,
        "reference": None if reference is None else {"token": reference.token, "seconds": reference.clip.seconds, "kind": left},
        "clips": [
            {"token": stimulus.token, "label": chr(64 + stimulus.slot), "seconds": stimulus.clip.seconds}
            for stimulus in lease.stimuli
            if stimulus.slot > 0
        ],
        "scale": list(SCALE),
        "bands": list(BANDS),
        "minimum_heard": study.settings.minimum_heard,
        "renew_seconds": max(5, math.floor(study.settings.lease_minutes * 60 / 3)),
    }  # fmt: skip


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse({"code": error.code, "error": str(error)} | error.extra, error.status)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:3])
    return JSONResponse({"code": "invalid", "error": f"{where}: {first['msg']}"[:200]}, 422)


def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"code": "http", "error": str(error.detail)}, error.status_code)
