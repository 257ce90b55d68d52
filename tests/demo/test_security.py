"""What strangers may try with the page: over plain HTTP, on the real server."""

import asyncio
import contextlib
import gc
import http.client
import inspect
import json
import logging
import os
import socket
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import httpx
import pytest
import soundfile
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import demo.service
from demo import ui
from demo.configuration import Configuration, Limits
from demo.presence import SessionPresence
from demo.service import Service
from demo.ui import guard
from demo.ui.events.generation import GenerationEvents
from demo.ui.failures import FailureLog
from demo.ui.page import check_files
from musicgen import audio
from musicgen.errors import InputError
from musicgen.serving import clip_metadata, hosts
from musicgen.serving.clip_store import FILE_BYTES, ClipStore
from musicgen.serving.job_queue import JobQueue, QueueFull
from musicgen.serving.networks import network_of
from musicgen.serving.request import ClipRequest, validate
from musicgen.serving.stored_clip import StoredClip
from tests.conftest import GOLDEN
from tests.demo.conftest import SMALL, free_port, serving, wait_until
from tests.demo.test_api import PLAIN, fields, post

TUNE = GOLDEN / "chroma" / "melody_a.wav"


# Hosts, origins, lengths


def status(address: str, path: str, headers: dict[str, str], method: str = "GET", body: bytes = b"") -> tuple[int, str]:
    """The answer to a request with exactly these headers."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    reply = connection.getresponse()
    text = reply.read().decode("utf-8", "replace")
    connection.close()
    return reply.status, text


def test_only_its_own_names_are_served(address: str) -> None:
    port = urlsplit(address).port
    for host in (
        f"127.0.0.1:{port}",
        f"localhost:{port}",
        f"[::1]:{port}",
        "LOCALHOST",
        f"{socket.gethostname()}:{port}",
    ):
        assert status(address, "/config", {"host": host})[0] == 200, host
    for host in (
        "evil.example",
        f"127.0.0.1.evil.example:{port}",
        "localhost.evil.example",
        "",
        "a b",
        "localhost:x",
        "[",
        "\xff",
    ):
        code, text = status(address, "/config", {"host": host})
        assert code in (400, 421), host
        assert "components" not in text


def test_the_operator_adds_names() -> None:
    added = ("localhost", "music.example.org", "*.lan")
    for host in ("music.example.org", "MUSIC.example.org:443", "box.lan", "192.0.2.7:7860", "[2001:db8::1]:80"):
        assert hosts.admitted(host, added), host
    for host in ("example.org", "music.example.org.evil.net", "lan"):
        assert not hosts.admitted(host, added), host
    assert hosts.admitted("anything.at.all", ("*",))
    assert hosts.default_hosts("127.0.0.1", "box", {}) == ("localhost", "127.0.0.1", "box", "box.local")
    assert hosts.default_hosts("0.0.0.0", "box", {"SPACE_ID": "a/b"}) == ("*",)
    assert all(hosts.is_loopback(name) for name in ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"))
    assert not any(hosts.is_loopback(name) for name in ("0.0.0.0", "::", "192.168.1.2", "box"))


def test_requests_of_other_origins_change_nothing(address: str, service: Service) -> None:
    host = urlsplit(address).netloc
    body = json.dumps({"data": fields()}).encode()
    usual = {"host": host, "content-type": "application/json", "content-length": str(len(body))}
    for origin in ("https://evil.example", "null", f"http://{host}.evil.example", "http://[", "http://localhost:1"):
        for path in ("/gradio_api/call/generate", "/gradio_api/upload", "/gradio_api/queue/join"):
            assert status(address, path, usual | {"origin": origin}, "POST", body)[0] == 403, origin
    assert len(service.job_queue) == 0
    assert status(address, "/gradio_api/call/models", usual | {"origin": f"http://{host}", "content-length": "11"},
                  "POST", b'{"data":[]}')[0] == 200  # fmt: skip


def test_long_bodies_are_refused_before_they_are_read(address: str) -> None:
    host = urlsplit(address).netloc
    usual = {"host": host, "content-type": "application/json"}
    for path in ("/gradio_api/call/generate", "/gradio_api/queue/join", "/gradio_api/run/generate", "/login"):
        code, text = status(address, path, usual | {"content-length": "200000000"}, "POST")
        assert code == 413, path
        assert "1000000 bytes" in text


@pytest.mark.parametrize("path", ["/gradio_api/call/generate", "/gradio_api/run/generate", "/gradio_api/queue/join"])
def test_a_body_without_a_length_is_counted(address: str, path: str) -> None:
    sent = 0

    def body():
        nonlocal sent
        yield b'{"data": ["'
        for _ in range(400):
            sent += 100_000
            yield b"x" * 100_000

    try:
        reply = httpx.post(f"{address.rstrip('/')}{path}", content=body(), headers={"content-type": "application/json"})
    except httpx.TransportError:
        return  # the server hung up in the middle: refused as well
    assert reply.status_code == 413
    assert len(reply.text) < 200


@pytest.mark.parametrize("first", ["content-length: 4", "transfer-encoding: chunked"])
def test_no_request_hides_in_the_body_of_another(address: str, first: str) -> None:
    """Request smuggling: a body with two lengths is refused, and nothing after it is answered."""
    parts, second = urlsplit(address), {"content-length: 4", "transfer-encoding: chunked"} - {first}
    head = f"POST /gradio_api/queue/join HTTP/1.1\r\nhost: {parts.netloc}\r\n{first}\r\n{second.pop()}\r\n\r\n0\r\n\r\n"
    with socket.create_connection((str(parts.hostname), parts.port), timeout=10) as connection:
        connection.sendall(f"{head}GET /config HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_addresses_are_not_fetched_and_paths_of_the_server_not_told(address: str) -> None:
    """No name is looked up either, which the guard of the test run would notice."""
    for path in (
        "http://127.0.0.1:1/a.wav",
        "https://music.example/a.wav",
        "http://169.254.169.254/latest/meta-data",
        "ftp://music.example/a.wav",
        "a.wav",
        "./../a.wav",
        "\\\\host\\share\\a.wav",
        "",
        None,
        ["/etc/passwd"],
        "/etc/passwd",
        "\0",
        "x" * 5_000,
    ):
        for more in ({}, {"url": "http://127.0.0.1:1/a.wav"}, {"is_stream": True}, {"orig_name": "../../a.wav"}):
            file = {"path": path, "meta": {"_type": "gradio.FileData"}} | more
            for data in ([file], [[file]], [{"a": [file]}]) if path == "/etc/passwd" else ([file],):
                answer = post(address, "settings", data)
                assert "event: error" in answer, (path, more)
                assert "a file of the request is not on the server" in answer, (path, more, answer)
                assert str(Path.cwd()) not in answer


def test_files_are_found_however_deep_they_are_nested(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, hours=1)
    deep: Any = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    for level in range(100_000):
        deep = [deep] if level % 2 else {"a": deep}
    with pytest.raises(gr.Error, match="is not on the server"):
        check_files([deep], store)
    check_files([{"path": "/etc/passwd", "meta": {"_type": "another"}}, {"path": 3}, "x", None], store)
    (tmp_path / "a.wav").write_bytes(b"")
    check_files([{"path": str(tmp_path / "a.wav"), "meta": {"_type": "gradio.FileData"}}], store)
    store.close()


@pytest.mark.parametrize(
    "path",
    [
        "monitoring", "monitoring/summary", "monitoring/x", "gradio_api/component_server",
        "gradio_api/deep_link?session_hash=x", "gradio_api/dev/reload", "gradio_api/process_recording",
        "gradio_api/proxy=https://x.hf.space/", "gradio_api/runs", "gradio_api/run-history/buckets", "gradio_api/stream/x",
        "gradio_api/vibe-code", "gradio_api/vibe-edit", "gradio_api/undo-vibe-edit",
        "gradio_api/custom_component/1/client/component/x", "gradio_api/%64ev/reload",
    ],
)  # fmt: skip
def test_parts_of_gradio_that_the_page_does_not_use_are_closed(address: str, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT"):
        reply = PLAIN.request(method, f"{address}{path}")
        assert reply.status_code == 404
        assert method == "HEAD" or reply.text == "the page has no such part"


def test_events_that_do_not_exist_are_not_followed(address: str, caplog: pytest.LogCaptureFixture) -> None:
    for path in (
        "call/generate/0",
        "call/v2/generate/x",
        "call/x/0",
        "queue/data?session_hash=none",
        "call/generate/..%2fx",
    ):
        assert PLAIN.get(f"{address}gradio_api/{path}").status_code == 404
    assert PLAIN.get(f"{address}gradio_api/queue/data").status_code == 422
    assert not caplog.records
    body = {"data": fields(), "session_hash": "fetched later"}
    event = PLAIN.post(f"{address}gradio_api/call/generate", json=body).json()["event_id"]
    time.sleep(1.0)  # it has ended
    assert "event: complete" in PLAIN.get(f"{address}gradio_api/call/generate/{event}").text


# The event loop


def test_hostile_timelines_are_read_in_no_time(address: str) -> None:
    for text in (
        "1" + " " * 49_000,
        "|" * 49_000,
        "0:1 x|" * 8_000,
        "1:" * 24_000,
        "-" * 49_000,
        " |" * 24_000,
        "0" * 49_000,
    ):
        start = time.monotonic()
        answer = post(address, "generate", fields(timeline=text))
        assert "event: error" in answer
        assert time.monotonic() - start < 3.0, text[:10]


def test_nothing_slow_runs_on_the_event_loop(address: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converting files, drawing plots and looking at the disk: where an event loop runs, all visitors wait."""
    on_loop: list[str] = []
    seen: set[str] = set()

    def watch(owner: object, name: str) -> None:
        work = getattr(owner, name)

        def watched(*values, **named):
            seen.add(name)
            try:
                asyncio.get_running_loop()
                on_loop.append(name)
            except RuntimeError:
                pass
            return work(*values, **named)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (service.clip_store, "convert"), (service.clip_store, "write"), (service, "submit"),
        (service.engine, "extract_melody"), (clip_metadata, "read_file"),
    ):  # fmt: skip
        watch(owner, name)
    client = Client(address, verbose=False)
    clip, _, _ = client.predict(
        prompt="x", model="mini-melody", duration=1.0, melody=handle_file(TUNE), format="mp3", api_name="/generate"
    )
    client.predict(handle_file(clip), api_name="/settings")
    page = ui.build(service)
    bound = {getattr(fn.fn, "__name__", ""): fn.fn for fn in page.fns.values()}
    asyncio.run(_drain(bound["generate"].__self__))
    assert seen == {"convert", "write", "submit", "extract_melody", "read_file"}
    assert on_loop == []
    # The plots of a clip take a while, too. Gradio calls handlers that are no coroutines in threads.
    for name in ("show_finished_clips", "select_clip", "restore_visit"):
        assert not inspect.iscoroutinefunction(bound[name])
        assert not inspect.isasyncgenfunction(bound[name])


