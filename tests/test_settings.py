"""The settings inside a file: every option comes back as the same bytes; what a stranger wrote is refused in a line."""

import argparse
import functools
import json
import struct
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given
from hypothesis import settings as configured
from hypothesis import strategies as some

import musicgen
from musicgen import audio, catalog
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.commands import generate
from musicgen.engine.precision import PRECISIONS
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.settings import KEY, SCHEMA, AdapterUse, Settings, SourceFile
from musicgen.timeline import TimelineEntry
from tests import standins
from tests.conftest import GOLDEN
from tests.fuzz import changed, refused

TUNE = str(GOLDEN / "chroma" / "melody_a.wav")
BEGUN = "begun.wav"
"""In the test's folder: what a clip continues."""

OPTIONS: dict[str, list[str]] = {
    "PROMPT": ["drums and “bass” 中文"],
    "--model": ["x", "--model", "mini"],
    "--duration": ["x", "--duration", "0.72"],
    "--melody": ["x", "--melody", TUNE],
    "--separation": ["x", "--melody", TUNE, "--separation"],
    "--no-separation": ["x", "--melody", TUNE, "--no-separation"],
    "--continue-from": ["x", "--continue-from", BEGUN, "--duration", "1"],
    "--seed": ["x", "--seed", "77"],
    "--loudness": ["x", "--loudness", "-30.5"],
    "--no-loudness": ["x", "--no-loudness"],
    "--limiter": ["x", "--limiter"],
    "--no-limiter": ["x", "--no-limiter"],
    "--no-watermark": ["x", "--no-watermark"],
    "--precision": ["x", "--precision", "int8"],
    "--greedy": ["x", "--greedy"],
    "--no-greedy": ["x", "--no-greedy"],
    "--temperature": ["x", "--temperature", "0.7"],
    "--top-k": ["x", "--top-k", "3"],
    "--top-p": ["x", "--top-p", "0.4"],
    "--guidance-scale": ["x", "--guidance-scale", "1"],
    "--melody-guidance-scale": ["x", "--melody", TUNE, "--melody-guidance-scale", "5"],
    "--chords": ["x", "--chords", "C G,E7 Am F"],
    "--bpm": ["x", "--chords", "C G Am F", "--bpm", "200"],
    "--metre": ["x", "--chords", "C G Am F", "--metre", "3/16"],
    "--negative-prompt": ["x", "--negative-prompt", "slow piano"],
    "--timeline": ["x", "--duration", "1.2", "--timeline", "0.4:drums|0.8 strings"],
    "--loop": ["x", "--loop"],
    "--no-loop": ["x", "--no-loop"],
    "--loop-cut": ["x", "--loop", "--loop-cut", "end"],
    "--loop-bars": ["x", "--loop", "--loop-bars", "2"],
    "--window-overlap": ["x", "--duration", "10.5", "--window-overlap", "0.8"],
}
"""Option -> arguments that use it."""
NOT_STORED = {
    "--help", "--output", "--from-file", "--device", "--c2pa-certificate", "--c2pa-key",
    "--play", "--rank", "--format", "--takes", "--prompts", "--batch-size", "--force",
}  # fmt: skip
"""Of the call, not of the clip."""
AS_WITHOUT = {"PROMPT", "--no-loop", "--no-separation", "--no-greedy", "--limiter", "--no-limiter", "--no-watermark"}
"""Those whose example is what happens anyway, or has nothing to be compared with."""


