"""The page, served with the embedded models and with tiny random models under published names."""

import contextlib
import socket
import time
from pathlib import Path

import mido
import pytest
from gradio_client import Client

from demo import ui
from demo.configuration import Configuration
from demo.service import Service
from demo.visits import Visit
from tests import machine

SMALL, MELODY = "facebook/musicgen-small", "facebook/musicgen-melody"


@pytest.fixture(scope="module", autouse=True)
def published(published_models) -> None:
    """Every module of these tests has the published models."""


def free_port() -> int:
    """A port that is not in use."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.02)


@contextlib.contextmanager
def serving(service: Service):
    """Serve a page for this service. Yields its URL."""
    page, port = ui.build(service), free_port()
    try:
        ui.launch(page, service, server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
        yield f"http://127.0.0.1:{port}/"
    finally:
        service.close()
        page.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(Configuration(), tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def address(service: Service):
    service.warm_up().join()
    with serving(service) as url:
        yield url


@pytest.fixture
def client(address: str) -> Client:
    return Client(address, verbose=False)


@pytest.fixture(scope="module")
def browser():
    """Not for the session: while Playwright runs, the thread has an event loop that makes other tests fail."""
    with machine.chromium("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream") as chromium:
        yield chromium


def visits_of(service: Service) -> list[Visit]:
    """All visits of a page."""
    index = service.clip_store.index
    return [Visit(token, index) for (token,) in index.read("SELECT token FROM visits")]


def write_midi(path: Path, *numbers: int) -> Path:
    """A MIDI file with notes of half a second."""
    track = mido.MidiTrack()
    for number in numbers:
        track += [mido.Message("note_on", note=number, velocity=64), mido.Message("note_off", note=number, time=480)]
    file = mido.MidiFile()
    file.tracks.append(track)
    file.save(str(path))
    return path
