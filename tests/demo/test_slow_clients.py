"""Connections to the page that are idle, half a request, or not read: everybody else is answered meanwhile."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from demo.configuration import Configuration, Limits
from demo.service import Service
from demo.ui import guard
from musicgen import file_descriptor_limit
from musicgen.serving import connections
from tests import endless_headers, slow_clients
from tests.demo.conftest import serving, wait_until
from tests.demo.test_api import fields, post
from tests.demo.test_security import upload

PAGES = ("/gradio_api/startup-events", "/theme.css", "/robots.txt")


def test_the_programs_may_open_as_many_files_as_the_system_allows() -> None:
    """Started with a limit of 256, as many systems have it for services."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = (
        "import resource; from musicgen import file_descriptor_limit; print(file_descriptor_limit.raise_limit()); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )  # fmt: skip
    wanted = min(hard, file_descriptor_limit.MOST) if hard != resource.RLIM_INFINITY else file_descriptor_limit.MOST
    assert done.stdout.splitlines() == [str(wanted), str((wanted, hard))]


def test_headers_without_end_are_refused(address: str) -> None:
    """Also where httptools is installed, which would take them all: the tests' environment has it."""
    pytest.importorskip("httptools")
    assert endless_headers.bytes_taken(address) < 5_000_000  # buffers of the kernel included


def test_half_a_request_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with slow_clients.connections(address, 2, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-") as waiting:
        assert [one.recv(1) for one in waiting] == [b"", b""]


@pytest.fixture
def slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.5)


def test_idle_connections_and_half_requests_keep_nobody_waiting(address: str) -> None:
    slow_clients.need_many_files(4_000)
    post(address, "generate", fields())  # what a first clip takes, and keeps, is none of the connections'
    before, quiet = slow_clients.megabytes(), slow_clients.longest_answer(address, PAGES)
    half_a_head = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"
    half_a_body = "POST /gradio_api/call/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n{"
    with (
        slow_clients.connections(address, 1_000),
        slow_clients.connections(address, 200, half_a_head),
        slow_clients.connections(address, 200, half_a_body),
    ):
        longest = slow_clients.longest_answer(address, PAGES)
        assert "event: complete" in post(address, "generate", fields())
        taken = slow_clients.megabytes() - before
    print(f"1,400 connections on which nothing comes: others wait {longest:.2f} s at most, {taken:.0f} MB")
    assert longest < slow_clients.patience(quiet)
    assert taken < 100


@pytest.mark.usefixtures("slow_body")
def test_uploads_that_do_not_come_keep_no_space_from_others(tmp_path: Path) -> None:
    """Two take all that their network may have of the disk by what they declare, and send nothing."""
    service = Service(Configuration(limits=Limits(upload_mb=1, disk_gb=0.0041)), tmp_path)
    with serving(service) as address:
        head = (
            "POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        with slow_clients.connections(address, 2, head) as waiting:
            time.sleep(0.2)
            assert upload(address, b"a" * 100_000).status_code == 507
            for one in waiting:
                answered = b""
                while part := one.recv(4096):  # until the server hangs up
                    answered += part
                assert answered.startswith(b"HTTP/1.1 408 ")
            assert upload(address, b"a" * 100_000).status_code == 200


@pytest.mark.usefixtures("slow_body")
def test_an_upload_that_comes_slowly_and_steadily_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_RATE", 50_000.0)

    def body() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        for _ in range(15):
            time.sleep(0.1)
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert httpx.post(f"{address}gradio_api/upload", content=body(), headers=headers).status_code == 200


def test_readers_that_never_read_keep_nobody_waiting(address: str, service: Service) -> None:
    """Of a clip of two minutes, and of the event stream of a job."""
    slow_clients.need_many_files(2_000)
    folder = service.clip_store.folder / "clips" / ("0" * 32)
    folder.mkdir(parents=True)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (32_000 * 120, 1))
    soundfile.write(folder / "long.wav", sound, 32_000)
    host = urlsplit(address).netloc
    # What first clips take and keep, two at once as below, is none of the readers'.
    asked = json.dumps({"data": fields(duration=20.0), "session_hash": "first"}).encode()
    httpx.post(f"{address}gradio_api/call/generate", content=asked, headers={"content-type": "application/json"})
    post(address, "generate", fields())
    wait_until(lambda: len(service.job_queue) == 0, 60)
    before, quiet = slow_clients.megabytes(), slow_clients.longest_answer(address, PAGES)
    request = f"GET /gradio_api/file={folder / 'long.wav'} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    body = json.dumps({"data": fields(duration=20.0), "session_hash": "slow"}).encode()
    event = httpx.post(f"{address}gradio_api/call/generate", content=body, headers={"content-type": "application/json"})
    stream = f"GET /gradio_api/call/generate/{event.json()['event_id']} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    with (
        slow_clients.connections(address, 100, request, slow_clients.SMALL_BUFFER) as readers,
        slow_clients.connections(address, 1, stream, slow_clients.SMALL_BUFFER) as followers,
    ):
        for one in readers:  # by this thread alone, before another one takes bytes of the same answers
            assert one.recv(9) == b"HTTP/1.1 "
        with slow_clients.read_a_byte_a_second([*readers[:50], *followers]):
            longest = slow_clients.longest_answer(address, PAGES)
            assert "event: complete" in post(address, "generate", fields())
            wait_until(lambda: len(service.job_queue) == 0, 60)
            taken = slow_clients.megabytes() - before
    answers = len(readers) * (folder / "long.wav").stat().st_size / 1e6
    print(f"100 readers of {answers:.0f} MB that do not read: others wait {longest:.2f} s at most, {taken:.0f} MB")
    assert longest < slow_clients.patience(quiet)
    # Far from all answers at once. The two clips may take more than those before, by what the allocator keeps.
    assert taken < answers / 3
