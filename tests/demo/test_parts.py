"""The parts that need no server: requests, links, the line, engines, files, pictures, melodies, pieces."""

import base64
import dataclasses
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from demo import configuration, making, melody, pictures, stored
from demo.configuration import Configuration, Limits
from demo.engines import Engines
from demo.files import Files
from demo.line import Busy, Line
from demo.measure import Measuring
from demo.models import Shelf
from demo.request import Request, Section, clean, format_timeline, parse_timeline
from demo.service import Service
from demo.ui import melody_editor
from musicgen import audio, catalog, chroma
from musicgen.audio import Audio
from musicgen.engine import Scheduler
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN
from tests.encoding import encode

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def until(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never true"
        time.sleep(0.01)


# Requests


def test_a_timeline_is_read_and_written() -> None:
    sections = parse_timeline("0:20 strings only\n\n 7.5s - drums\n1:05.5 end: all\n")
    assert sections == (Section(7.5, "drums"), Section(20.0, "strings only"), Section(65.5, "end: all"))
    assert parse_timeline(format_timeline(sections)) == sections
    for text in ("drums", "0:10", "x:10 drums", "-5 drums"):
        with pytest.raises(InputError, match="not a time and a description"):
            parse_timeline(text)
    with pytest.raises(InputError, match="two lines at 10 s"):
        parse_timeline("0:10 a\n10 b")


def test_a_prompt_is_cleaned() -> None:
    assert clean(" a\x00b\n\tc\ud800 é 😀 ") == "a b c é 😀"
    assert clean(None) == ""
    clean("\ud800").encode()


REQUEST = Request(
    prompt="drums “and” bass",
    model="mini-melody",
    duration=12.5,
    seed=4,
    options=GenerationOptions(top_k=9, negative_prompt="noise", melody_guidance_scale=2.0),
    frames=(0, 11, 5),
    separate=False,
    timeline=(Section(3.0, "strings"),),
    precision="int8",
    loop=True,
)


def test_a_link_brings_the_settings_back() -> None:
    assert stored.of_link(stored.link(REQUEST, 4)) == REQUEST


def test_a_link_that_is_no_link_is_refused() -> None:
    good = stored.link(REQUEST, 4)
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000)).decode()
    for text in (
        "",
        "x",
        good[:-9],
        good[5:],
        "A" * 100_000,
        bomb,
        base64.urlsafe_b64encode(zlib.compress(b"[[]]")).decode(),
    ):
        with pytest.raises(InputError, match="the link holds no settings"):
            stored.of_link(text)