class _Visitor:
    """A request of a page."""

    session_hash = "someone"
    client = None


async def _drain(events: GenerationEvents) -> None:
    values = [component.value for component in events.parts.inputs.components]
    values[0], values[1], values[2] = "x", "mini", 1.0
    async for _ in events.generate(_Visitor(), {}, *values):  # type: ignore[arg-type]
        pass


# Who takes the machine


def job_queue(**limits: float) -> JobQueue:
    usual = {"workers": 1, "max_waiting": 99, "max_per_visitor": 99}
    return JobQueue(lambda job: job.payload.wait(20) and None, **(usual | limits))


def test_an_address_has_a_limit_whatever_its_sessions_are_called() -> None:
    go, queue = threading.Event(), job_queue(max_per_address=3)
    for index in range(3):
        queue.submit(f"session{index}", go, "192.0.2.1")
    with pytest.raises(QueueFull, match="3 clips of your network are being made or waiting already"):
        queue.submit("another", go, "192.0.2.1")
    queue.submit("another", go, "192.0.2.2")
    go.set()
    queue.close()


def test_the_queue_is_limited_in_seconds_of_sound() -> None:
    go, queue = threading.Event(), job_queue(max_seconds=100)
    queue.submit("a", go, "192.0.2.1", seconds=70)  # alone: admitted, though it is more than half
    with pytest.raises(QueueFull, match="70 s of sound of your network are waiting or being made, 50 s at most"):
        queue.submit("b", go, "192.0.2.1", seconds=1)
    queue.submit("c", go, "192.0.2.2", seconds=30)
    with pytest.raises(QueueFull, match="100 s of sound of all are waiting or being made, 100 s at most"):
        queue.submit("d", go, "192.0.2.3", seconds=1)
    go.set()
    wait_until(lambda: len(queue) == 0)
    queue.submit("d", go, "192.0.2.3", seconds=500).wait(5)
    queue.close()


