"""Prolific's API (docs.prolific.com/api-reference) and the parameters of its links.

The API token stays on the server. This module does not use the database.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

import httpx

from musicgen.errors import InputError

from ..design.study_settings import StudySettings
from .errors import RequestRefused

API = "https://api.prolific.com/api/v1/"
COMPLETE = "https://app.prolific.com/submissions/complete"
QUERY = "PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"

MAX_PLACES = 10_000

MAX_QUESTIONS = 8
"""Submissions that Prolific is asked about at once. Each occupies a thread of the server until Prolific answers, and anybody
can make up submissions."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ProlificSubmission:
    """The parameters that Prolific adds to the study's URL.

    Attributes:
        worker: PROLIFIC_PID.
        study: STUDY_ID.
        submission: SESSION_ID.

    Raises:
        RequestRefused: a parameter is malformed.
    """

    worker: str
    study: str
    submission: str

    def __post_init__(self) -> None:
        for name, value in (("PROLIFIC_PID", self.worker), ("STUDY_ID", self.study), ("SESSION_ID", self.submission)):
            if not _ID.fullmatch(value):
                raise RequestRefused(
                    422, "bad_link", f"{name} is {value[:20]!r}: open the study from Prolific's own page"
                )


def completion_url(settings: StudySettings) -> str | None:
    """Address that a rater is sent back to, None where the study is not on Prolific. For raters whose trials are committed."""
    if settings.prolific is None:
        return None
    return str(httpx.URL(COMPLETE, params={"cc": settings.prolific.completion_code}))


class ProlificClient:
    """Client of Prolific's API."""

    def __init__(self, token: str, transport: httpx.BaseTransport | None = None) -> None:
        """Make a client.

        Args:
            token: API token.
            transport: of httpx, for tests.

        Raises:
            InputError: the token is empty.
        """
        if not token:
            raise InputError("no Prolific API token: set the environment variable PROLIFIC_TOKEN")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise InputError(
                "PROLIFIC_TOKEN holds spaces, newlines or other characters than ASCII: was it copied whole?"
            )
        self._questions = threading.BoundedSemaphore(MAX_QUESTIONS)
        self._client = httpx.Client(
            base_url=API, headers={"Authorization": f"Token {token}"}, timeout=20.0, transport=transport
        )

    def create_study(self, settings: StudySettings, url: str, places: int) -> str:
        """Create a draft. Publishing is a separate step, because it costs money.

        Args:
            settings: of the study.
            url: public address of the study, https.
            places: number of raters to pay.

        Returns:
            Prolific's id of the study.

        Raises:
            InputError: the settings or the address do not fit, or Prolific refuses.
        """
        if settings.prolific is None:
            raise InputError("the study has no 'prolific:' part: add completion_code, reward and minutes")
        if not 0 < places <= MAX_PLACES:
            raise InputError(f"places is {places}: from 1 to {MAX_PLACES}")
        if not url.startswith("https://"):
            raise InputError(f"public URL is {url!r}: Prolific sends raters to https:// addresses")
        title = settings.title.get("en", settings.name)
        document = {
            "name": title,
            "internal_name": settings.name,
            "description": title,
            "external_study_url": f"{url.rstrip('/')}/?{QUERY}",
            "prolific_id_option": "url_parameters",
            "completion_codes": [
                {
                    "code": settings.prolific.completion_code,
                    "code_type": "COMPLETED",
                    "actions": [{"action": "MANUALLY_REVIEW"}],
                }
            ],
            "total_available_places": places,
            "estimated_completion_time": settings.prolific.minutes,
            "reward": settings.prolific.reward,
            "device_compatibility": ["desktop", "tablet", "mobile"],
            "peripheral_requirements": ["audio"],
        }
        made = self._call("POST", "studies/", json=document).get("id")
        if not isinstance(made, str):
            raise InputError("Prolific answered without the id of the new study: look for the draft on its page")
        return made

    def status(self, study_id: str) -> dict[str, Any]:
        """Status, places taken and places in all, as Prolific reports them."""
        answer = self._call("GET", f"studies/{_checked(study_id)}/")
        return {name: answer.get(name) for name in ("status", "places_taken", "total_available_places")}

    def transition(self, study_id: str, action: str) -> str:
        """Change the state of a study.

        Args:
            study_id: Prolific's.
            action: "PUBLISH", "PAUSE", "START" or "STOP".

        Returns:
            The new status.
        """
        answer = self._call("POST", f"studies/{_checked(study_id)}/transition/", json={"action": action})
        return str(answer.get("status"))

    def is_active(self, submission: ProlificSubmission) -> bool:
        """Whether the submission exists, belongs to this worker and study, and is not finished.

        Raises:
            RequestRefused: Prolific cannot be asked now, or is being asked about MAX_QUESTIONS others; the page asks again.
        """
        if not self._questions.acquire(blocking=False):
            raise RequestRefused(503, "busy", "the server is busy with others who enter")
        try:
            answer = self._call("GET", f"submissions/{_checked(submission.submission)}/")
        except _NotFound:
            return False
        except InputError as error:
            raise RequestRefused(
                503, "prolific_silent", "Prolific cannot be asked about this submission now"
            ) from error
        finally:
            self._questions.release()
        participant = answer.get("participant_id", answer.get("participant"))
        mine = participant == submission.worker and answer.get("study_id", submission.study) == submission.study
        return mine and answer.get("status") in ("ACTIVE", "RESERVED")

    def _call(self, method: str, path: str, json: Any = None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=json)
            response.raise_for_status()
            answer = response.json()
        except httpx.HTTPStatusError as error:
            kind = _NotFound if error.response.status_code == 404 else InputError
            text = " ".join(error.response.text.split())[:200]
            raise kind(f"Prolific answered {error.response.status_code} to {method} {path}: {text}") from error
        except RecursionError as error:
            raise InputError(f"Prolific answered {method} {path} with JSON that is nested too deeply") from error
        except (httpx.HTTPError, ValueError) as error:
            raise InputError(f"Prolific cannot be reached ({method} {path}): {error}") from error
        if not isinstance(answer, dict):
            raise InputError(f"Prolific answered {method} {path} with JSON that is not an object")
        return answer


class _NotFound(InputError):
    """Prolific knows nothing under this id."""


def _checked(identifier: str) -> str:
    if not _ID.fullmatch(identifier):
        raise InputError(f"Prolific id {identifier[:40]!r}: letters, digits, - and _ only")
    return identifier
