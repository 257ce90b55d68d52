"""Prolific's API, played by a mock: what is sent, what is made of the answers."""

import contextlib
import json
import shutil
import sqlite3
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
from tests.human_study.conftest import free_port, serving
from tests.human_study.test_crash import start_server
from tests.prolific_server import ProlificServer

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


def test_verified_raters_from_outside(build_study, migrated_sqlite, tmp_path):
    """The server as its operator starts it, asked by strangers, with Prolific's API at its own address, over TLS."""
    study = build_study(prolific="{completion_code: C0DE-42, verify: true}", open_link="false")
    file, port = study.path / manifest.DATABASE, free_port()
    shutil.copy(migrated_sqlite, file)

    def entered(**who):
        """(the answer, its client): a browser of its own each time."""
        browser = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        ids = {"prolific_pid": "w1", "study_id": "s1", "session_id": "t1"} | who
        return browser.post(
            "/api/enter", json={name: value for name, value in ids.items() if value is not None}
        ), browser

    with ProlificServer(tmp_path) as api:
        secrets = {"PROLIFIC_TOKEN": "the-api-token"}
        server = start_server(study, f"sqlite:///{file}", port, environment=api.environment | secrets)
        try:
            api.submissions["t1"] = {"participant_id": "w1", "study_id": "s1", "status": "ACTIVE"}
            for who, code in (
                ({"session_id": "made-up"}, "not_active"),
                ({"prolific_pid": "w2"}, "not_active"),
                ({"study_id": "s2"}, "not_active"),
                ({"session_id": "../studies"}, "bad_link"),
                ({"session_id": ""}, "bad_link"),
                ({"session_id": None}, "bad_link"),
                ({"prolific_pid": None}, "no_code"),
                ({"prolific_pid": None, "code": "w1"}, "bad_code"),
            ):
                assert entered(**who)[0].json()["code"] == code, who
            for fault in (
                (500, {}, b""),
                (429, {}, b""),
                (401, {}, b'{"error": "the-api-token"}'),
                (200, {}, b"<html>"),
                (200, {}, b"[" * 100_000),
                (302, {"location": f"http://127.0.0.1:{port}/api/state"}, b""),
            ):
                api.fault = fault
                answer, _ = entered()
                assert (answer.status_code, answer.json()["code"]) == (503, "prolific_silent"), fault
                assert answer.headers["retry-after"]
                assert "token" not in answer.text
            api.fault = None
            with contextlib.closing(sqlite3.connect(file)) as database:
                assert database.execute("SELECT count(*) FROM rater").fetchone() == (0,)
            answer, browser = entered()
            assert answer.status_code == 200
            assert browser.get("/api/state").json()["stage"] == "consent"
            # The same submission goes on in another browser as the same person; with it the first session ends.
            again, other = entered()
            assert again.status_code == 200
            assert other.get("/api/state").json()["stage"] == "consent"
            assert browser.get("/api/state").status_code == 401
            # One that Prolific has closed lets nobody in, and the browser that is in goes on.
            api.submissions["t1"]["status"] = "APPROVED"
            assert entered()[0].json()["code"] == "not_active"
            assert other.get("/api/state").json()["stage"] == "consent"
            with contextlib.closing(sqlite3.connect(file)) as database:
                assert database.execute("SELECT worker_id, submission_id FROM payment").fetchall() == [("w1", "t1")]
        finally:
            server.terminate()
            told = server.communicate(timeout=30)[1].decode()
    assert {path for _, path, _ in api.requests} == {"/api/v1/submissions/t1/", "/api/v1/submissions/made-up/"}
    assert {(method, authorization) for method, _, authorization in api.requests} == {("GET", "Token the-api-token")}
    assert "Traceback" not in told
    for secret in ("the-api-token", "w1", "t1"):
        assert secret not in told
