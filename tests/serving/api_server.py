"""`musicgen serve` as the tests start it: inside the test, or as a program of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from musicgen.serving.engines.base import EngineClient
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog
from musicgen.serving.web import assembly, server
from musicgen.serving.web.generations import Generations
from musicgen.serving.web.keys import Keys

ROOT = Path(__file__).parents[2]
END = ("done", "failed", "cancelled")


@contextlib.contextmanager
def api(
    folder: Path, *, keys: Mapping[str, str] | None = None, limits: Limits | None = None, engine: EngineClient | None = None,
    workers: int = 4,
) -> Iterator[tuple[str, Generations]]:  # fmt: skip
    """Serve the API inside this process. Yields its URL and its generations."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = limits or Limits(per_visitor=36)
    engine = engine or LocalEngine(ModelCatalog(), "cpu", slots=workers)
    assembled = assembly.assemble(
        engine, folder, limits, Keys(keys or {}), ["127.0.0.1", "localhost"], workers=workers
    )  # fmt: skip
    service, generations = assembled.service, assembled.generations
    service.warmed_up = True
    generations.recover()
    with server.listen("127.0.0.1", 0) as listening:
        running = server.Server(assembled.app, generations, 60.0)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield server.address_of(listening), generations
        finally:
            service.close()
            running.should_exit = running.force_exit = True
            thread.join(20)


class Program:
    """`python -m musicgen serve` in a process of its own.

    Args:
        arguments: of the command, without the port.
        environment: further variables.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None, seconds: float = 120.0) -> None:
        command = [sys.executable, "-m", "musicgen", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | dict(environment or {}),
        )  # fmt: skip
        self.lines: list[str] = []
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: bool(self.url) or self.process.poll() is not None, seconds)
        assert self.url, "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("MusicGen API: "):
                self.url = line.split()[2].removesuffix("/v1")

    def end(self, how: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(how)
        return self.process.wait(seconds)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()


def wait_until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.05)


def asked(client: httpx.Client, **body: object) -> str:
    """Ask for a generation; its identifier."""
    answer = client.post("/v1/generations", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(client: httpx.Client, identifier: str, seconds: float = 60.0) -> dict:
    """The state of a generation at its end."""
    state: dict = {}

    def done() -> bool:
        nonlocal state
        try:
            state = client.get(f"/v1/generations/{identifier}").raise_for_status().json()
        except httpx.TransportError:  # the server's process has just died; the next one answers
            return False
        return state["status"] in END

    wait_until(done, seconds)
    return state
