"""Prolific's API, played by a mock: what is sent, what is made of the answers."""

import json
import shutil
import threading
import time

import httpx
import pytest

from human_study.database import study_database
from human_study.design import manifest, study_settings
from human_study.sessions import prolific
from human_study.sessions.errors import RequestRefused
from human_study.sessions.prolific import ProlificClient, ProlificSubmission
from human_study.web.app import create_app
from musicgen.errors import InputError
from tests.human_study.conftest import serving

PARSED = study_settings.parse(
    {"name": "t", "systems": {"a": "x"}, "questions": ["OVL"], "title": {"en": "Listen"},
     "prolific": {"completion_code": "DONE1", "reward": 200, "minutes": 15}}, "t",
)  # fmt: skip
SUBMISSION = ProlificSubmission("worker", "study", "session")


def client(handler):
    return ProlificClient("secret", httpx.MockTransport(handler))


def test_a_study_is_drafted():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(201, json={"id": "abc"})

    assert client(handler).create_study(PARSED, "https://study.example.org/", 40) == "abc"
    (request,) = seen
    assert str(request.url) == "https://api.prolific.com/api/v1/studies/"
    assert request.headers["authorization"] == "Token secret"
    body = json.loads(request.content)
    assert body["external_study_url"] == (
        "https://study.example.org/?PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
    )
    assert body["completion_codes"][0]["code"] == "DONE1"
    assert (body["reward"], body["estimated_completion_time"], body["total_available_places"]) == (200, 15, 40)


def test_status_and_transitions():
    def handler(request):
        if request.method == "POST":
            assert request.url.path.endswith("/studies/abc/transition/")
            return httpx.Response(200, json={"status": json.loads(request.content)["action"]})
        return httpx.Response(
            200, json={"status": "ACTIVE", "places_taken": 3, "total_available_places": 9, "other": 1}
        )

    assert client(handler).status("abc") == {"status": "ACTIVE", "places_taken": 3, "total_available_places": 9}
    assert client(handler).transition("abc", "PAUSE") == "PAUSE"


@pytest.mark.parametrize(
    ("answer", "real"),
    [
        ({"participant_id": "worker", "study_id": "study", "status": "ACTIVE"}, True),
        ({"participant_id": "somebody", "study_id": "study", "status": "ACTIVE"}, False),
        ({"participant_id": "worker", "study_id": "other", "status": "ACTIVE"}, False),
        ({"participant_id": "worker", "study_id": "study", "status": "RETURNED"}, False),
        (None, False),
    ],
)
def test_only_real_submissions_are_active(answer, real):
    def handler(_request):
        return httpx.Response(404) if answer is None else httpx.Response(200, json=answer)

    assert client(handler).is_active(SUBMISSION) is real


def test_errors_are_one_line():
    with pytest.raises(InputError, match="answered 403 to GET"):
        client(lambda _: httpx.Response(403, text="no")).status("abc")
    with pytest.raises(InputError, match="not an object"):
        client(lambda _: httpx.Response(200, json=[])).status("abc")

    def gone(request):
        raise httpx.ConnectError("no route", request=request)

    with pytest.raises(InputError, match="cannot be reached"):
        client(gone).status("abc")
    with pytest.raises(InputError, match="letters, digits"):
        client(gone).status("../../users/me")
    with pytest.raises(InputError, match="https://"):
        client(gone).create_study(PARSED, "http://127.0.0.1", 1)
    with pytest.raises(InputError, match="PROLIFIC_TOKEN"):
        ProlificClient("")
    with pytest.raises(RequestRefused, match="PROLIFIC_PID"):
        ProlificSubmission("a b", "s", "t")


def test_verified_studies_ask_prolific(build_study, open_app):
    study = build_study(prolific="{completion_code: X, verify: true}")
    active = []

    def handler(_request):
        status = "ACTIVE" if active else "RETURNED"
        return httpx.Response(200, json={"participant_id": "w1", "study_id": "s1", "status": status})

    _, new = open_app(study, prolific=client(handler))
    rater = new()
    who = {"prolific_pid": "w1", "study_id": "s1", "session_id": "t1"}
    assert rater.enter(**who).json()["code"] == "not_active"
    active.append(1)
    assert rater.enter(**who).status_code == 200


def test_made_up_submissions_occupy_few_places_while_prolific_is_slow(build_study, migrated_sqlite):
    """Forty at once, and Prolific answers nothing: raters who are in the study go on, and the forty are told to come again."""
    study = build_study(prolific="{completion_code: X, verify: true}")
    shutil.copy(migrated_sqlite, study.path / manifest.DATABASE)
    database, answers = study_database.open_database(study), []
    silent, asked = threading.Event(), threading.Semaphore(0)

    def handler(_request):
        asked.release()
        assert silent.wait(30)
        return httpx.Response(404)

    with serving(create_app(study, database, prolific=client(handler))) as address:

        def enter(number):
            who = {"prolific_pid": f"w{number}", "study_id": "s", "session_id": f"t{number}"}
            answers.append(httpx.post(f"{address}/api/enter", json=who, timeout=60, trust_env=False))

        threads = [threading.Thread(target=enter, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for _ in range(prolific.MAX_QUESTIONS):
            assert asked.acquire(timeout=20)
        began = time.monotonic()
        inside = httpx.post(f"{address}/api/enter", json={}, timeout=60, trust_env=False)  # by the open link
        assert inside.status_code == 200
        assert time.monotonic() - began < 5
        while len(answers) < 40 - prolific.MAX_QUESTIONS and time.monotonic() - began < 30:
            time.sleep(0.05)
        silent.set()
        for thread in threads:
            thread.join(60)
        assert not asked.acquire(blocking=False)
    refused = [reply for reply in answers if reply.status_code == 503]
    assert len(refused) == 40 - prolific.MAX_QUESTIONS
    assert {(reply.json()["code"], reply.headers["retry-after"]) for reply in refused} == {("busy", "5")}
    database.dispose()


def test_a_study_without_prolific_takes_nobody_from_there(build_study, open_app):
    _, new = open_app(build_study(prolific="null"))
    assert new().enter(prolific_pid="w1", study_id="s1", session_id="t1").json()["code"] == "not_prolific"
