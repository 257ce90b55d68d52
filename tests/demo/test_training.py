"""Adapters that visitors train on their own clips: real trainings of the embedded model, each in a process of its own."""

import json
import os
import re
import signal
import zipfile
from pathlib import Path

import pytest
import torch

import musicgen
from demo import configuration
from demo.configuration import Configuration, TrainingLimits
from demo.service import Service
from demo.training import captions
from demo.training.request import TrainingClip, TrainingRequest, captions_of
from demo.training.run import State
from demo.training.trainings import Trainings
from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.serving.job_queue import QueueFull
from musicgen.serving.limits import Limits
from musicgen.serving.request import ClipRequest
from tests.demo.conftest import wait_until

PATIENCE = 240.0
"""Seconds that the smallest training may take on a busy machine."""
RATE = 32_000
pytestmark = pytest.mark.timeout(600)


def clip(folder: Path, number: int, seconds: float = 3.0) -> TrainingClip:
    """Plucked notes of a pentatonic scale at 120 bpm: like each other, and like nothing that the model was trained on."""
    generator = torch.Generator().manual_seed(number)
    time = torch.arange(RATE // 2) / RATE
    pitches = torch.tensor([220.0, 261.63, 293.66, 329.63, 392.0])
    notes = [
        torch.sin(2 * torch.pi * pitch * time) * torch.exp(-6 * time)
        for pitch in pitches[torch.randint(0, 5, (int(2 * seconds),), generator=generator)]
    ]
    file = folder / f"{number:02d} plucked.wav"
    audio.write(file, Audio(0.3 * torch.cat(notes)[None], RATE))
    return TrainingClip(file, file.name, "plucked strings, 120 bpm, A minor")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingClip, ...]:
    folder = tmp_path_factory.mktemp("clips")
    return tuple(clip(folder, number) for number in range(6))


@pytest.fixture(autouse=True)
def _as_fast_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.training.process.NICENESS", 0)  # beside other tests it would wait for them


