"""Raters' connections that are idle, half a request, or not read: everybody else is answered meanwhile."""

import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from human_study.database import study_database
from human_study.web import security
from human_study.web.app import create_app
from human_study.web.server import Server
from musicgen.serving import connections
from tests import slow_clients
from tests.human_study import client, conftest

ROOT = Path(__file__).parents[2]
PAGES = ("/", "/static/study.js", "/texts/en.json")
LARGE = 3_000_000
"""Bytes of a clip: a minute of stereo."""


@pytest.fixture
def server(build_study):
    """A server as `serve` starts it, by a program that may open 256 files, as many systems have it for services."""
    slow_clients.need_many_files(2_000)
    study, port = build_study(), conftest.free_port()
    command = [sys.executable, "-m", "human_study", "serve", str(study.path), "--port", str(port)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.get(address, trust_env=False)
            break
        except httpx.TransportError:
            assert process.poll() is None
            time.sleep(0.1)
    yield address, process
    process.kill()
    _, told = process.communicate(timeout=20)
    assert told == ""


def test_idle_connections_and_half_requests_keep_nobody_waiting(server):
    address, process = server
    before, quiet = slow_clients.megabytes(process.pid), slow_clients.longest_answer(address, PAGES)
    half_a_head = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"
    half_a_body = (
        "POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
    )
    with (
        slow_clients.connections(address, 1_000),
        slow_clients.connections(address, 200, half_a_head),
        slow_clients.connections(address, 200, half_a_body),
    ):
        longest = slow_clients.longest_answer(address, PAGES)
        answered = httpx.post(f"{address}/api/enter", json={}, trust_env=False)
        taken = slow_clients.megabytes(process.pid) - before
    print(f"1,400 connections on which nothing comes: others wait {longest:.2f} s at most, {taken:.0f} MB")
    assert answered.status_code == 200
    assert longest < slow_clients.patience(quiet)
    assert taken < 50


def test_half_a_request_is_given_up(build_study, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    study = build_study()
    database = study_database.open_database(study)
    running = Server(create_app(study, database))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with slow_clients.connections(address, 2, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-") as waiting:
            assert [one.recv(1) for one in waiting] == [b"", b""]
        running.should_exit = True
        thread.join(20)
    database.dispose()


def test_a_body_that_does_not_come_is_given_up(build_study, monkeypatch):
    monkeypatch.setattr(security, "BODY_SECONDS", 0.5)
    study = build_study()
    database = study_database.open_database(study)
    head = "POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with (
        conftest.serving(create_app(study, database)) as address,
        slow_clients.connections(address, 3, head) as waiting,
    ):
        for one in waiting:
            answered = b""
            while part := one.recv(4096):  # until the server hangs up
                answered += part
            assert answered.startswith(b"HTTP/1.1 408 ")
    database.dispose()


@pytest.fixture
def large_clips(build_study):
    """An application whose clips have LARGE bytes, and a rater's cookie and audio path."""
    study = build_study()
    database = study_database.open_database(study)
    for clip in study.clips.values():
        for name in (clip.lossless, clip.compressed):
            file = study.audio_file(name)
            file.write_bytes(file.read_bytes() + bytes(LARGE))
    app = create_app(study, database, hosts=("testserver", "127.0.0.1"))
    with TestClient(app):
        rater = client.Rater(app)
        trial = rater.start()["trial"]
    cookie = "; ".join(f"{name}={value}" for name, value in rater.http.cookies.items())
    yield app, cookie, f"/audio/{trial['clips'][0]['token']}"
    database.dispose()


def test_readers_that_never_read_share_the_memory_of_the_clip(large_clips):
    app, cookie, path = large_clips
    slow_clients.need_many_files(1_000)
    with conftest.serving(app) as address:
        whole = httpx.get(address + path, headers={"cookie": cookie}, trust_env=False)
        assert len(whole.content) == int(whole.headers["content-length"]) > LARGE
        before, quiet = slow_clients.megabytes(), slow_clients.longest_answer(address, PAGES)
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n"
        with slow_clients.connections(address, 100, request, slow_clients.SMALL_BUFFER) as readers:
            for one in readers:
                assert one.recv(1)  # all answers have begun
            with slow_clients.read_a_byte_a_second(readers[:50]):
                longest = slow_clients.longest_answer(address, PAGES)
                again = httpx.get(address + path, headers={"cookie": cookie}, trust_env=False)
                taken = slow_clients.megabytes() - before
    print(f"100 readers of {LARGE / 1e6:.0f} MB that do not read: others wait {longest:.2f} s at most, {taken:.0f} MB")
    assert again.content == whole.content
    assert longest < slow_clients.patience(quiet)
    assert taken < 100
