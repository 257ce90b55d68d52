"""The service: warm-up, stopping, cancelling, errors, and recordings."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from demo.configuration import Configuration, Limits
from demo.service import Service
from musicgen import audio
from musicgen.errors import InputError
from musicgen.serving import generation, melody
from musicgen.serving.request import ClipRequest
from tests.conftest import GOLDEN
from tests.demo.conftest import wait_until
from tests.encoding import encode

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def test_the_service_knows_which_models_are_downloaded(tmp_path: Path) -> None:
    service = Service(Configuration(), tmp_path)
    assert service.engine.is_downloaded("facebook/musicgen-small")  # the tests' stand-in
    assert service.engine.is_downloaded("facebook/musicgen-melody")  # in the layout of audiocraft
    assert not service.engine.is_downloaded("facebook/musicgen-large")
    service.close()


def test_the_warm_up_clip_is_deleted(tmp_path: Path) -> None:
    service = Service(Configuration(models=("mini",)), tmp_path)
    service.warm_up().join()
    assert service.warmed_up
    assert service.engine.model_cache.loaded() == [("mini", "float32")]
    assert (tmp_path / "clips").is_dir()  # where it was
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert service.measured_seconds("mini", "float32", 1.0) is None  # it is not a measurement for later clips
    service.close()


def test_the_end_of_the_warm_up_wakes_all_who_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, go = Service(Configuration(models=("mini",)), tmp_path), threading.Event()
    monkeypatch.setattr(service, "_generate_warm_up_clip", lambda _: go.wait(10))

    async def wait() -> bool:
        await service.changes.wait_until(lambda: service.warmed_up)
        return service.warmed_up

    async def everybody() -> list[bool]:
        waiting = [asyncio.create_task(wait()) for _ in range(3)]
        service.warm_up()
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        go.set()
        return [*await asyncio.gather(*waiting), await wait()]  # the last comes when it is over

    assert asyncio.run(asyncio.wait_for(everybody(), 20)) == [True] * 4
    service.close()


def test_closing_the_service_stops_its_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen.serving.service.WARM_UP_SECONDS", 300.0)
    service = Service(Configuration(models=("mini",)), tmp_path)
    warm_up_thread = service.warm_up()
    wait_until(lambda: bool(service.engine.model_cache.loaded()), 60)
    service.close()
    assert not warm_up_thread.is_alive()


def test_stopping_keeps_the_audio_and_cancelling_does_not(tmp_path: Path) -> None:
    service = Service(Configuration(limits=Limits(per_visitor=3)), tmp_path)
    job = service.submit("me", ClipRequest("drums", "mini", 200.0))
    wait_until(lambda: len(job.events()) > 1)
    assert service.stop("me") == 1
    assert job.wait(10)
    clip = job.events()[-1]
    assert not clip.complete
    assert 1.0 < clip.seconds < 200.0
    job = service.submit("me", ClipRequest("drums", "mini", 200.0))
    wait_until(lambda: bool(job.events()))
    before = len(list(tmp_path.rglob("*.flac")))
    service.cancel("me")
    assert job.wait(10)
    assert len(list(tmp_path.rglob("*.flac"))) == before
    assert service.measured_seconds("mini", "float32", 10.0) is None
    job = service.submit("me", ClipRequest("drums", "mini", 1.0))
    assert job.wait(10)
    assert service.measured_seconds("mini", "float32", 10.0) > 0
    service.close()


def test_a_waiting_job_stops_at_once_and_lack_of_memory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Configuration(), tmp_path)
    first = service.submit("me", ClipRequest("drums", "mini", 200.0))
    wait_until(lambda: bool(first.events()))
    second = service.submit("you", ClipRequest("drums", "mini", 200.0))
    assert service.job_queue.position(second) == 1
    assert service.stop("you") == 1
    assert second.done
    assert not first.done
    service.cancel("me")
    assert first.wait(10)

    def exhausted(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(generation, "stream", exhausted)
    job = service.submit("me", ClipRequest("drums", "mini", 10.0))
    assert job.wait(10)
    assert isinstance(job.error, InputError)
    assert "not enough memory for 10 s with mini" in str(job.error)
    service.close()


SUBMIT_DURING_IMPORT = """
import sys
from pathlib import Path
from demo.configuration import Configuration
from musicgen.serving.request import ClipRequest
from demo.service import Service
service = Service(Configuration(), Path(sys.argv[1]))
service.warm_up()
job = service.submit("me", ClipRequest("drums", "mini", 1.0))
assert job.wait(120)
print(repr(job.error))
"""


def test_a_job_submitted_while_pytorch_is_being_imported(tmp_path: Path) -> None:
    """By a visitor who does not wait, in a fresh process: two threads import the same then."""
    command = [sys.executable, "-c", SUBMIT_DURING_IMPORT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ran.stdout.strip() == "None", ran.stdout + ran.stderr


@pytest.mark.parametrize(("name", "codec"), [("memo.m4a", "aac"), ("page.webm", "libopus"), ("memo.mp4", "aac")])
def test_recordings_of_phones_and_browsers_are_read(name: str, codec: str, tmp_path: Path) -> None:
    tune = audio.read(TUNE)
    file = encode(tmp_path / name, tune.wave, tune.rate, codec)
    service = Service(Configuration(), tmp_path / "clips")
    assert service.duration_of(file) == pytest.approx(tune.duration, abs=0.08)
    frames = service.engine.extract_melody(file, separate=False)
    assert melody.similarity(melody.from_audio(tune), frames) > 0.85
    service.close()
