"""A ZeroGPU Space: the real `spaces` package with a stand-in of the GPU server, and the requested durations."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import musicgen
from demo import zero_gpu
from demo.zero_gpu import DAILY_QUOTAS, Estimate, estimate, run_in_thread
from musicgen import audio, catalog
from musicgen.audio import Audio
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.limiter import reach_loudness
from musicgen.options import GenerationOptions
from musicgen.serving.request import ClipRequest
from tests.demo.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]
EMBEDDED = 20_000_000
"""Bytes of an embedded model's files."""


# The requested durations


def estimate_for(model: str, seconds: float, known: float | None = None, ready: bool = True) -> Estimate:
    sizes = {entry.name: entry.download_bytes for entry in catalog.PUBLISHED}
    return estimate(ClipRequest("", model, seconds), sizes.get(model, EMBEDDED), known, ready)


def test_a_visitor_without_an_account_gets_several_clips_a_day() -> None:
    day = DAILY_QUOTAS["without an account"]
    for model in ("mini", "facebook/musicgen-small", "facebook/musicgen-melody", "facebook/musicgen-large"):
        assert estimate_for(model, 10.0).reserved * 3 <= day
    assert estimate_for("facebook/musicgen-small", 10.0, known=2.0).reserved * 6 <= day  # once a clip has been measured


def test_no_clip_requests_more_than_the_maximum() -> None:
    for entry in catalog.PUBLISHED:
        for known in (None, 3_000.0):
            for ready in (True, False):
                assert estimate_for(entry.name, 300.0, known, ready).reserved <= DAILY_QUOTAS["with a free account"]
    # and the small models need no more
    for model in ("mini", "facebook/musicgen-small"):
        estimated = estimate_for(model, 300.0)
        assert estimated.needed <= estimated.requested


def test_requests_follow_the_measured_times() -> None:
    assert (
        estimate_for("facebook/musicgen-small", 30.0, known=10.0).needed
        < estimate_for("facebook/musicgen-small", 30.0).needed
    )
    assert estimate_for("facebook/musicgen-small", 30.0, known=100.0).needed > 130.0
    assert estimate_for("mini", 0.5, known=0.01).requested == zero_gpu.MIN_REQUEST_SECONDS
    assert (
        estimate_for("facebook/musicgen-large", 10.0, ready=False).needed
        > estimate_for("facebook/musicgen-large", 10.0).needed + 20
    )
    apart = ClipRequest("", "mini", 60.0, options=GenerationOptions(melody_guidance_scale=2.0))
    assert estimate(apart, EMBEDDED, None, True).needed > estimate_for("mini", 60.0).needed


def test_the_description_says_when_a_quota_is_insufficient() -> None:
    assert "than" not in Estimate(20.0).describe(1)
    assert Estimate(20.0).describe(1).startswith("30 s of your GPU quota are reserved")
    assert "more than a visitor without an account has in a day" in Estimate(100.0).describe(1)
    assert "more than a visitor with a free account has in a day" in Estimate(100.0).describe(4)
    assert "it may need 500 s and be cut" in Estimate(500.0).describe(1)


# The background thread


def test_closing_the_iterator_ends_the_work() -> None:
    ended = threading.Event()

    def work(put) -> None:
        try:
            while True:
                put(1)
                time.sleep(0.001)
        except Cancelled:
            ended.set()

    items = run_in_thread(work, Cancellation())
    assert next(items) == 1
    items.close()
    assert ended.wait(5)


def test_the_iterator_raises_the_error_after_the_items() -> None:
    def work(put) -> None:
        put("sound")
        raise ValueError("broken")

    items = run_in_thread(work, Cancellation())
    assert next(items) == "sound"
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_cancelling_wakes_the_iterator_while_the_work_waits() -> None:
    go, cancellation = threading.Event(), Cancellation()
    threading.Timer(0.1, cancellation.cancel).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        next(run_in_thread(lambda put: go.wait(20) and put("late"), cancellation))
    assert time.monotonic() - start < 5
    go.set()