def test_many_requests_of_one_address_do_not_occupy_the_page(tmp_path: Path) -> None:
    """Each under a session of its own, all variations, the longest duration."""
    service = Service(Configuration(), tmp_path)
    with serving(service) as address:
        flood = fields(duration=300.0, variations=4)
        body = {"data": flood}
        for index in range(36):
            reply = httpx.post(f"{address}gradio_api/call/generate", json=body | {"session_hash": f"s{index}"})
            assert reply.status_code == 200
        wait_until(lambda: len(service.job_queue) > 0)
        time.sleep(1.0)
        seconds = sum(job.seconds for index in range(36) for job in service.job_queue.jobs_of(f"s{index}"))
        assert 0 < seconds <= service.limits.queue_seconds / 2
        assert "event: complete" in post(address, "generate", fields(duration=0.5), came_from="192.0.2.9")


def test_jobs_that_nobody_follows_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client that posts and never reads, of one that hangs up while it reads, and of one without a session."""
    monkeypatch.setattr(demo.service, "GRACE_SECONDS", 1.0)
    service = Service(Configuration(), tmp_path)
    with serving(service) as address:
        long = {"data": fields(duration=300.0)}
        reply = httpx.post(f"{address}gradio_api/call/generate", json=long)
        wait_until(lambda: len(service.job_queue) == 1)
        wait_until(lambda: len(service.job_queue) == 0, 20)

        reply = httpx.post(f"{address}gradio_api/call/generate", json=long)
        with httpx.stream("GET", f"{address}gradio_api/call/generate/{reply.json()['event_id']}", timeout=30):
            wait_until(lambda: len(service.job_queue) == 1)
            time.sleep(2.0)  # longer than the grace
            assert len(service.job_queue) == 1
        wait_until(lambda: len(service.job_queue) == 0, 40)

        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}gradio_api/run/generate", json=long, timeout=httpx.Timeout(2.0))
        wait_until(lambda: len(service.job_queue) == 0, 20)


def test_results_that_nobody_fetches_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that start cheap events under ever new names, and never ask for what came of them."""
    monkeypatch.setattr(demo.service, "GRACE_SECONDS", 1.0)
    service = Service(Configuration(), tmp_path)
    page, port = ui.build(service), free_port()
    ui.launch(page, service, server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    call, queue, held = f"http://127.0.0.1:{port}/gradio_api/call/models", page._queue, []
    try:
        tracemalloc.start()
        with httpx.Client() as client:
            for first, end in ((0, 50), (50, 250)):  # what is imported for the first ones is no session's
                for number in range(first, end):
                    body = {"data": [], "session_hash": f"s{number}"}
                    assert client.post(call, json=body).status_code == 200
                wait_until(lambda: not queue.pending_messages_per_session and not queue.pending_event_ids_session)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
            long = client.post(call, json={"data": [], "session_hash": "s" * 300_000})
        assert (held[1] - held[0]) / 200 < 20_000  # bytes of a session; Gradio's own take 300,000
        assert (long.status_code, len(long.text) < 200) == (400, True)
        assert not queue.event_ids_to_events
        assert len(queue.event_analytics) <= 1
        assert "event: complete" in post(f"http://127.0.0.1:{port}/", "models", [])
    finally:
        tracemalloc.stop()
        service.close()
        page.close()


def test_a_session_that_comes_back_in_time_is_not_gone() -> None:
    async def visit() -> list[str]:
        gone: list[str] = []
        presence = SessionPresence(gone.append, 0.1)
        with presence.connected("a"), presence.connected("b"):
            presence.expect("a")
            presence.expect("never")
            await asyncio.sleep(0.05)
        with presence.connected("a"):
            await asyncio.sleep(0.2)
            assert gone == ["never", "b"]
        await asyncio.sleep(0.2)
        return gone

    assert asyncio.run(visit()) == ["never", "b", "a"]


def test_calls_without_a_session_do_not_stop_each_other(address: str, service: Service) -> None:
    results: list[httpx.Response] = []

    def generate() -> None:
        results.append(httpx.post(f"{address}gradio_api/run/generate", json={"data": fields(duration=6.0)}, timeout=60))

    threads = [threading.Thread(target=generate) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(service.job_queue) == 3)
    stopped = httpx.post(f"{address}gradio_api/run/stop", json={"data": []}, timeout=30)
    assert stopped.status_code == 500
    assert "nothing to stop" in stopped.text
    for thread in threads:
        thread.join(60)
    assert [reply.json()["data"][2]["complete"] for reply in results] == [True] * 3


def test_visitors_start_no_downloads_unless_the_operator_says_so(tmp_path: Path) -> None:
    service = Service(Configuration(downloads=False), tmp_path)
    with pytest.raises(InputError, match=r"facebook/musicgen-large is not on this machine, and visitors may not start"):
        service.submit("me", ClipRequest("x", "facebook/musicgen-large", 1.0))
    assert service.submit("me", ClipRequest("x", SMALL, 1.0)).wait(60)  # it is there
    service.close()


@pytest.mark.parametrize(("name", "share", "allowed"), [("127.0.0.1", False, True), ("0.0.0.0", False, False)])
def test_downloads_are_for_those_who_sit_at_the_machine(tmp_path: Path, name: str, share: bool, allowed: bool) -> None:
    service = Service(Configuration(share=share), tmp_path)
    page = ui.build(service)
    ui.launch(page, service, server_name=name, prevent_thread_lock=True, quiet=True)
    try:
        assert service.downloads == allowed
    finally:
        service.close()
        page.close()


# The disk


def upload(address: str, content: bytes, name: str = "a.wav", came_from: str = "127.0.0.1") -> httpx.Response:
    headers = {"x-forwarded-for": came_from}  # as a proxy on this machine says
    return httpx.post(f"{address}gradio_api/upload", files={"files": (name, content)}, headers=headers, timeout=30)


def test_one_network_fills_half_of_the_disk_at_most(tmp_path: Path) -> None:
    """With uploads, many of which are almost nothing, with clips in all formats, and under many IPv6 addresses."""
    service = Service(Configuration(limits=Limits(upload_mb=1, disk_gb=0.004)), tmp_path)
    with serving(service) as address:
        sent = 0
        while upload(address, sent.to_bytes(2), came_from=f"2001:db8::{sent:x}").status_code == 200:
            sent += 1
        on_disk = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*"))
        assert 100 < sent < 250
        assert on_disk < 4_000_000  # and not 2,000 files of a block and a folder each
        answer = post(address, "generate", fields(), came_from="2001:db8::ffff")
        assert "the files of your network take the 2 MB that one network may have on the server: delete clips" in answer
        assert upload(address, b"x", came_from="2001:db8:1::1").status_code == 200
        assert "event: complete" in post(address, "generate", fields(duration=0.5), came_from="192.0.2.7")
        assert service.clip_store.usage.of_network("192.0.2.7", time.time()) > 10_000
        service.clip_store.delete_expired(time.time() + 7 * 3600)
        assert upload(address, b"y", came_from="2001:db8::1").status_code == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
     ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("::ffff:192.0.2.1", "192.0.2.1"), ("::1", "::/64"),
     ("fe80::1%eth0", "fe80::/64"), ("testclient", "testclient")],
)  # fmt: skip
def test_networks_of_addresses(address: str, network: str) -> None:
    assert network_of(address, {}) == network
    assert network_of(address, {"SPACE_ID": "a/b"}) == ""


