"""The endpoints that the rating page calls. A trial is acknowledged after its transaction has been committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from sqlalchemy import Connection, select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..design.methods import CONFIDENCE
from ..design.questionnaire import MAX_FIELDS
from ..sessions import headphone_check, leases, questionnaires, raters, trials
from ..sessions.answers import PageAnswer
from ..sessions.errors import RequestRefused
from ..sessions.prolific import ProlificClient, ProlificSubmission
from ..sessions.raters import Rater
from ..sessions.trials import TrialSubmission
from . import security, stages
from .security import SESSION_COOKIE, TOKEN_PATTERN

COOKIE_SECONDS = 30 * 86400

Text = Annotated[str, Field(max_length=200)]
Token = Annotated[str, Field(pattern=TOKEN_PATTERN)]
Second = Annotated[float, Field(allow_inf_nan=False, ge=0, le=3600)]


class EntryRequest(BaseModel):
    """Admission: with an invitation code, from Prolific, or by an open link."""

    model_config = ConfigDict(extra="forbid")
    language: Annotated[str, Field(max_length=8)] = "en"
    code: Text | None = None
    prolific_pid: Text | None = None
    study_id: Text = ""
    session_id: Text = ""


class ConsentRequest(BaseModel):
    """Consent.

    Attributes:
        agreed: the box was ticked.
    """

    model_config = ConfigDict(extra="forbid")

    agreed: bool


class HeadphoneAnswersRequest(BaseModel):
    """Answers of the headphone check.

    Attributes:
        answers: the quietest tone of each clip, 1 to 3.
    """

    model_config = ConfigDict(extra="forbid")

    answers: Annotated[list[Annotated[StrictInt, Field(ge=1, le=3)]], Field(max_length=6)]


class QuestionnaireRequest(BaseModel):
    """A submitted questionnaire.

    Attributes:
        answers: field -> answer.
    """

    model_config = ConfigDict(extra="forbid")

    answers: Annotated[
        dict[Annotated[str, Field(max_length=60)], StrictStr | StrictInt | StrictFloat | None],
        Field(max_length=MAX_FIELDS),
    ]


class TrialRequest(BaseModel):
    """A submitted page; see `trials.TrialSubmission` and `answers.PageAnswer`."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{8,64}$")]
    values: Annotated[dict[Token, StrictInt], Field(max_length=20)] = {}
    preferred: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] | None = None
    confidence: Annotated[StrictInt, Field(ge=CONFIDENCE[0], le=CONFIDENCE[1])] | None = None
    heard: Annotated[dict[Token, Annotated[list[tuple[Second, Second]], Field(max_length=500)]], Field(max_length=20)]