@pytest.fixture(scope="module", autouse=True)
def demucs(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    standins.publish_demucs(hub_cache, tmp_path_factory.mktemp("demucs"))


@pytest.fixture(scope="module", autouse=True)
def load_once():
    """Loading and compiling take longer than clips this short; a model is the same after making one."""
    from musicgen import checkpoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load", functools.cache(checkpoint.load))
        yield


def run(*arguments: str | Path) -> int:
    return main(["generate", *map(str, arguments)])


def test_every_option_is_tried() -> None:
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    flags = {
        flag
        for action in parser._actions
        for flag in (action.option_strings or ["PROMPT"])
        if flag.startswith(("--", "P"))
    }
    # Those that need a model of another kind: test_extensions.py, test_adapters.py, test_style.py, test_magnet.py,
    # test_multiband.py, test_watermark.py
    others = {
        "--condition-guidance",
        "--decoder",
        "--decoding-steps",
        "--masked-temperature",
        "--masked-top-p",
        "--masked-guidance",
        "--style",
        "--style-seconds",
        "--style-codebooks",
        "--style-guidance-scale",
        "--watermark",
    }
    assert flags == set(OPTIONS) | NOT_STORED | {"--condition", "--lora"} | others
    fields = {f"--{name.replace('_', '-')}" for name in GenerationOptions().as_dict()}
    assert fields - flags == {"--do-sample"}  # --greedy


@pytest.mark.parametrize("option", OPTIONS)
def test_from_file_gives_the_same_bytes(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write(BEGUN, Audio(audio.read(TUNE).wave[:, :16_000], 32_000))
    base = ["--model", "mini-melody", "--duration", "0.6", "--seed", "5"]
    arguments = OPTIONS[option]
    assert run(*base, *arguments, "--output", "first.wav") == 0
    sources = [one for flag in ("--melody", "--continue-from") if flag in arguments
               for one in (flag, arguments[arguments.index(flag) + 1])]  # fmt: skip
    assert run("--from-file", "first.wav", *sources, "--output", "again.wav") == 0
    assert Path("again.wav").read_bytes() == Path("first.wav").read_bytes()
    if option not in AS_WITHOUT:
        known = [one for flag in ("--melody",) if flag in arguments and option != flag for one in (flag, TUNE)]
        longer = ["--duration", arguments[arguments.index("--duration") + 1]] if "--duration" in arguments[2:] else []
        longer = [] if option == "--duration" else longer
        assert run(*base, "x", *known, *longer, "--output", "plain.wav") == 0
        assert audio.read("plain.wav").wave.tolist() != audio.read("first.wav").wave.tolist()


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_all_at_once_in_every_format(extension: str, tmp_path: Path) -> None:
    first, again = tmp_path / f"first{extension}", tmp_path / f"again{extension}"
    options = ["--no-loudness", "--precision", "int4", "--top-k", "9", "--top-p", "0.9", "--melody", TUNE, "--temperature", "2",
               "--guidance-scale", "2", "--melody-guidance-scale", "4", "--negative-prompt", "noise " * 40]  # fmt: skip
    assert run("a " * 200, "--model", "mini-stereo-melody", "--duration", "0.6", *options, "--output", first) == 0
    assert run("--from-file", first, "--melody", TUNE, "--output", again) == 0
    if extension == ".ogg":  # its stream has a serial number, drawn anew
        assert audio.read(again).wave.equal(audio.read(first).wave)
        assert audio.read_comment(again) == audio.read_comment(first)
    else:
        assert again.read_bytes() == first.read_bytes()


def test_a_clip_of_a_batch_is_made_again_alone(tmp_path: Path) -> None:
    assert run("a", "slow piano, calm, in C", "", "-m", "mini", "-d", "0.6", "--seed", "3", "-o", tmp_path) == 0
    for file in sorted(tmp_path.iterdir()):
        assert run("--from-file", file, "-o", tmp_path / "again.wav", "--force") == 0
        assert (tmp_path / "again.wav").read_bytes() == file.read_bytes()


def test_arguments_override_what_is_stored(tmp_path: Path) -> None:
    first, again = tmp_path / "first.wav", tmp_path / "again.wav"
    run("x", "-m", "mini-melody", "-d", "0.6", "--no-loudness", "--greedy", "--precision", "int8", "--melody", TUNE,
        "--melody-guidance-scale", "2", "--negative-prompt", "noise", "-o", first)  # fmt: skip
    assert run("--from-file", first, "--melody", TUNE, "--separation", "--loudness", "-20", "--no-greedy", "--seed", "3",
               "--precision", "auto", "--melody-guidance-scale", "none", "--negative-prompt", "", "-o", again) == 0  # fmt: skip
    settings = Settings.of_file(again)
    assert (settings.loudness, settings.precision, settings.separate, settings.seed) == (-20.0, "float32", True, 3)
    assert settings.options == GenerationOptions(negative_prompt="")


# Models


def test_a_folder_is_named_and_has_to_be_passed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Also where a model of its name comes with the package, and where the folder lies in reach."""
    monkeypatch.chdir(tmp_path)
    folder = standins.write(standins.transformers_model(), tmp_path / "mini")
    assert run("x", "-m", folder, "-d", "0.5", "-o", "clip.wav") == 0
    assert str(tmp_path) not in audio.read_comment("clip.wav")
    assert run("--from-file", "clip.wav", "-o", "again.wav") == 2
    assert "made with a model's folder named 'mini': pass the folder as --model" in capsys.readouterr().err
    assert run("--from-file", "clip.wav", "-m", "mini/", "-o", "again.wav") == 0
    assert Path("again.wav").read_bytes() == Path("clip.wav").read_bytes()


@pytest.mark.parametrize("name", ["{folder}", "./mini", "mini", "a/model", "../model", "nothing", "https://x.org/a/b"])
def test_a_stored_name_is_never_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "here" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    model = standins.transformers_model()
    for folder in ("mini", "a/model", "../model"):
        standins.write(model, Path(folder))
    settings = Settings("0", name.format(folder=tmp_path / "model"), "x", 0.5, 1)
    audio.write("clip.wav", Audio(torch.zeros(1, 320), 32_000), settings.comment())
    code = run("--from-file", "clip.wav", "-o", "out.wav")
    told = capsys.readouterr()
    if name == "mini":  # the embedded one, not the folder of its name
        assert code == 0
        expected = musicgen.load(catalog.PRETRAINED / "mini").generate("x", 0.5, seed=1)[0]
        expected = audio.normalise_loudness(Audio(expected, 32_000)).wave
        assert (audio.read("out.wav").wave - expected).abs().max() < 1 / 32_768
    else:
        assert code == 2
        if name == "a/model":  # may be a repository's name, and is looked for there
            assert "'a/model' is not on this machine and the hub cannot be reached" in told.err
        else:
            assert "which is no model's name: pass its folder as --model" in told.err


# Strangers' files


def stored(**changes) -> str:
    values = json.loads(Settings("0.1.0", "mini", "x", 1.0, 3).comment())
    values[KEY] |= changes
    return json.dumps(values)


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("", "holds no settings of this program"),
        ("a comment", "holds no settings of this program"),
        ("[]", "holds no settings of this program"),
        ("3", "holds no settings of this program"),
        ("null", "holds no settings of this program"),
        ('{"musicgen": null}', "holds no settings of this program"),
        ("[" * 100_000, "holds no settings of this program"),
        ('{"musicgen": {}}', "its settings are damaged .version: Field required"),
        (
            stored(schema=SCHEMA + 1),
            f"newer version of this program .settings of schema {SCHEMA + 1}; the newest known here is {SCHEMA}",
        ),
        (stored(seed="3"), "damaged .seed: Input should be a valid integer"),
        (stored(seed=-3), "damaged .seed is -3"),
        (stored(duration=None), "damaged .duration: Input should be a valid number"),
        (stored(duration=1e9), r"damaged .duration is 1e\+09 s: it must be above 0"),
        (stored(options=[]), "damaged .options: Input should be an object"),
        (stored(options={"top_k": 2.5}), r"damaged .options\.top_k: Input should be a valid integer"),
        (stored(options={"top_q": 2}), r"damaged .options\.top_q: Unexpected"),
        (stored(loudness=40), "damaged .loudness is 40 LUFS"),
        (stored(melody={"name": 3, "sha256": ""}), r"damaged .melody\.name: Input should be a valid string"),
        (stored(melody="x"), "damaged .melody: Input should be an object"),
        (stored(prompt="\ud800"), "its settings are damaged"),
        (stored(precision="int3"), "damaged .unknown precision 'int3'"),
        (stored(surprise=1), "damaged .surprise: Unexpected"),
    ],
)
def test_what_is_no_settings_is_a_line(comment: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^my\.wav: .*{message}") as caught:
        Settings.from_comment(comment, "my.wav")
    assert "\n" not in str(caught.value)


def test_the_first_schema_is_read() -> None:
    """As version 0.1.0 wrote it."""
    values = {"version": "0.1.0", "model": "mini", "prompt": "x", "duration": 1.5, "seed": 3, "loudness": None, "melody": None,
              "options": GenerationOptions(top_k=5).as_dict(), "separate": True, "continue_from": None}  # fmt: skip
    settings = Settings.from_comment(json.dumps({KEY: values}), "old.wav")
    assert (settings.precision, settings.loudness, settings.options.top_k) == ("float32", None, 5)


@given(
    some.builds(
        Settings,
        version=some.text(),
        model=some.text(),
        prompt=some.none() | some.text(),
        duration=some.floats(0.01, 600),
        seed=some.integers(0, 2**63 - 1),
        options=some.builds(
            GenerationOptions,
            do_sample=some.booleans(),
            temperature=some.floats(0.001, 100),
            top_k=some.integers(0, 10**9),
            top_p=some.floats(0, 1),
            guidance_scale=some.floats(1.5, 100),
            melody_guidance_scale=some.none() | some.floats(0, 100),
            negative_prompt=some.none() | some.text(),
            window_overlap=some.floats(0, 0.9),
        ),
        loudness=some.none() | some.floats(-70, 0),
        melody=some.none() | some.builds(SourceFile, name=some.text(), sha256=some.text()),
        separate=some.none() | some.booleans(),
        precision=some.sampled_from(PRECISIONS),
        model_folder=some.booleans(),
        beyond=some.lists(some.text()).map(tuple),
    )
)
def test_settings_come_back(settings: Settings) -> None:
    comment = settings.comment()
    assert comment.isascii()
    assert Settings.from_comment(comment, "x") == settings


@pytest.mark.parametrize("name", ["x.m4a", "x.mka", "x.mp3", "x.opus", "x.flac"])
def test_settings_outlive_a_conversion_that_keeps_tags(name: str, tmp_path: Path) -> None:
    clip, converted = tmp_path / "clip.wav", tmp_path / name
    audio.write(clip, Audio(torch.zeros(1, 9_600), 48_000), stored(prompt="né " * 200))
    with av.open(str(clip)) as source, av.open(str(converted), "w") as target:
        target.metadata.update(source.metadata)
        stream = target.add_stream(
            {".m4a": "aac", ".mp3": "libmp3lame", ".flac": "flac"}.get(converted.suffix, "libopus"), 48_000
        )
        for frame in source.decode(source.streams.audio[0]):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    assert Settings.of_file(converted) == Settings.of_file(clip)


COMPLETE = json.loads(
    Settings(
        "0.1.0",
        "mini",
        "x",
        2.0,
        3,
        options=GenerationOptions(top_k=5),
        melody=SourceFile("a.wav", "0" * 64),
        adapters=(AdapterUse("lofi", "0" * 64, 1.0),),
        timeline=(TimelineEntry(1.0, "y"),),
    ).comment()
)


@configured(deadline=None, max_examples=150)
@given(changed(COMPLETE), some.binary(max_size=2), some.integers(0, 500))
def test_any_settings_are_read_or_refused_in_a_line(values: dict, noise: bytes, place: int) -> None:
    comment = json.dumps(values)
    for text in (comment, comment[:place] + noise.decode("latin-1") + comment[place + 1 :]):
        refused(lambda text=text: Settings.from_comment(text, "my.wav"))


def test_any_cut_and_any_size_of_a_wav_is_read_or_refused(tmp_path: Path) -> None:
    """No cut file and no chunk that lies about its size is more than a line; whole chunks of others in front do no harm."""
    path = tmp_path / "clip.wav"
    audio.write(path, Audio(torch.zeros(1, 64), 32_000), stored())
    whole = path.read_bytes()
    for cut in range(4, len(whole)):
        path.write_bytes(whole[:cut])
        assert audio.read_comment(path) == ""
    place = whole.index(b"ICMT") + 4
    for size in (0, 1, 2**31, 2**32 - 1):
        path.write_bytes(whole[:place] + struct.pack("<I", size) + whole[place + 4 :])
        assert len(audio.read_comment(path)) <= 1
    place = whole.index(b"LIST")
    info = b"INFOISFT" + struct.pack("<I", 3) + b"abc\0" + whole[place + 12 :]
    path.write_bytes(whole[:place] + b"LIST" + struct.pack("<I", len(info)) + info)
    assert audio.read_comment(path) == stored()