def test_uploads_have_a_total_and_each_request_has_one_too(tmp_path: Path) -> None:
    limits = Limits(upload_mb=1, disk_gb=0.002)  # 2 MB, and so 1 MB of one network
    service = Service(Configuration(limits=limits), tmp_path)
    with serving(service) as address:
        assert upload(address, b"a" * 900_000).status_code == 200
        many = [("files", (f"{index}.wav", bytes([index]) * 500_000)) for index in range(3)]
        assert httpx.post(f"{address}gradio_api/upload", files=many, timeout=30).status_code == 413
        own = upload(address, b"b" * 900_000)
        assert own.status_code == 507
        assert "the files of your network take the 1 MB that one network may have" in own.text
        assert upload(address, b"b" * 900_000, came_from="192.0.2.1").status_code == 200
        full = upload(address, b"c" * 900_000, came_from="192.0.2.2")
        assert full.status_code == 507
        assert "the disk space for uploads is used up" in full.text
        assert service.clip_store.count() <= 2_000_000
        assert 0 <= service.clip_store.used_bytes() - service.clip_store.count() < 1_000  # the parts' headers
        (tmp_path / "gradio" / "more").write_bytes(bytes(300_000))
        service.clip_store.count()
        answer = post(address, "generate", fields())
        assert "the disk space for clips is used up" in answer
        service.clip_store.delete_expired(time.time() + 7 * 3600)
        assert service.clip_store.used_bytes() == 0
        assert "event: complete" in post(address, "generate", fields())