def add_routes(
    app: FastAPI, study: Study, database: StudyDatabase, secure: bool, prolific: ProlificClient | None
) -> None:
    """Add the endpoints.

    Args:
        app: the application.
        study: the study.
        database: of the study.
        secure: cookies are marked Secure.
        prolific: client for checking submissions.
    """
    settings = study.settings
    verified = settings.prolific is not None and settings.prolific.verify

    def with_rater(request: Request, change: Callable[[Connection, Rater], Any]) -> Any:
        """Run `change` in a write transaction, for the rater of a request that passed the origin and CSRF checks."""
        security.check_origin(request)
        session = request.cookies.get(SESSION_COOKIE)
        with database.write() as connection:
            rater = raters.find_by_session(connection, database, session)
            security.check_csrf(request, database, str(session))
            return change(connection, rater)

    def is_paused(connection: Connection) -> bool:
        table = schema.study
        return bool(connection.execute(select(table.c.paused).where(table.c.id == database.study_id)).scalar_one())

    @app.post("/api/enter")
    def enter(request: Request, entry: EntryRequest) -> Response:
        security.check_origin(request)
        language = entry.language if entry.language in settings.languages else settings.languages[0]
        current = request.cookies.get(SESSION_COOKIE)
        submission = None
        if entry.prolific_pid is not None:
            submission = ProlificSubmission(entry.prolific_pid, entry.study_id, entry.session_id)
            if settings.prolific is None:
                raise RequestRefused(403, "not_prolific", "this study takes no raters from Prolific")
            if verified and (prolific is None or not prolific.is_active(submission)):
                raise RequestRefused(
                    403, "not_active", "Prolific does not know this submission: open the study from its page"
                )
        with database.write() as connection:
            if submission is not None:
                session = raters.enter(
                    connection, database, study, platform="prolific", language=language, worker=submission.worker,
                    submission=submission.submission, current=current, proven=verified,
                )  # fmt: skip
            elif entry.code:
                code = raters.check_code(connection, database, entry.code)
                session = raters.enter(
                    connection, database, study, platform="code", language=language, worker=code, current=current,
                    proven=True,
                )  # fmt: skip
            elif settings.open_link:
                session = raters.enter(connection, database, study, platform="open", language=language)
            else:
                raise RequestRefused(403, "no_code", "this study is by invitation: enter the code that you were sent")
        response = JSONResponse({"csrf": security.csrf_token(database, session)})
        response.set_cookie(
            SESSION_COOKIE, session, max_age=COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure, path="/"
        )
        return response

    @app.get("/api/state")
    def state(request: Request) -> dict[str, Any]:
        session = request.cookies.get(SESSION_COOKIE)
        with database.write() as connection:
            rater = raters.find_by_session(connection, database, session)
            answer = stages.current_stage(connection, database, study, rater, is_paused(connection))
        return answer | {"csrf": security.csrf_token(database, str(session)), "languages": list(settings.languages)}

    @app.post("/api/consent")
    def consent(request: Request, body: ConsentRequest) -> dict[str, bool]:
        if not body.agreed:
            raise RequestRefused(422, "not_agreed", "taking part requires consent")
        with_rater(request, lambda connection, rater: raters.consent(connection, rater))
        return {"saved": True}

    @app.post("/api/headphones")
    def headphone_answers(request: Request, body: HeadphoneAnswersRequest) -> dict[str, bool]:
        def change(connection: Connection, rater: Rater) -> bool:
            _check_consent(rater)
            return headphone_check.submit(connection, database, study, rater, body.answers)

        passed = with_rater(request, change)
        return {"saved": True, "passed": passed}

    @app.post("/api/questionnaires/{place}")
    def questionnaire_answers(
        request: Request, place: Literal["before", "after"], body: QuestionnaireRequest
    ) -> dict[str, bool]:
        def change(connection: Connection, rater: Rater) -> None:
            _check_headphones(study, rater)
            if place == "after":
                progress = leases.progress(connection, database, study, rater, is_paused(connection))
                if not progress.complete:
                    raise RequestRefused(409, "too_early", "the pages come first")
            questionnaires.submit(connection, study, rater, place, body.answers)

        with_rater(request, change)
        return {"saved": True}

    @app.post("/api/leases/{lease}/renew")
    def renew(request: Request, lease: Token) -> dict[str, float]:
        seconds = with_rater(request, lambda connection, rater: leases.renew(connection, database, study, rater, lease))
        return {"seconds": seconds}

    @app.post("/api/trials/{lease}")
    def submit(request: Request, lease: Token, body: TrialRequest) -> dict[str, Any]:
        submission = TrialSubmission(body.key, PageAnswer(body.values, body.preferred, body.confidence), body.heard)

        def change(connection: Connection, rater: Rater) -> str:
            _check_headphones(study, rater)
            return trials.submit(connection, database, study, rater, lease, submission)

        return {"saved": True, "receipt": with_rater(request, change)}


def _check_consent(rater: Rater) -> None:
    """Nothing that a person does is stored before they agree to it."""
    if rater.consented_at is None:
        raise RequestRefused(409, "too_early", "consent comes first")


def _check_headphones(study: Study, rater: Rater) -> None:
    _check_consent(rater)
    if not headphone_check.is_finished(study, rater):
        raise RequestRefused(409, "too_early", "the headphone check comes first")
