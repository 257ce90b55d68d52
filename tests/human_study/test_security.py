"""What strangers send to the server: hosts, origins, cookies, bodies, made-up worker ids; and a database that is locked."""

import contextlib
import http.client
import json
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from human_study.commands import common
from human_study.database import queries, schema, study_database
from human_study.design import manifest, study_settings
from human_study.sessions import headphone_check, leases
from human_study.sessions.prolific import ProlificClient
from human_study.web import security
from human_study.web.app import create_app
from musicgen.errors import InputError
from tests.human_study.client import Rater, answer
from tests.human_study.conftest import free_port, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one(build_study, open_app):
    """A rater on the first page: (client, trial, store)."""
    database, new = open_app(build_study())
    rater = new()
    return rater, rater.start()["trial"], database


def prolific(**changes):
    return {"prolific_pid": "5f0c", "study_id": "s1", "session_id": "sub1"} | changes


# Prolific


def test_made_up_ids_fill_no_places(build_study, open_app):
    """Ninety scripts on a study of nine places, each up to its first page: the first person still gets one."""
    study = build_study(raters_per_sample=1)
    database, new = open_app(study)
    for number in range(90):
        assert new().start(**prolific(prolific_pid=f"made{number}"))["stage"] == "trial"
    with database.read() as connection:
        assert {quota.leased for quota in leases.page_quotas(connection, database, study, time.time())} == {0}
    person = new()
    trial = person.start(**prolific(prolific_pid="person"))["trial"]
    assert person.beat(trial).status_code == 200
    with database.read() as connection:
        quotas = leases.page_quotas(connection, database, study, time.time())
    assert sorted(quota.leased for quota in quotas) == [0] * 8 + [1]
    assert person.rate_all()["stage"] == "done"


@pytest.mark.parametrize("sign", ["heartbeat", "page", "headphones", "failed headphones", "none"])
def test_signs_of_life(build_study, open_app, sign):
    check = "record" if "headphones" in sign else '"off"'
    study = build_study(raters_per_sample=1, headphone_check=check)
    database, new = open_app(study)
    rater = new()
    state = rater.start()
    if state["stage"] == "headphones":
        with database.read() as connection:
            row = connection.execute(select(schema.rater)).one()
        right = [clip.answer for clip in headphone_check.clip_order(study, row)]
        answers = right if sign == "headphones" else [1 + given % 3 for given in right]
        assert rater.post("/api/headphones", {"answers": answers}).status_code == 200
        state = rater.state()
    if sign == "heartbeat":
        rater.beat(state["trial"])
    if sign == "page":
        rater.submit(state["trial"])
        rater.state()
    with database.read() as connection:
        alive = connection.execute(select(schema.rater.c.alive_at)).scalar_one()
        leased = sum(q.leased for q in leases.page_quotas(connection, database, study, time.time()))
    assert (alive is not None) == (leased == 1) == (sign in {"heartbeat", "page", "headphones"})


def test_a_known_id_takes_over_nobody(build_study, open_app):
    database, new = open_app(build_study())
    rater, thief = new(), new()
    trial = rater.start(**prolific())["trial"]
    answered = thief.enter(**prolific())
    assert (answered.status_code, answered.json()["code"]) == (409, "other_browser")
    assert "set-cookie" not in answered.headers
    assert thief.enter(**prolific(session_id="another")).status_code == 409
    assert thief.state()["code"] == "no_session"
    assert rater.state()["trial"] == trial  # the session is as it was
    assert rater.enter(**prolific(session_id="sub2")).status_code == 200  # the same browser
    assert rater.state()["trial"] == trial
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.rater)) == 1


def test_a_verified_submission_goes_on_in_another_browser(build_study, open_app):
    study = build_study(prolific="{completion_code: X}")
    known = {"sub1": "5f0c", "sub2": "other"}

    def handler(request):
        participant = known.get(request.url.path.split("/")[-2])
        if participant is None:
            return httpx.Response(404)
        return httpx.Response(200, json={"participant_id": participant, "study_id": "s1", "status": "ACTIVE"})

    _, new = open_app(study, prolific=ProlificClient("secret", httpx.MockTransport(handler)))
    first, second, thief = new(), new(), new()
    trial = first.start(**prolific())["trial"]
    for session in ("made-up", "sub2", ""):  # unknown, another person's, none
        assert thief.enter(**prolific(session_id=session)).status_code in (403, 422)
    assert second.enter(**prolific()).status_code == 200
    assert second.state()["trial"] == trial