def test_no_request_waits_for_a_walk_through_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(Configuration(), tmp_path)
    with serving(service) as address:

        def walk(*_arguments: object) -> int:
            raise AssertionError("a request walks through the folder")

        monkeypatch.setattr(ClipStore, "count", walk)
        assert upload(address, b"a" * 900_000).status_code == 200
        assert "event: complete" in post(address, "generate", fields(format="ogg"))
        monkeypatch.undo()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        on_disk = sum(path.stat().st_size + FILE_BYTES for path in files)
        # Gradio has not served the FLAC file, whose copy counts already.
        flac = next(path.stat().st_size + FILE_BYTES for path in files if path.suffix == ".flac")
        assert 0 <= service.clip_store.used_bytes() - on_disk - flac < 1_000
        assert service.clip_store.count() == service.clip_store.used_bytes() == on_disk


def test_uploads_that_broke_off_expire(tmp_path: Path) -> None:
    service = Service(Configuration(), tmp_path)
    with serving(service) as address:
        parts = urlsplit(address)
        with socket.create_connection((str(parts.hostname), parts.port)) as connection:
            connection.sendall(
                f"POST /gradio_api/upload HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: 1000000\r\n"
                "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
                "content-disposition: form-data; name=files; filename=a.wav\r\n\r\n".encode()
                + b"x" * 300_000
            )
            wait_until(lambda: service.clip_store.count() > 100_000)
        assert service.clip_store.delete_expired(time.time() + 7 * 3600) >= 1
        assert service.clip_store.used_bytes() == 0