def test_a_file_brings_the_settings_back(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.ogg", Audio(torch.zeros(1, 32_000), 32_000), stored.comment(REQUEST, 4))
    # Without a recording there is nothing to separate.
    expected = dataclasses.replace(REQUEST, separate=None)
    assert stored.of_file(tmp_path / "clip.ogg", "clip.ogg", Shelf()) == (expected, [])
    audio.write(tmp_path / "other.wav", Audio(torch.zeros(1, 32_000), 32_000), "a comment")
    with pytest.raises(InputError, match=r"my\.wav: holds no settings"):
        stored.of_file(tmp_path / "other.wav", "my.wav", Shelf())


def test_a_folder_is_not_taken_for_a_model_of_its_name(tmp_path: Path) -> None:
    """An operator's model called mini-melody is not the embedded one, nor the other way round."""
    own = Path(shutil.copytree(catalog.PRETRAINED / "mini", tmp_path / "own" / "mini"))
    shelf = Shelf(own.parent)
    cases = [("mini", False, True), ("mini", True, False), ("own/mini", True, True), ("own/mini", False, False)]
    for model, own_model, fits in cases:
        request = dataclasses.replace(REQUEST, model=model)
        clip = tmp_path / "clip.wav"
        audio.write(clip, Audio(torch.zeros(1, 32_000), 32_000), stored.comment(request, 4, own_model=own_model))
        if fits:
            assert stored.of_file(clip, "clip.wav", shelf)[0].model == model
        else:
            with pytest.raises(InputError, match=r"clip\.wav: was made with another model of the name"):
                stored.of_file(clip, "clip.wav", shelf)
        assert Settings.of_file(clip).beyond == (
            "a timeline",
            "a seamless loop",
            "the melody as the page's editor had it",
        )


def test_defaults_follow_the_model() -> None:
    """Melodies are left as they are for the models that were trained so, also where a text model is chosen first."""
    shelf = Shelf()
    assert [shelf.follower(name).name for name in ("mini", "mini-melody")] == ["mini-melody"] * 2
    assert shelf.follower("facebook/musicgen-small").separated is False  # the embedded one takes over
    published = Shelf(allowed=["facebook/*"])
    assert published.follower("facebook/musicgen-small").name == "facebook/musicgen-melody"
    assert published.follower("facebook/musicgen-small").separated
    assert Shelf(allowed=["mini"]).follower("mini") is None


def test_auto_shares_what_is_loaded() -> None:
    engines = Engines(Shelf(), "cpu", most=2)
    with engines.use("mini", "auto") as one, engines.use("mini", "float32") as other:
        assert one is other
    assert engines.loaded() == [("mini", "float32")]
    engines.close()


def test_the_editor_takes_what_it_gave() -> None:
    assert melody_editor.load(melody_editor.dump((1, 2))) == (1, 2)
    assert melody_editor.load(melody_editor.dump(())) is None
    for text in ("x", "[]", '{"frames": 3}', "[" * 100_000):
        with pytest.raises(InputError, match="damaged"):
            melody_editor.load(text)
    assert melody_editor.SECONDS_PER_FRAME == melody.SECONDS_PER_FRAME
    assert [name.replace("♯", "#") for name in melody_editor.PITCH_CLASSES] == list(chroma.PITCH_CLASSES)


# The operator


def test_flags_win_over_the_environment() -> None:
    environment = {"MUSICGEN_DEMO_QUEUE": "5", "MUSICGEN_DEMO_MAX_DURATION": "60", "MUSICGEN_DEMO_MCP": "1"}
    found = configuration.read(["--queue", "7", "--auth", "a:b:c"], environment)
    assert (found.limits.queue, found.limits.max_duration, found.mcp, found.share) == (7, 60.0, True, False)
    assert found.auth == ("a", "b:c")
    for bad in (
        ["--auth", "nobody"],
        ["--folder", "/nowhere"],
        ["--queue", "0"],
        ["--queue", "x"],
        ["--max-duration", "nan"],
    ):
        with pytest.raises(SystemExit):
            configuration.read(bad, {})


def test_the_shelf_offers_a_folder_of_the_operator(tmp_path: Path) -> None:
    standins.write(standins.transformers_model(stereo=True), tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    shelf = Shelf(tmp_path)
    name = f"{tmp_path.name}/mine"
    assert shelf.find(name).stereo
    assert [offer.name for offer in shelf][3] == name
    assert [offer.name for offer in Shelf(tmp_path, ["mini*"])] == ["mini", "mini-melody", "mini-stereo-melody"]
    assert "CC-BY-NC" in shelf.find("facebook/musicgen-small").label
    assert shelf.default() == "mini"
    for hostile in (str(tmp_path / "mine"), "../mine", "", None, 3):
        with pytest.raises(InputError, match="unknown model"):
            shelf.find(hostile)
    with pytest.raises(InputError, match="no model's name fits"):
        Shelf(None, ["nothing"])


def test_a_broken_model_of_the_operator_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    standins.write(standins.transformers_model(), tmp_path / "good")
    config = (tmp_path / "good" / "config.json").read_text()
    broken = {
        "cut": (config[: len(config) // 2], "config.json is not JSON"),
        "other": ('{"model_type": "t5"}', "a checkpoint of the type 't5'"),
        "list": ("[]", "not a MusicGen model's"),
        "odd": ('{"model_type": "musicgen", "decoder": []}', "not a MusicGen model's"),
        "weightless": (config, "no weights"),
        "binary": (b"\xff\xfe", "config.json is not JSON"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        if name != "weightless":
            (tmp_path / name / "model.safetensors").write_bytes(b"x")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "config.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "dangling" / "model.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a file").write_text("x")
    offered = [offer.name for offer in Shelf(tmp_path) if offer.origin == "folder"]
    assert offered == [f"{tmp_path.name}/good"]
    told = dict.fromkeys(broken, "")
    for record in caplog.records:
        told[Path(str(record.args[0])).name] = record.getMessage()
    assert set(told) == {*broken, "dangling"}
    for name, (_, reason) in broken.items():
        assert reason in told[name]


# The line


def test_the_line_serves_in_order_and_says_the_places() -> None:
    go, served = threading.Event(), []

    def work(ticket) -> None:
        go.wait(10)
        served.append(ticket.job)

    line: Line = Line(work, workers=1, length=3, per_visitor=2)
    tickets = [line.join(f"v{i}", i) for i in range(1)]
    until(lambda: line.place(tickets[0]) == 0)
    tickets += [line.join(f"v{i}", i) for i in (1, 2, 3)]
    assert [line.place(ticket) for ticket in tickets] == [0, 1, 2, 3]
    with pytest.raises(Busy, match="the queue is full"):
        line.join("v9", 9)
    line.forget(tickets[1])
    assert tickets[1].done
    assert [line.place(ticket) for ticket in tickets[2:]] == [1, 2]
    line.join("v2", 4)
    with pytest.raises(Busy, match="2 clips of yours"):
        line.join("v2", 5)
    go.set()
    until(lambda: len(line) == 0)
    assert served == [0, 2, 3, 4]
    line.close()


def test_a_job_that_fails_does_not_end_the_line() -> None:
    def work(ticket) -> None:
        if ticket.job == "bad":
            raise RuntimeError("boom")

    line: Line = Line(work, workers=1, length=5, per_visitor=5)
    bad, good = line.join("a", "bad"), line.join("a", "good")
    assert good.wait(5)
    assert isinstance(bad.failure, RuntimeError)
    assert good.failure is None
    line.close()


# Engines


def test_engines_unload_the_least_used() -> None:
    engines, seen = Engines(Shelf(), "cpu", most=2), {}
    for name in ("mini", "mini-melody", "mini", "mini-stereo-melody"):
        with engines.use(name, "float32") as engine:
            assert engine.model.name.endswith(name)
            seen[name] = weakref.ref(engine.model)
    del engine
    assert [name for name, _ in engines.loaded()] == ["mini", "mini-stereo-melody"]
    gc.collect()
    assert seen["mini-melody"]() is None  # its memory is free again
    assert seen["mini"]() is not None


def test_engines_unload_for_memory_but_never_what_is_in_use() -> None:
    engines = Engines(Shelf(), "cpu", most=9, free=lambda: 0)
    with engines.use("mini", "float32"), engines.use("mini-melody", "float32"):
        assert len(engines.loaded()) == 2
    with engines.use("mini-stereo-melody", "float32"):
        assert engines.loaded() == [("mini-stereo-melody", "float32")]


def test_two_visitors_load_a_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from musicgen import checkpoint

    loads, load = [], checkpoint.load

    def slow(*arguments):
        loads.append(arguments)
        time.sleep(0.2)
        return load(*arguments)

    monkeypatch.setattr(checkpoint, "load", slow)
    engines, seen = Engines(Shelf(), "cpu"), []

    def visit() -> None:
        with engines.use("mini", "float32") as model:
            seen.append(model)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(seen) == 4
    assert len({id(model) for model in seen}) == 1


# Files


def test_the_page_knows_which_models_are_here(tmp_path: Path) -> None:
    service = Service(Configuration(), tmp_path)
    assert service.here("facebook/musicgen-small")  # the tests' stand-in
    assert not service.here("facebook/musicgen-large")
    service.close()


def test_files_expire(tmp_path: Path) -> None:
    files = Files(tmp_path, hours=1)
    old, new = files.new("flac"), files.new("flac")
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    assert files.sweep() == 1
    assert not old.exists()
    assert new.exists()
    assert files.sweep(time.time() + 8000) == 1
    assert list((tmp_path / "clips").iterdir()) == [] if (tmp_path / "clips").exists() else True
    files.close()


def test_the_warm_up_makes_a_clip_and_keeps_none(tmp_path: Path) -> None:
    service = Service(Configuration(models=("mini",)), tmp_path)
    service.warm_up().join()
    assert service.warm.is_set()
    assert service.engines.loaded() == [("mini", "float32")]
    assert (tmp_path / "clips").is_dir()  # where it was
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert service.cost("mini", "float32", 1.0) is None  # it says nothing about how long others take
    service.close()


def test_a_service_that_ends_stops_its_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.service.REHEARSAL", 300.0)
    service = Service(Configuration(models=("mini",)), tmp_path)
    warming = service.warm_up()
    until(lambda: bool(service.engines.loaded()), 60)
    service.close()
    assert not warming.is_alive()


def test_a_format_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path, hours=1)
    with pytest.raises(InputError, match="unknown format"):
        files.convert(tmp_path / "clip.flac", "../../etc/passwd")
    with pytest.raises(InputError, match="has expired"):
        files.convert(tmp_path / "clip.flac", "wav")
    files.close()


# Pictures and melodies


def test_pictures_show_what_sounds() -> None:
    t = np.arange(64_000) / 32_000
    tone = np.stack([0.5 * np.sin(2 * np.pi * 1000 * t), np.zeros_like(t)]).astype(np.float32)
    wave = np.asarray(pictures.waveform(tone, 32_000))[..., 3]
    half = pictures.HEIGHT // 2
    assert wave[:half].sum() > 10 * wave[half:].sum()
    seen = np.asarray(pictures.spectrogram(tone, 32_000))[..., 3].sum(axis=1)
    expected = pictures.HEIGHT * (1 - np.log(1000 / 30) / np.log(16_000 / 30))
    assert abs(int(seen.argmax()) - expected) < 4
    grid = np.asarray(pictures.chromagram([0, 11]))[..., 3]
    assert grid[-4, 5] > 0  # C at the bottom, first
    assert grid[4, pictures.WIDTH - 5] > 0  # B at the top, last
    assert grid[4, 5] == 0
    over = np.asarray(pictures.followed([0, 11], [0, 5, 0, 11]))
    middle, edge = slice(4, None, 8), slice(0, None, 8)  # of the rows, B first
    columns = over[:, pictures.WIDTH // 8 :: pictures.WIDTH // 4]  # the middle of each frame
    bars = (columns[middle] == (*pictures.ACCENT, 255)).all(axis=-1)
    assert [11 - int(column.argmax()) for column in bars.T] == [0, 5, 0, 11]
    assert (bars.sum(axis=0) == 1).all()
    cells = (columns[edge] == pictures.PALE).all(axis=-1)
    assert [11 - int(column.argmax()) for column in cells.T] == [0, 11, 0, 11]  # the shorter one repeats
    for samples in (np.zeros((1, 10), np.float32), np.zeros((2, 3), np.float32)):
        pictures.waveform(samples, 32_000)
        pictures.spectrogram(samples, 32_000)
    assert pictures.data_url(pictures.chromagram([3])).startswith("data:image/png;base64,")


def test_a_melody_is_heard_as_the_model_hears_it() -> None:
    frames = melody.extract(TUNE, separate=False)
    assert melody.as_tensor(frames).equal(chroma.of_audio(audio.read(TUNE)))
    assert melody.similarity(frames, frames) == 1.0
    assert melody.similarity([1, 2], [1, 2, 1, 3]) == 0.75
    with pytest.raises(InputError, match="no such audio file"):
        melody.extract(Path("nowhere.wav"), separate=False)


# Measuring


def test_measures_are_those_of_the_evaluation(tmp_path: Path) -> None:
    """The same clip and caption through the evaluation's own run give the same CLAP score."""
    from evaluation.embedders.cache import Cache
    from evaluation.embedders.registry import Embedders
    from evaluation.pipeline import scoring
    from evaluation.suites.items import Item
    from evaluation.suites.suite import load_suite
    from musicgen.samples import Writer

    captions = {"a": "calm piano", "b": "heavy rock"}
    writer, items = Writer(tmp_path / "clips", "ours"), []
    for seed, (name, caption) in enumerate(captions.items()):
        noise = torch.randn(1, 320_000, generator=torch.Generator().manual_seed(seed)) * 0.1
        clip = Audio(noise.cumsum(dim=1).sin() * 0.3, 32_000)
        writer.add(name, clip, prompt=caption, seed=seed, settings={})
        audio.write(tmp_path / f"{name}.flac", clip)
        items.append(Item(name, caption, tmp_path / f"{name}.flac"))
    results = scoring.score(
        load_suite("synth"), items, [tmp_path / "clips"], Embedders(), Cache(tmp_path / "cache"), metrics=["clap_mini"]
    )
    expected = results.systems[0].score("clap_mini").clips
    for name, caption in captions.items():
        file = next(file for file in (tmp_path / "clips").rglob("*.*") if file.stem.startswith(name))
        (clap, chroma_figure) = Measuring().figures(file, caption, 0.25)
        assert clap.value == pytest.approx(expected[name], abs=1e-4)
        assert chroma_figure.value == 0.25
    assert Measuring().figures(file, "", None) == []


# Pieces


def test_pieces_of_a_timeline() -> None:
    request = Request("a", "mini", 40.0, timeline=(Section(10.0, "b"), Section(30.0, "c")))
    assert making.pieces(request, 50.0, 30.0) == [
        making.Piece(0, 500, 0, "a"),
        making.Piece(500, 1500, 500, "b"),
        making.Piece(1500, 2000, 600, "c"),
    ]
    assert making.pieces(request, 50.0, 30.0, given=12.0) == [
        making.Piece(0, 1500, 0, "b"),
        making.Piece(1500, 2000, 600, "c"),
    ]


@pytest.mark.parametrize("over", ["nothing", "a melody", "a continuation"])
def test_a_timeline_is_whole(tmp_path: Path, over: str) -> None:
    from musicgen import checkpoint

    engine = Scheduler(checkpoint.load("mini-melody", "cpu"), slots=1, chunk=making.CHUNK)
    audio.write(tmp_path / "begun.wav", Audio(audio.read(TUNE).wave[:, :16_000], 32_000))
    given = {"a melody": {"frames": tuple(range(12))}, "a continuation": {"continue_from": tmp_path / "begun.wav"}}
    plain = Request("a", "mini-melody", 1.0, **given.get(over, {}))
    request = dataclasses.replace(plain, duration=3.0, timeline=(Section(1.0, "b"), Section(2.0, "c")))
    steps: list[tuple[int, int]] = []
    wave = torch.cat(list(making.stream(engine, request, 1, lambda *step: steps.append(step))), dim=1)
    assert wave.shape == (1, 96_000)
    assert steps[-1] == (150, 150)
    assert [one for one, _ in steps] == sorted(one for one, _ in steps)
    # until the first change it is what the description alone gives
    alone = torch.cat(list(making.stream(engine, plain, 1, lambda *_: None)), dim=1)
    assert wave[:, :32_000].equal(alone)
    # and after it something else: the same piece goes on otherwise under one description
    same = torch.cat(list(making.stream(engine, dataclasses.replace(plain, duration=3.0), 1, lambda *_: None)), dim=1)
    assert not wave[:, 64_000:].equal(same[:, 64_000:])
    engine.close()


def test_a_step_at_a_joint_fades() -> None:
    after = making._joined(torch.tensor([[0.5]]), torch.zeros(1, 3_200), 32_000)
    assert after[0, 0] == 0.5
    assert after.diff().abs().max() < 0.01
    assert after[0, 320:].abs().max() == 0


def test_a_loop_ends_where_it_begins() -> None:
    t = torch.arange(320_000) / 32_000
    rising = Audio((t / 10)[None], 32_000)
    loop = making.seamless(rising)
    assert loop.duration == 9.0
    assert abs(float(loop.wave[0, 0] - loop.wave[0, -1])) < 0.001


# The service


def test_stop_keeps_what_was_made_and_leaving_does_not(tmp_path: Path) -> None:
    service = Service(Configuration(limits=Limits(per_visitor=3)), tmp_path)
    ticket = service.submit("me", Request("drums", "mini", 200.0))
    heard: list = []
    until(lambda: heard.extend(ticket.take()) or len(heard) > 1)
    assert service.stop("me") == 1
    assert ticket.wait(10)
    clip = ticket.take()[-1]
    assert not clip.complete
    assert 1.0 < clip.seconds < 200.0
    ticket = service.submit("me", Request("drums", "mini", 200.0))
    until(lambda: bool(ticket.take()))
    before = len(list(tmp_path.rglob("*.flac")))
    service.leave("me")
    assert ticket.wait(10)
    assert len(list(tmp_path.rglob("*.flac"))) == before
    assert service.cost("mini", "float32", 10.0) is None
    ticket = service.submit("me", Request("drums", "mini", 1.0))
    assert ticket.wait(10)
    assert service.cost("mini", "float32", 10.0) > 0
    service.close()


def test_a_clip_that_waits_is_stopped_at_once_and_memory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Configuration(), tmp_path)
    first = service.submit("me", Request("drums", "mini", 200.0))
    until(lambda: bool(first.take()))
    second = service.submit("you", Request("drums", "mini", 200.0))
    assert service.line.place(second) == 1
    assert service.stop("you") == 1
    assert second.done
    assert not first.done
    service.leave("me")
    assert first.wait(10)

    def exhausted(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(making, "stream", exhausted)
    ticket = service.submit("me", Request("drums", "mini", 10.0))
    assert ticket.wait(10)
    assert isinstance(ticket.failure, InputError)
    assert "not enough memory for 10 s with mini" in str(ticket.failure)
    service.close()


IMPATIENT = """
import sys
from pathlib import Path
from demo.configuration import Configuration
from demo.request import Request
from demo.service import Service
service = Service(Configuration(), Path(sys.argv[1]))
service.warm_up()
ticket = service.submit("me", Request("drums", "mini", 1.0))
assert ticket.wait(120)
print(repr(ticket.failure))
"""


def test_a_clip_asked_for_while_pytorch_is_being_imported(tmp_path: Path) -> None:
    """By a visitor who does not wait, in a fresh process: two threads import the same then."""
    command = [sys.executable, "-c", IMPATIENT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ran.stdout.strip() == "None", ran.stdout + ran.stderr


@pytest.mark.parametrize(("name", "codec"), [("memo.m4a", "aac"), ("page.webm", "libopus"), ("memo.mp4", "aac")])
def test_a_phones_and_a_browsers_recordings_are_heard(name: str, codec: str, tmp_path: Path) -> None:
    tune = audio.read(TUNE)
    file = encode(tmp_path / name, tune.wave, tune.rate, codec)
    service = Service(Configuration(), tmp_path / "clips")
    assert service.seconds_of(file) == pytest.approx(tune.duration, abs=0.08)
    frames = service.melody(file, separate=False)
    assert melody.similarity(melody.of_audio(tune), frames) > 0.85
    service.close()