def test_prolific_that_cannot_be_asked_is_asked_again(build_study, open_app):
    def handler(request):
        raise httpx.ConnectError("no route", request=request)

    study = build_study(prolific="{completion_code: X}")
    _, new = open_app(study, prolific=ProlificClient("secret", httpx.MockTransport(handler)))
    answered = new().enter(**prolific())
    assert (answered.status_code, answered.json()["code"]) == (503, "prolific_silent")
    assert int(answered.headers["retry-after"]) > 0


def test_verification_is_on_unless_it_is_switched_off(build_study, monkeypatch, capsys):
    document = {"name": "t", "systems": {"a": "x"}, "questions": ["OVL"], "prolific": {"completion_code": "X"}}
    assert study_settings.parse(document, "t").prolific.verify is True
    monkeypatch.delenv("PROLIFIC_TOKEN", raising=False)
    from human_study.__main__ import main

    study = build_study(prolific="{completion_code: X}")
    assert main(["serve", str(study.path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "set PROLIFIC_TOKEN" in error
    assert "verify: false" in error
    database = study_database.open_database(study)
    with pytest.raises(InputError, match="set PROLIFIC_TOKEN"):
        create_app(study, database)
    database.dispose()


# Hosts, origins, cookies


@pytest.mark.parametrize(
    ("host", "hosts", "status"),
    [
        ("127.0.0.1:8600", None, 200),
        ("LOCALHOST", None, 200),
        ("[::1]:8600", None, 200),
        ("[::1]", None, 200),
        ("study.example.org", ("study.example.org",), 200),
        ("study.example.org.:443", ("study.example.org",), 200),
        ("127.0.0.1", ("study.example.org",), 400),
        ("evil.example", None, 400),
        ("127.0.0.1.evil.example", None, 400),
        ("127.0.0.1@evil.example", None, 400),
        ("evil.example#127.0.0.1", None, 400),
        ("127.0.0.1:8600:80", None, 400),
        ("[::1", None, 400),
        ("[::1]x", None, 400),
        ("", None, 400),
        ("\xff", None, 400),
        ("127.0.0.1, evil.example", None, 400),
    ],
)
def test_hosts(build_study, host, hosts, status):
    study = build_study()
    database = study_database.open_database(study)
    client = TestClient(create_app(study, database, **({"hosts": hosts} if hosts else {})))
    response = client.get("/", headers={"Host": host.encode("latin-1"), "X-Forwarded-Host": "127.0.0.1"})
    assert response.status_code == status
    assert response.headers["x-frame-options"] == "DENY"
    database.dispose()


def raw(port, text):
    """The status line and headers of an answer to bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text.encode("latin-1"))
        with contextlib.suppress(TimeoutError):
            return connection.recv(4000).decode("latin-1")
    return ""


def test_two_hosts_and_forwarded_ones_have_no_say(build_study):
    study = build_study()
    database = study_database.open_database(study)
    with serving(create_app(study, database)) as address:
        port = int(address.rsplit(":", 1)[1])
        two = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        assert raw(port, two).startswith("HTTP/1.1 400")
        for name in ("X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL", "X-Rewrite-URL"):
            response = httpx.get(address + "/admin/", headers={name: "evil.example"}, follow_redirects=False)
            assert response.status_code == 404  # no redirection that could name another host
            assert "evil.example" not in str(response.headers) + response.text
    database.dispose()


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://[::1", "null", "", "https://evil.example", "http://testserver.evil.example", "http://testserver:81",
     "ftp://testserver", "http://user@testserver", "http://testserver/", "testserver", "//testserver", "http://\xff"],
)  # fmt: skip
def test_origins_of_others_are_refused(one, origin):
    rater, trial, database = one
    headers = {"X-CSRF-Token": rater.csrf, "Origin": origin.encode("latin-1")}
    for path, body in (
        (f"/api/trials/{trial['lease']}", answer(trial)),
        ("/api/enter", {}),
        ("/admin/api/login", {"token": "x"}),
    ):
        response = rater.http.post(path, json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "other_origin")
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0


def test_the_own_origin_is_taken(one):
    rater, trial, _ = one
    assert rater.post(f"/api/trials/{trial['lease']}", answer(trial), Origin="https://testserver").status_code == 200


COOKIES = [
    b"\xff\xfe", b"=", b"study_session", b"study_session=\xff", b'study_session="\\377"', b'study_session="\\ud800"',
    b"study_session=" + b"x" * 20_000, b"study_admin=\xff.\xff", b"study_admin=" + b"9" * 5000 + b".x", b"study_admin=\xb2.x",
    b"study_admin=99999999999999999999.x", b"study_admin=1e400.x", b"study_admin=-1.x", b"study_admin=.",
    b"study_admin=9999999999.",
    b"study_admin=" + "٣".encode() + b".x", b"study_session=\x00", b"a=1; " * 2000,
]  # fmt: skip


@pytest.mark.parametrize("cookie", COOKIES, ids=lambda cookie: repr(cookie[:24]))
def test_no_cookie_is_an_error_of_the_server(build_study, open_app, cookie):
    _, new = open_app(build_study())
    http = new().http
    requests = [
        ("GET", "/api/state", None), ("GET", "/admin/api/progress", None), ("GET", "/audio/" + "0" * 32, None),
        ("POST", "/api/consent", {"agreed": True}), ("POST", "/admin/api/pause", {"paused": True}),
    ]  # fmt: skip
    for method, path, body in requests:
        response = http.request(method, path, json=body, headers={"Cookie": cookie, "X-CSRF-Token": b"\xff"})
        assert response.status_code == 401, (path, response.text)


def test_cookies_behind_a_proxy_are_secure(build_study, open_app):
    study = build_study()
    _, new = open_app(study, secure=True)
    rater = new()
    entered = rater.enter()
    token = (study.path / manifest.ADMIN_TOKEN).read_text()
    logged_in = rater.post("/admin/api/login", {"token": token})
    for response, same_site, path in ((entered, "lax", "/"), (logged_in, "strict", "/admin")):
        cookie = response.headers["set-cookie"].lower()
        parts = {part.strip() for part in cookie.split(";")[1:]}
        assert {"httponly", "secure", f"samesite={same_site}", f"path={path}"} <= parts
        assert not any(part.startswith("domain") for part in parts)


def test_the_server_writes_no_secret_down(build_study):
    """A real server: neither its output nor its log nor its files hold what came in addresses, cookies and bodies."""
    study = build_study()
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "human_study", "serve", str(study.path), "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(address, timeout=2, trust_env=False)
                break
            time.sleep(0.1)
        token = (study.path / manifest.ADMIN_TOKEN).read_text().strip()
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.post("/admin/api/login", json={"token": token}).status_code == 200
            client.post("/admin/api/login", json={"token": "wrong-admin-token"})
            client.get("/admin", params={"token": token})
            client.get("/", params={"code": "secret-code", "PROLIFIC_PID": "secret-pid"})
            client.post("/api/enter", json={"code": "secret-code"})
            entered = client.post("/api/enter", json={"prolific_pid": "secret-pid", "study_id": "s", "session_id": "t"})
            assert entered.status_code == 200
            session = client.cookies[security.SESSION_COOKIE]
            client.get("/audio/secret-audio", headers={"x-secret": "secret-header"})
            client.post("/api/consent", content=b"{secret-body", headers={"content-type": "application/json"})
    finally:
        server.terminate()
        written = server.communicate(timeout=20)[0].decode()
    kept = b"".join(file.read_bytes() for file in study.path.iterdir() if file.name.startswith("study.db"))
    for secret in (token, session, entered.json()["csrf"], "wrong-admin-token", "secret-"):
        assert secret not in written
        assert secret == "secret-" or secret.encode() not in kept
    assert b"secret-code" not in kept
    assert b"secret-pid" in kept  # in `payment`, for paying


def test_an_error_of_the_server_is_one_of_ours(build_study, open_app, monkeypatch):
    from human_study.web import stages

    def fail(*_arguments):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(stages, "current_stage", fail)
    _, new = open_app(build_study())
    rater = new()
    rater.enter()
    response = rater.http.get("/api/state")
    assert (response.status_code, response.json()["code"]) == (500, "failed")
    assert "secret detail" not in response.text
    assert response.headers["content-security-policy"]


@pytest.mark.parametrize(
    "url",
    ["study.example.org", "//study.example.org", "ftp://study.example.org", "https://", "https://[", "https://a:b@c.org",
     "https://a.org:x", "https://a.org/path", "https://a.org?x", "https://a.org/#x", "https://a b.org",
     "https://bücher.example", ""],
)  # fmt: skip
def test_public_addresses_are_checked_before_the_start(url, capsys):
    from human_study.__main__ import main

    assert main(["serve", "none", "--public-url", url]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--public-url is" in error
    assert common.public_url("https://study.example.org:8443/") == "https://study.example.org:8443"


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_the_server_answers_at_the_address_that_it_prints(build_study, host):
    if host == "::1":
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                pytest.skip("the machine has no IPv6")
    study = build_study()
    command = [
        sys.executable,
        "-m",
        "human_study",
        "serve",
        str(study.path),
        "--host",
        host,
        "--port",
        str(free_port()),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[1]
        deadline = time.monotonic() + 30
        while True:
            try:
                assert httpx.get(address, trust_env=False).status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


# Bodies


def post_raw(rater, path, body, kind="application/json", **headers):
    return rater.http.post(path, content=body, headers={"X-CSRF-Token": rater.csrf, "Content-Type": kind} | headers)


BODIES = {
    "deep lists": b"[" * 60_000,
    "deep lists, closed": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep values": b'{"key": "00000000", "heard": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "an open text": b'"' + b'\\"' * 30_000,
    "digits": b'{"agreed": ' + b"9" * 60_000 + b"}",
    "not a number": b'{"agreed": NaN}',
    "infinity": b'{"agreed": Infinity}',
    "1e308": b'{"agreed": 1e308}',
    "1e999": b'{"agreed": 1e999}',
    "surrogate": b'{"agreed": true, "language": "\\ud800"}',
    "no UTF-8": b'{"agreed": "\xff"}',
    "UTF-16": '{"agreed": true}'.encode("utf-16"),
    "nothing": b"",
    "list": b"[]",
    "text": b"agreed=true",
    "zero byte": b'{"agreed": "\\u0000"}',
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "path", ["/api/consent", "/api/enter", "/api/headphones", "/admin/api/login", "/api/trials/" + "0" * 32]
)
def test_bad_bodies_are_refused(one, name, path):
    rater, _, database = one
    began = time.monotonic()
    response = post_raw(rater, path, BODIES[name])
    assert time.monotonic() - began < 5
    assert 400 <= response.status_code < 500, response.text
    assert response.json()["error"]
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.rater)) == 1


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e308", "1e999", "9" * 5000, '"\\ud800"', "[[[[1]]]]", "{}"]
)
@pytest.mark.parametrize("place", ["value", "heard", "key"])
def test_numbers_that_are_none_are_refused_in_every_place(one, value, place):
    rater, trial, database = one
    body = answer(trial)
    token = trial["clips"][0]["token"]
    if place == "value":
        body["values"][token] = "HERE"
    elif place == "heard":
        body["heard"][token] = [[0, "HERE"]]
    else:
        body["key"] = "HERE"
    response = post_raw(rater, f"/api/trials/{trial['lease']}", json.dumps(body).replace('"HERE"', value).encode())
    assert 400 <= response.status_code < 500, response.text
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0


def test_a_made_up_key_breaks_no_line(one):
    rater, trial, _ = one
    body = answer(trial) | {"values": {"x\n\x1b[31mforged\u2028": 1}}
    response = rater.post(f"/api/trials/{trial['lease']}", body)
    assert response.status_code == 422
    assert response.json()["error"].isascii()
    assert response.json()["error"].isprintable()


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
     "application/jsonx", "application/json-patch+json", "text/plain; application/json", "application/json; charset=utf-16",
     "application/json, text/plain"],
)  # fmt: skip
def test_other_types_of_bodies_are_refused_before_they_are_read(one, kind):
    rater, trial, database = one
    read = []

    def pieces():
        for _ in range(3):
            read.append(1)
            yield json.dumps(answer(trial)).encode()

    response = post_raw(rater, f"/api/trials/{trial['lease']}", json.dumps(answer(trial)).encode(), kind)
    assert response.status_code == 415
    assert post_raw(rater, "/api/enter", pieces(), kind).status_code == 415
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0


def test_a_length_that_is_none_is_refused(one):
    rater, _, _ = one
    for length in ("9" * 5000, "99999999999", "65537"):
        response = post_raw(rater, "/api/consent", b"{}", **{"Content-Length": length})
        assert response.status_code == 413


def test_no_request_hides_in_the_body_of_another(build_study):
    """Request smuggling: what a proxy could divide at other places is refused, and nothing after it is answered."""
    study = build_study()
    database = study_database.open_database(study)
    hidden = b"GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(create_app(study, database)) as address:
        port = int(address.rsplit(":", 1)[1])
        for framing in (
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: +2\r\n\r\n{}",
        ):
            head = b"POST /api/enter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(head + framing + hidden)
                answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 400 "), framing
            assert answer.count(b"HTTP/1.1 ") == 1, framing
    database.dispose()


def test_a_body_without_an_end_takes_no_memory(build_study):
    """Over a socket: the server answers after 64 kB, and the rest is never asked for."""
    study = build_study()
    database = study_database.open_database(study)
    sent = 0
    with serving(create_app(study, database)) as address:
        port = int(address.rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest("POST", "/api/enter")
        for name, value in (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")):
            connection.putheader(name, value)
        connection.endheaders()
        block = b" " * 8192
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(12):
                connection.send(f"{len(block):x}\r\n".encode() + block + b"\r\n")
                sent += len(block)
                time.sleep(0.02)
        assert sent > security.MAX_BODY_BYTES
        assert connection.getresponse().status == 413
        connection.close()
    database.dispose()


def test_a_token_of_another_session_is_a_forgery(build_study, open_app):
    _, new = open_app(build_study())
    mine, other = new(), new()
    trial = mine.start()["trial"]
    other.start()
    for token in (other.csrf, mine.csrf.upper(), mine.csrf[:-1], mine.csrf + "0", ""):
        response = mine.http.post(f"/api/trials/{trial['lease']}", json=answer(trial), headers={"X-CSRF-Token": token})
        assert response.json()["code"] == "forgery"
    for path, body in (
        ("/api/consent", {"agreed": True}),
        ("/api/headphones", {"answers": [1] * 6}),
        (f"/api/leases/{trial['lease']}/renew", {}),
    ):
        assert mine.http.post(path, json=body).json()["code"] == "forgery"


# A database that is locked


def test_a_locked_database_is_a_503_and_static_files_are_served(build_study):
    """Another program holds SQLite's lock: sixty requests at once get their 503 within the bound, pages and scripts at once."""
    study = build_study()
    database = study_database.open_database(study)
    with serving(create_app(study, database)) as address:
        blocker = sqlite3.connect(study.path / manifest.DATABASE, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        answers, static = [], []
        headers = {"Content-Type": "application/json"}

        def enter():
            began = time.monotonic()
            response = httpx.post(f"{address}/api/enter", content=b"{}", headers=headers, timeout=60, trust_env=False)
            answers.append((response.status_code, response.headers.get("retry-after"), time.monotonic() - began))

        threads = [threading.Thread(target=enter) for _ in range(60)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        for path in ("/static/study.js", "/", "/texts/en.json", "/static/study.css", "/admin"):
            began = time.monotonic()
            assert httpx.get(address + path, timeout=60, trust_env=False).status_code == 200
            static.append(time.monotonic() - began)
        for thread in threads:
            thread.join(60)
        assert {status for status, _, _ in answers} == {503}
        assert all(int(retry) > 0 for _, retry, _ in answers)
        # A place at the gate, then the lock of this process, then that of the file.
        assert max(seconds for *_, seconds in answers) < security.GATE_SECONDS + 2 * study_database.BUSY_SECONDS + 5
        assert max(static) < 3
        blocker.execute("ROLLBACK")
        blocker.close()
        assert httpx.post(f"{address}/api/enter", content=b"{}", headers=headers, trust_env=False).status_code == 200
    database.dispose()


def test_a_locked_study_on_postgresql_is_a_503(build_study, new_postgresql):
    study = build_study()
    database = study_database.open_database(study, new_postgresql())
    rater = Rater(create_app(study, database, hosts=("testserver",)))
    with database.engine.connect() as other:
        other.execute(select(schema.study.c.id).with_for_update())
        began = time.monotonic()
        answered = rater.enter()
        assert (answered.status_code, answered.json()["code"]) == (503, "busy")
        assert time.monotonic() - began < study_database.BUSY_SECONDS + 5
        other.rollback()
    assert rater.enter().status_code == 200
    database.dispose()


def test_a_database_that_goes_away_is_a_503_without_its_address(build_study, open_app, monkeypatch):
    database, new = open_app(build_study())
    rater = new()
    rater.enter()

    def gone(*_arguments, **_named):
        raise study_database.DatabaseError("cannot use the database postgresql://db.internal/x: gone")

    monkeypatch.setattr(database, "write", gone)
    response = rater.http.get("/api/state")
    assert response.status_code == 503
    assert "db.internal" not in response.text
    assert secrets.compare_digest(response.json()["code"], "busy")