def test_links_in_the_folder_are_deleted_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    store = ClipStore(tmp_path / "store", hours=1)
    (store.folder / "link").symlink_to(outside)
    os.utime(outside / "precious", (0, 0))
    store.delete_expired(time.time() + 8000)
    assert (outside / "precious").exists()
    assert not (store.folder / "link").is_symlink()
    store.close()


# What messages show


def clip_with_comment(path: Path, comment: str) -> Path:
    with soundfile.SoundFile(path, "w", 32_000, 1) as file:
        file.comment = comment
        file.write([0.1] * 3_200)
    return path


@pytest.mark.parametrize(
    "key", ["<img src=//evil.example/x>", "<a href='//evil.example'>click</a>", "\u202egnp.exe", "\x1b[31m"]
)
def test_what_a_file_says_is_no_html_in_a_message(client: Client, tmp_path: Path, key: str) -> None:
    made, _, _ = client.predict(prompt="x", model="mini", duration=0.5, api_name="/generate")
    whole = json.loads(audio.read_comment(made))["musicgen"]
    bad = [whole | {key: 1}, whole | {"options": whole["options"] | {key: 1}}, whole | {"model": key}]
    for index, values in enumerate(bad):
        file = clip_with_comment(tmp_path / f"{index}.flac", json.dumps({"musicgen": values}))
        with pytest.raises(AppError) as caught:
            client.predict(handle_file(file), api_name="/settings")
        assert "<" not in str(caught.value)
        assert not any(char in str(caught.value) for char in "\u202e\x1b")


