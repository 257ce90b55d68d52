"""The page on another server's engine: the same clips, also where that server is lost in the middle."""

import dataclasses
import json
import signal
import threading
from pathlib import Path

import httpx
import mido
import numpy as np
import pytest

from demo import ui
from demo.configuration import Configuration, parse
from demo.service import Service
from demo.ui import texts
from musicgen import catalog
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.errors import InputError
from musicgen.serving import clip_metadata
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.engines.remote import RemoteEngine
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from musicgen.serving.stored_clip import StoredClip
from tests.conftest import GOLDEN
from tests.serving.api_server import Program, api, wait_until
from tests.test_adapters import adapter

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def silent(fraction: float, message: str) -> None:
    """A report that nobody reads."""


def sound(engine, request: ClipRequest, seed: int) -> np.ndarray:
    chunks = engine.stream(request, seed, silent, Cancellation())
    return np.concatenate([chunk.samples for chunk in chunks], axis=1)


def test_a_remote_engine_makes_the_same_clips(tmp_path: Path) -> None:
    song = mido.MidiFile()
    song.tracks.append(mido.MidiTrack([
        mido.Message("note_on", note=60, velocity=90), mido.Message("note_off", note=60, time=480)
    ]))  # fmt: skip
    song.save(tmp_path / "tune.mid")
    local = LocalEngine(ModelCatalog(), "cpu", slots=2)
    with api(tmp_path / "api", keys={"page": "k" * 16}) as (url, generations):
        remote = RemoteEngine(url, "k" * 16)
        assert [info.name for info in remote.catalog] == [info.name for info in local.catalog]
        assert remote.catalog.default() == local.catalog.default()
        assert remote.catalog.get("mini-melody").melody
        assert remote.is_downloaded("mini")
        assert not remote.is_downloaded("facebook/musicgen-large")
        assert remote.replicas() == 1
        for request in (
            ClipRequest("lofi", "mini", 2.0),
            ClipRequest("lofi", "mini-melody", 2.0, melody=tmp_path / "tune.mid"),
            ClipRequest("lofi", "mini-melody", 2.0, melody=TUNE, frames=(0, 4, 7, 4)),
            ClipRequest("lofi", "mini-stereo-melody", 6.0, continue_from=TUNE),
        ):
            np.testing.assert_allclose(sound(remote, request, 5), sound(local, request, 5), atol=1e-6)
        # Nothing is left on the server.
        wait_until(lambda: not list(generations.service.clip_store.clips_folder.glob("*/*")))
        with pytest.raises(InputError, match="duration is 1e"):
            sound(remote, ClipRequest("x", "mini", 1e9), 1)
        with pytest.raises(InputError, match="a key is needed"):
            RemoteEngine(url, "wrong")
        cancellation = Cancellation()
        chunks = remote.stream(ClipRequest("x", "mini", 200.0), 1, silent, cancellation)
        next(chunks)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            list(chunks)
        wait_until(lambda: len(generations.service.job_queue) == 0)
        remote.close()
    local.close()


def test_a_remote_engine_offers_and_takes_the_servers_adapters(tmp_path: Path) -> None:
    """What the page shows, what a clip becomes and what its file says are those of a page with the same folder."""
    for seed, name in enumerate(("jazz", "dub: deep")):
        adapter(catalog.PRETRAINED / "mini", "text", tmp_path / "adapters" / name, seed, ("q_proj", "v_proj"))
    local = LocalEngine(ModelCatalog(adapter_folder=tmp_path / "adapters"), "cpu")
    request = ClipRequest(
        "lofi", "mini", 1.0, seed=5, precision="float32", adapters=(("dub: deep", 1.0), ("jazz", 0.5))
    )
    with Program("--adapters", str(tmp_path / "adapters")) as server:
        page = Service(Configuration(engine=server.url), tmp_path / "page")
        ours, theirs = page.catalog.adapters, local.catalog.adapters
        assert (
            ours.choices() == theirs.choices() == [("dub: deep (for mini)", "dub: deep"), ("jazz (for mini)", "jazz")]
        )
        assert ours.parse(["jazz:0.5", "dub: deep"]) == request.adapters
        with pytest.raises(InputError, match="unknown LoRA adapter 'jaz': did you mean 'jazz'"):
            ours.parse(["jaz"])
        job = page.submit("me", request)
        assert job.wait(120)
        assert job.error is None
        (clip,) = (event for event in job.events() if isinstance(event, StoredClip))
        settings = clip_metadata.read_file(clip.path, "", local.catalog)[0]
        assert settings.adapters == request.adapters
        made, plain = (sound(page.engine, one, 5) for one in (request, dataclasses.replace(request, adapters=())))
        np.testing.assert_allclose(made, sound(local, request, 5), atol=1e-6)
        assert not np.allclose(made, plain, atol=1e-3)
        page.close()
    local.close()