# The whole Space


class GpuServer(ThreadingHTTPServer):
    """A server with the HTTP API that `spaces.zero.api` calls. calls: the paths of the requests, with their parameters."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GpuRequestHandler)
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.left: int | None = None
        """Seconds of quota that the visitor has left; None for enough."""

    def of(self, name: str) -> list[dict[str, str]]:
        return [values for call, values in self.calls if call == name]


class GpuRequestHandler(BaseHTTPRequestHandler):
    server: GpuServer

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        self.server.calls.append((parts.path, dict(parse_qsl(parts.query))))
        status, answer = 200, {}
        if parts.path == "/schedule" and self.server.left is not None:
            status, answer = 429, {"left": self.server.left, "wait": "01:00:00"}
        elif parts.path == "/schedule":
            answer = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def gpu_server():
    server = GpuServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_zero_gpu_space(gpu_server: GpuServer, tmp_path: Path) -> None:
    pytest.importorskip("spaces", reason="the package of Hugging Face's Spaces is not installed")
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    environment = os.environ | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{gpu_server.server_address[1]}",
        "GRADIO_SERVER_PORT": str(port),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "TRITON_INTERPRET": "0",
    }
    command = [sys.executable, str(Path(__file__).with_name("zero_gpu_space.py")), "--models", "mini"]
    log = tmp_path / "log"
    with log.open("w") as output:
        program = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 200
        while True:
            try:
                httpx.get(url, timeout=60)
                break
            except httpx.TransportError:
                assert program.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        assert len(gpu_server.of("/startup-report")) == 1
        # The weights were put on the GPU before the page was served: `spaces` has stored them.
        stored = sum(file.stat().st_size for file in (tmp_path / ".zerogpu" / "tensors").iterdir())
        assert stored > catalog.PRETRAINED.joinpath("mini", "model.safetensors").stat().st_size
        client = Client(url, verbose=False, download_files=str(tmp_path / "mine"))
        ask = {"prompt": "drums", "model": "mini", "duration": 2.0, "seed": 3, "api_name": "/generate"}
        clip, _, about = client.predict(**ask)
        assert about["complete"]
        wave = musicgen.load("mini").generate(["drums"], 2.0, seed=3)[0]
        expected = reach_loudness(Audio(wave, 32_000), -14.0).audio.wave
        assert (audio.read(clip).wave - expected).abs().max() < 2 / 32_768
        client.predict(**ask)
        first, second = (int(call["durationSeconds"]) for call in gpu_server.of("/schedule"))
        assert first == estimate_for("mini", 2.0).requested
        assert second < first  # the first clip has been measured
        workers = [call["pid"] for call in gpu_server.of("/allow")]
        assert len(set(workers)) == 2
        assert str(program.pid) not in workers

        # Stopping a generation keeps the audio and releases the GPU.
        job = client.submit("drums", "mini", 200.0, 1, api_name="/progress")
        wait_until(lambda: any(output.get("done", 0) > 2 / 200 for output in job.outputs()), 120)
        stop_requested_at = time.monotonic()
        assert client.predict(api_name="/stop") == 1
        job.result(timeout=60)
        print(f"stopped after {time.monotonic() - stop_requested_at:.1f} s")
        assert "stopped early" in job.outputs()[-1]["summary"]
        wait_until(lambda: len(gpu_server.of("/release")) == 3, 120)
        assert {call["fail"] for call in gpu_server.of("/release")} == {"false"}

        # A used-up quota is reported with the message of `spaces`.
        short = tmp_path / "short.wav"
        audio.write(short, Audio(wave[:, :3_200], 32_000))
        gpu_server.left = 1
        with pytest.raises(AppError) as caught:
            client.predict(**ask)
        assert re.search(r"GPU", str(caught.value))
        program.terminate()
        assert program.wait(60) == 0
        assert not list(tmp_path.glob("musicgen-clips-*"))
    finally:
        program.kill()
        program.wait(20)