@pytest.mark.parametrize(
    "comment",
    [
        "[" * 20_000, "{}", "[]", "null", '{"musicgen": 1}', "NaN", "1" * 6_000,
        '{"duration": 1e400}', '{"seed": ' + "9" * 5_000 + "}",
        '{"version": [], "model": {}, "prompt": 3}', '{"timeline": [[1e308, "x"]]}',
    ],
)  # fmt: skip
def test_settings_of_strangers_are_one_line(client: Client, tmp_path: Path, comment: str) -> None:
    file = clip_with_comment(tmp_path / "clip.flac", comment)
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(file), api_name="/settings")
    assert "something went wrong" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "duration", "seed", "options", "prompt", "model", "melody", "continue_from", "timeline", "demo", "loop", "precision",
        "separate", "version", "conditions", "beyond", "schema",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), 1e308, -1, [], {}, [[[]]], "x" * 3_000, 10**400, True, [[0, {}]]])
def test_settings_that_are_wrong_one_level_deep_are_one_line(
    tmp_path: Path, service: Service, key: str, value: object
) -> None:
    request = ClipRequest("x", "mini", 1.0, seed=1, precision="float32")
    values = json.loads(clip_metadata.make_comment(request, 1))
    (values if key == "demo" else values["musicgen"])[key] = value
    file = clip_with_comment(tmp_path / "clip.flac", json.dumps(values))
    try:
        restored, _ = clip_metadata.read_file(file, "clip.flac", service.catalog)
    except InputError as refusal:
        message = str(refusal)
        assert len(message.splitlines()) == 1
        assert len(message) < 600
        return
    with contextlib.suppress(InputError):
        validate(restored, service.limits, service.catalog)