@pytest.fixture
def service(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    made = Service(
        Configuration(training=TrainingLimits(), models=("mini",), trained_folder=tmp_path / "kept", device="cpu"),
        tmp_path / "service",
    )
    yield made
    made.close()


def trainings_of(service: Service) -> Trainings:
    assert service.trainings is not None
    return service.trainings


def small(clips: tuple[TrainingClip, ...], steps: int = 20) -> TrainingRequest:
    return TrainingRequest("Plucked!", "mini", clips, steps, 10)


def test_a_training_is_stopped_crashes_goes_on_and_is_closer_to_the_clips(
    service: Service, clips: tuple[TrainingClip, ...], tmp_path: Path
) -> None:
    trainings = trainings_of(service)
    job = trainings.submit("me", small(clips))
    run = job.payload
    with pytest.raises(QueueFull, match="1 training of yours is being made or waiting"):
        trainings.submit("me", small(clips))
    wait_until(lambda: run.snapshot.curve.step >= 10 or job.done, PATIENCE)
    trainings.stop("me")
    assert job.wait(PATIENCE)
    assert (job.error, run.snapshot.state, run.snapshot.message) == (None, State.STOPPED, "")
    stopped = run.snapshot
    assert 10 <= stopped.curve.step < 20
    assert stopped.sample is not None
    assert audio.read(stopped.sample).duration == pytest.approx(3, abs=0.1)
    assert service.catalog.adapters.choices("me") == [(f"{stopped.adapter} (for mini)", stopped.adapter)]
    # The process is killed in the middle of a step: what the checkpoint has is not lost.
    job = trainings.go_on("me")
    wait_until(lambda: run.snapshot.state == State.RUNNING or job.done, PATIENCE)
    (child,) = children(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert job.wait(PATIENCE)
    assert run.snapshot.state == State.FAILED
    assert "exit code -9" in run.snapshot.message
    job = trainings.go_on("me")
    assert job.wait(PATIENCE)
    done = run.snapshot
    assert (done.state, done.curve.step) == (State.DONE, 20)
    assert done.curve.losses[: len(stopped.curve.losses)] == stopped.curve.losses
    first, last = done.curve.validations[0], done.curve.validations[-1]
    assert (first[0], last[0]) == (0, 20)
    assert last[1] < first[1] - 0.1  # nats: clips that it was not given are likelier now
    assert not (run.output / "checkpoints").exists()
    with pytest.raises(InputError, match="no training that could go on"):
        trainings.go_on("me")

    # The adapter is its visitor's alone, is PEFT's, and the operator has a copy.
    request = ClipRequest("plucked strings", "mini", 1.0, seed=1, precision="float32", adapters=((done.adapter, 1.0),))
    assert service.catalog.adapters.choices("you") == []
    for stranger in ("you", ""):
        with pytest.raises(InputError, match=f"unknown LoRA adapter '{done.adapter}': the operator offers none"):
            service.submit(stranger, request)
    made = service.submit("me", request)
    assert made.wait(PATIENCE)
    assert made.error is None
    with zipfile.ZipFile(trainings.pack("me")) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "mine")
    assert names == [f"{done.adapter}/adapter_config.json", f"{done.adapter}/adapter_model.safetensors"]
    assert json.loads((tmp_path / "mine" / names[0]).read_text())["base_model_name_or_path"] == "mini"
    adapted = musicgen.load("mini", "cpu", "float32", adapters=[tmp_path / "mine" / done.adapter])
    with service.engine.model_cache.use("mini", "float32", request.adapters) as scheduler:
        for ours, theirs in zip(scheduler.model.parameters(), adapted.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    assert {folder.name for folder in (tmp_path / "kept").iterdir()} >= {stopped.adapter, done.adapter}
    # It expires with the visitor's clips.
    service.clip_store.delete_expired(now=10**11)
    assert trainings.newest("me") is None
    assert service.catalog.adapters.choices("me") == []
    with pytest.raises(InputError, match="unknown LoRA adapter"):
        service.submit("me", request)


def children(process: int) -> list[int]:
    """The processes of trainings that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if re.search(rf"^PPid:\t{process}$", text, re.MULTILINE) and b"spawn_main" in command:
            found.append(int(status.parent.name))
    return found


def test_the_limits_are_said_before_anything_is_trained(
    service: Service, clips: tuple[TrainingClip, ...], tmp_path: Path
) -> None:
    trainings = trainings_of(service)
    broken = tmp_path / "song.wav"
    broken.write_bytes(b"no sound")
    wordless = TrainingClip(clips[0].file, "a.wav", "")
    cases = {
        "4 clips to train on: 5 at least": small(clips[:4]),
        "51 clips to train on: 50 at most": small(clips[:1] * 51),
        "the adapter has no name": TrainingRequest("", "mini", clips),
        "the adapter's name has 41 characters: 40 at most": TrainingRequest("x" * 41, "mini", clips),
        "a.wav: has no caption": small((*clips, wordless)),
        "unknown model 'maxi'": TrainingRequest("x", "maxi", clips),
        "steps is 5: it must lie between 10 and 2000": small(clips, 5),
        "^song.wav: not readable as audio": small((*clips, TrainingClip(broken, "song.wav", "x"))),
    }
    for message, request in cases.items():
        with pytest.raises(InputError, match=message):
            trainings.submit("me", request)
    trainings.training = TrainingLimits(audio_seconds=10)
    with pytest.raises(InputError, match="the clips are longer than 10 s together: leave some out"):
        trainings.submit("me", small(clips))
    service.clip_store.max_bytes = 1_000
    trainings.training = TrainingLimits()
    with pytest.raises(InputError, match="the disk space for clips is used up"):
        trainings.submit("me", small(clips))
    assert len(trainings.job_queue) == 0
    assert not list((service.clip_store.folder / "clips").glob("*/music"))


def test_time_and_disk_end_a_training(service: Service, clips: tuple[TrainingClip, ...]) -> None:
    trainings = trainings_of(service)
    trainings.training = TrainingLimits(mb=0.01)
    job = trainings.submit("me", small(clips))
    assert job.wait(PATIENCE)
    assert job.payload.snapshot.message == "its files take more than 0.01 MB: choose a smaller model, or fewer clips"
    trainings.training = TrainingLimits(minutes=0.001)
    with pytest.raises(InputError, match=r"has used up the 0\.001 minutes"):
        trainings.go_on("me")


def test_captions_are_proposed_from_names_and_measurements(tmp_path: Path) -> None:
    names = {
        "03_slow-folk  song.mp3": "slow folk song",
        "12. Rain.flac": "Rain",
        "99.wav": "music",
        "a.b.c": "a.b.c",
        "50 ways.ogg": "ways",
        "\x1b[31mred\u202e.wav": "[31mred",
    }
    assert {name: captions.words_of(name) for name in names} == names
    one = clip(tmp_path, 7, seconds=8)
    proposal = captions.propose(one.file, "07 plucked.wav", 60)
    assert re.fullmatch(r"plucked, 1(19|20|21) bpm, (A minor|C major|.+)", proposal.caption)
    assert proposal.seconds == 8
    with pytest.raises(InputError, match=r"^my\.wav is longer than 5 s: cut it first"):
        captions.propose(one.file, "my.wav", 5)
    assert captions_of("a.wav: x: y\n\n z ", ["a.wav", "b.wav"]) == ["x: y", "z"]
    with pytest.raises(InputError, match="1 captions for 2 clips"):
        captions_of("x", ["a.wav", "b.wav"])


def test_it_is_off_unless_the_operator_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.parse([], {}).training is None
    allowed = configuration.parse(
        ["--allow-training", "--training-minutes", "5", "--trained", str(tmp_path)],
        {"MUSICGEN_DEMO_TRAINING_CLIPS": "7"},
    )
    assert allowed.training == TrainingLimits(clips=7, minutes=5)
    assert allowed.trained_folder == tmp_path
    assert configuration.parse([], {"MUSICGEN_DEMO_ALLOW_TRAINING": "1"}).training == TrainingLimits()
    service = Service(Configuration(limits=Limits(), models=("mini",)), tmp_path / "service")
    assert service.trainings is None
    service.close()
    monkeypatch.setattr("musicgen.extras.is_installed", lambda package: package != "peft")
    with pytest.raises(
        InputError, match=r"the training of adapters needs peft, which is not installed: .*musicgen\[training\]"
    ):
        Service(Configuration(training=TrainingLimits(), models=("mini",)), tmp_path / "other")
