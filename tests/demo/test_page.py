"""The page and its API, served for real and asked by gradio's own client."""

import socket
import threading
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import musicgen
from demo import service, ui
from demo.service import Cancelled, Request, Service
from musicgen import audio, catalog
from musicgen.errors import InputError
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN

SMALL, MELODY = "facebook/musicgen-small", "facebook/musicgen-melody"


@pytest.fixture(scope="module", autouse=True)
def models(hub_cache: Path, audiocraft_folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tiny random models under the published names."""
    small = standins.write(standins.transformers_model(), tmp_path_factory.mktemp("small"))
    standins.publish(hub_cache, SMALL, small)
    standins.publish(hub_cache, MELODY, audiocraft_folder("melody"))


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def client(music: Service):
    page = ui.build(music)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui.launch(page, server_port=port, prevent_thread_lock=True, quiet=True)
    yield Client(f"http://127.0.0.1:{port}", verbose=False)
    page.close()


def ask(
    client: Client, prompt: str = "drums", model: str = SMALL, duration: float = 1.0, melody=None, seed: int | None = 3
):
    return client.predict(prompt, model, duration, melody, True, seed, 3.0, 1.0, 20, api_name="/generate")


def test_a_prompt_becomes_a_clip(client: Client) -> None:
    file, status = ask(client)
    assert status.startswith("Done in ")
    assert "1.00 s, mono, 32000 Hz" in status
    clip = audio.read(file)
    assert clip.duration == 1.0
    settings = Settings.of_file(file)
    assert (settings.prompt, settings.model, settings.seed) == ("drums", SMALL, 3)
    # the same music as from Python
    options = musicgen.GenerationOptions(top_k=20)
    wave = musicgen.load(SMALL).generate(["drums"], 1.0, seed=3, options=options)[0]
    expected = audio.normalise_loudness(audio.Audio(wave, 32_000)).wave
    assert (clip.wave - expected).abs().max() < 2 / 32_768


def test_a_melody_becomes_a_clip(client: Client) -> None:
    file, status = ask(client, model=MELODY, melody=handle_file(GOLDEN / "chroma" / "melody_a.wav"), seed=None)
    assert "seed" in status
    assert Settings.of_file(file).melody is not None
    assert audio.read(file).duration == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "facebook/musicgen-large"}, "is not on this machine and the hub cannot be reached"),
        ({"model": "/etc"}, "not in the list of choices"),
        ({"duration": 1e9}, "greater than maximum"),
        ({"duration": -1}, "less than minimum"),
        ({"prompt": "x" * 100_000}, "100000 characters: 2000 at most"),
        ({"melody": handle_file(GOLDEN / "chroma" / "melody_a.wav")}, "follows text only"),
        ({"melody": handle_file(__file__), "model": MELODY}, r"test_page\.py: not readable as audio"),
        ({"melody": "/etc/passwd", "model": MELODY}, "FileData"),
    ],
)
def test_bad_input_is_said_and_breaks_nothing(client: Client, arguments: dict, message: str) -> None:
    with pytest.raises((AppError, ValueError), match=f"(?s){message}"):
        ask(client, **arguments)
    assert ask(client, duration=1.0)[1].startswith("Done")


def test_a_file_of_the_server_cannot_be_named(client: Client) -> None:
    """Over plain HTTP: gradio's client would upload the caller's own file of that name."""
    for path in ("/etc/passwd", str(Path(__file__).resolve()), "../../../etc/passwd"):
        data = ["x", MELODY, 1.0, {"path": path, "meta": {"_type": "gradio.FileData"}}, True, 1, 3.0, 1.0, 20]
        call = httpx.post(f"{client.src}gradio_api/call/generate", json={"data": data})
        answer = httpx.get(f"{client.src}gradio_api/call/generate/{call.json()['event_id']}", timeout=30).text
        assert "event: error" in answer
        assert "event: complete" not in answer
        assert "root:" not in answer


def test_stop_ends_within_a_step(music: Service) -> None:
    cancel, seen = threading.Event(), []

    def progress(_: str, share: float) -> None:
        seen.append(share)
        if share > 0:
            cancel.set()

    with pytest.raises(Cancelled):
        music.generate(Request("drums", SMALL, duration=20.0), progress, cancel)
    assert len([share for share in seen if share > 0]) == 1


def test_a_visitor_who_leaves_stops_the_work(music: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio closes the generator; the thread behind it must end, not finish the clip for nobody."""
    ended = threading.Event()
    generate = music.generate

    def watched(*arguments):
        try:
            return generate(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(music, "generate", watched)
    events = ui._generate(music, "drums", SMALL, 100.0, None, True, 0, 3.0, 1.0, 20)
    assert next(events)[0] is None
    events.close()
    assert ended.wait(10)
    assert not list(music.folder.glob("*.tmp"))


def test_every_published_model_is_offered_with_its_size() -> None:
    offered = {name: label for label, name in service.choices()}
    assert set(offered) == set(catalog.names())
    assert service.default_model() in offered
    assert "GB" in offered["facebook/musicgen-large"]


def test_the_service_checks_before_it_loads(music: Service) -> None:
    with pytest.raises(InputError, match="unknown model"):
        music.generate(Request("x", "../../etc"), lambda *_: None, threading.Event())