def test_inputs_that_cannot_be_taken_are_one_line_and_none_of_the_log(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Gradio prints the traceback of such an error past the log, with all that the stranger has sent."""
    forged = "x\nERROR forged line\r\x1b[31m<img src=x>" + "y" * 5_000
    for change in (
        {"model": forged},
        {"duration": forged},
        {"melody": forged},
        {"model": [forged]},
        {"top_k": {"a": forged}},
    ):
        answer = post(address, "generate", fields(**change))
        assert "event: error" in answer
        assert len(answer) < 1_000
        assert "<img" not in answer
        assert "Traceback" not in answer
        assert str(Path.cwd()) not in answer
    written = capfd.readouterr()
    assert "forged" not in written.out + written.err


def test_what_one_visitor_has_is_of_no_use_to_another(address: str, service: Service) -> None:
    """The id of a clip, replayed in every event of the page under another session, and the event of another visitor."""
    path = service.clip_store.new_path("secret-1.flac")
    path.write_bytes(TUNE.read_bytes())
    clip = StoredClip(path, ClipRequest("a secret prompt", "mini", 1.0), 1, 1.0, 1, 32_000, -14.0, True, (0,))
    visit = service.visits.of("owner")
    service.visits.add(visit.token, clip)
    join, told = f"{address}gradio_api/queue/join", ""
    dependencies = httpx.get(f"{address}config").json()["dependencies"]
    with httpx.Client(timeout=60) as client:
        for number, dependency in enumerate(dependencies):
            body = {
                "data": [clip.id] * len(dependency["inputs"]),
                "fn_index": dependency["id"],
                "session_hash": f"other{number}",
            }
            reply = client.post(join, json=body)
            if reply.status_code != 200:
                told += reply.text
                continue
            with client.stream("GET", f"{address}gradio_api/queue/data?session_hash=other{number}") as stream:
                for line in stream.iter_lines():
                    told += line
                    if "process_completed" in line:
                        break
        # Under a session of its own, another visitor's event is neither ended nor followed.
        event = client.post(f"{address}gradio_api/call/models", json={"data": [], "session_hash": "owner"}).json()[
            "event_id"
        ]
        for session in ("other", "", event):
            client.post(f"{address}gradio_api/cancel", json={"session_hash": session, "fn_index": 0, "event_id": event})
        assert client.get(f"{address}gradio_api/queue/data?session_hash=other").status_code == 404
    assert visit.find(clip.id) == clip
    assert clip.path.is_file()
    for secret in ("a secret prompt", path.name):
        assert secret not in told
    assert len(dependencies) > 60


def test_events_that_fail_fill_no_log(
    address: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Every event of the page, those that are for the browser alone included, five times with nothing at all."""
    dependencies = httpx.get(f"{address}config").json()["dependencies"]
    with httpx.Client(timeout=60) as client:
        for number in range(5):
            for dependency in dependencies:
                body = {"data": [None] * len(dependency["inputs"]), "fn_index": dependency["id"]}
                reply = client.post(f"{address}gradio_api/run/predict", json=body | {"session_hash": f"n{number}"})
                assert "Traceback" not in reply.text
    assert "Traceback" not in capfd.readouterr().err
    failed = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len([record for record in failed if record.exc_info]) <= 10
    assert all(len(record.getMessage()) < 600 for record in failed)
    assert not any("has no backend method" in record.getMessage() for record in failed)


def test_a_stream_whose_session_ends_is_no_traceback(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of two event streams of one session, the one that is left fails after it has begun: as often as a stranger likes."""
    app = FastAPI()

    async def events(error: Exception):
        yield "data: begun\n\n"
        raise error

    @app.get("/gone")
    async def gone() -> StreamingResponse:
        return StreamingResponse(events(HTTPException(404)), media_type="text/event-stream")

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        return StreamingResponse(events(KeyError("x")), media_type="text/event-stream")

    rules = guard.Rules(("127.0.0.1",), (), 1_000)
    guarded = guard.Guard(app, rules, ClipStore(tmp_path, 1.0))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(guarded, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    for path in ("gone", "broken") * 30:
        assert httpx.get(f"http://127.0.0.1:{port}/{path}").text == "data: begun\n\n"  # to its end
    server.should_exit = True
    thread.join(20)
    failed = [record for record in caplog.records if record.levelname == "ERROR"]
    assert {record.getMessage() for record in failed} == {"a request failed: GET /broken: KeyError: 'x'"}
    assert len([record for record in failed if record.exc_info]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_failures_by_the_thousand_are_some_lines_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    failures = FailureLog(logging.getLogger("flood"), clock=lambda: now[0])

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception as raised:
            failures.add("an event failed", "x" * 10_000, raised)

    for minute in range(3):
        now[0] = 60.0 * minute
        for _ in range(1_000):
            fail(ValueError("y" * 10_000))
            fail(KeyError("z"))
    records = [record for record in caplog.records if record.name == "flood"]
    assert [record.getMessage() for record in records if "not logged" in record.getMessage()] == [
        "1978 further failures were not logged", "1980 further failures were not logged",
    ]  # fmt: skip
    assert len([record for record in records if record.exc_info]) == 2  # one of a kind
    assert len(records) == 2 + 3 * 20 + 2
    assert all(len(record.getMessage()) < 600 for record in records)


def test_names_of_model_folders_are_text(tmp_path: Path) -> None:
    """An operator's folder may hold what others have named."""
    name = "<img src=x onerror=alert(1)>\u202e\n"
    (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models" / name / "config.json").write_text("{}")
    service = Service(Configuration(model_folder=tmp_path / "models"), tmp_path / "clips")
    with serving(service) as address:
        assert httpx.get(address).status_code == 200
        assert "event: complete" in post(address, "models", [])
        assert "<img" not in post(address, "generate", fields(model=name))