def test_a_server_that_is_lost_is_waited_for() -> None:
    """The clip goes on where it was, by a server that starts anew and knows nothing of it."""
    request = ClipRequest("lofi", "mini", 30.0)
    whole: list[np.ndarray] = []
    with Program() as first:
        port = first.url.rsplit(":", 1)[1]
        engine = RemoteEngine(first.url)
        messages: list[str] = []
        chunks = engine.stream(request, 3, lambda _, message: messages.append(message), Cancellation())
        whole.append(next(chunks).samples)
        first.end(signal.SIGKILL)
        rest = threading.Thread(target=lambda: whole.extend(chunk.samples for chunk in chunks))
        rest.start()
        wait_until(lambda: any("waiting for an engine" in message for message in messages))
    with Program("--port", port) as second:
        rest.join(120)
        assert httpx.get(f"{second.url}/health").status_code == 200
    local = LocalEngine(ModelCatalog(), "cpu")
    np.testing.assert_allclose(np.concatenate(whole, axis=1), sound(local, request, 3), atol=1e-6)
    local.close()
    engine.close()


def test_a_process_that_ends_leaves_its_generation_to_the_next_one(tmp_path: Path) -> None:
    request, leaving, cancellation = ClipRequest("lofi", "mini", 20.0), threading.Event(), Cancellation()
    with api(tmp_path) as (url, generations):

        def there() -> set[str]:
            return {one["id"] for one in httpx.get(f"{url}/v1/generations").json()["generations"]}

        first, second = RemoteEngine(url, is_leaving=leaving.is_set), RemoteEngine(url)
        chunks = first.stream(request, 3, silent, cancellation, "its key")
        next(chunks)
        (identifier,) = there()
        leaving.set()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            list(chunks)
        first.close()
        assert there() == {identifier}
        chunks = second.stream(request, 3, silent, Cancellation(), "its key")
        whole = [next(chunks).samples]
        assert there() == {identifier}  # none is begun anew
        whole += [chunk.samples for chunk in chunks]
        wait_until(lambda: not list(generations.service.clip_store.clips_folder.glob("*/*")))
        second.close()
    local = LocalEngine(ModelCatalog(), "cpu")
    np.testing.assert_allclose(np.concatenate(whole, axis=1), sound(local, request, 3), atol=1e-6)
    local.close()


def test_the_page_is_served_by_another_servers_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_ENGINE_KEY", "k" * 16)
    with api(tmp_path / "api", keys={"page": "k" * 16}) as (url, _):
        configuration = parse(["--engine", url], {})
        page, alone = Service(configuration, tmp_path / "page"), Service(Configuration(), tmp_path / "alone")
        clips = []
        for service in (page, alone):
            job = service.submit(
                "me", ClipRequest("lofi", "mini-melody", 2.0, seed=4, melody=TUNE, separate=False, variations=2)
            )
            assert job.wait(120)
            assert job.error is None
            clips.append([event for event in job.events() if isinstance(event, StoredClip)])
        assert texts.COMPUTED_ELSEWHERE in json.dumps(ui.build(page).get_config_file(), default=str)
        for ours, theirs in zip(*clips, strict=True):
            assert ours.path.read_bytes()[-20_000:] == theirs.path.read_bytes()[-20_000:]
            assert (ours.seed, ours.request.precision, ours.frames) == (theirs.seed, "float32", theirs.frames)
        page.close()
        alone.close()


@pytest.mark.parametrize("url", ["nothing", "ftp://x", "http://127.0.0.1:9"])
def test_an_engine_that_is_not_there_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no URL|does not answer .*: start it"):
        Service(Configuration(engine=url), tmp_path)
