"""The command line as its users run it: files in, files out, one clear line and exit code 2 for what cannot be done."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

import musicgen
from musicgen import audio, catalog, checkpoint
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN
from tests.encoding import encode

MELODY = str(GOLDEN / "chroma" / "melody_a.wav")
pytestmark = pytest.mark.usefixtures("published_models")


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def assert_same_sound(first: Path, second: Path) -> None:
    """Equal codes decode alone and in a batch to within rounding, and each format rounds to 16 bits in its own way."""
    torch.testing.assert_close(audio.read(first).wave, audio.read(second).wave, atol=2 / 32_768, rtol=0)


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_generate_writes_a_clip_that_tells_how_it_was_made(extension: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / f"clip{extension}"
    assert run("generate", "ein Stück für Klavier", "--model", "facebook/musicgen-small", "--duration", "1.5", "--seed", 7,
               "--top-k", 20, "--negative-prompt", "noise", "--output", path) == 0  # fmt: skip
    printed = capsys.readouterr()
    assert re.search(rf"{path}  seed 7  1\.50 s  32000 Hz  mono  -1\d\.\d LUFS", printed.out)
    assert "transformers" not in printed.err  # nothing but the progress bar
    clip = audio.read(path)
    assert clip.duration == pytest.approx(1.5, abs=0.1)
    # The random model's noise is nothing but peaks, of which the limiter takes off so much and no more.
    assert -17 < audio.loudness(clip) < -13.8
    settings = Settings.of_file(path)
    assert settings.prompt == "ein Stück für Klavier"
    assert (settings.model, settings.duration, settings.seed) == ("facebook/musicgen-small", 1.5, 7)
    assert settings.options == musicgen.GenerationOptions(top_k=20, negative_prompt="noise")

    assert run("generate", "--from-file", path, "--output", tmp_path / "again.flac") == 0
    assert Settings.of_file(tmp_path / "again.flac") == settings
    if extension in (".wav", ".flac"):
        assert_same_sound(tmp_path / "again.flac", path)


def test_the_shell_and_python_give_the_same_music(tmp_path: Path) -> None:
    run("generate", "drums", "--model", "facebook/musicgen-small", "--duration", 1, "--seed", 3, "--no-loudness",
        "--output", tmp_path / "clip.wav")  # fmt: skip
    wave = musicgen.load("facebook/musicgen-small").generate(["drums"], 1.0, seed=3)[0]
    torch.testing.assert_close(audio.read(tmp_path / "clip.wav").wave, wave.clamp(-1, 1), atol=1 / 32_768, rtol=0)


def test_several_prompts_fill_a_folder(tmp_path: Path) -> None:
    assert run("generate", "90s rock song!", "", "sad jazz", "--model", "facebook/musicgen-small", "--duration", 0.5,
               "--seed", 1, "--output", tmp_path / "out") == 0  # fmt: skip
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00-90s-rock-song-1.wav", "01-unconditional-2.wav", "02-sad-jazz-3.wav"]
    # Clip 2 alone, by its own seed.
    run("generate", "--from-file", tmp_path / "out" / names[2], "--output", tmp_path / "alone.wav")
    assert_same_sound(tmp_path / "alone.wav", tmp_path / "out" / names[2])


def test_melody_and_continuation(tmp_path: Path, capsys) -> None:
    first = tmp_path / "first.wav"
    arguments = ["--model", "facebook/musicgen-melody", "--no-separation", "--seed", 5]
    assert run("generate", "piano", *arguments, "--melody", MELODY, "--duration", 1, "--output", first) == 0
    settings = Settings.of_file(first)
    assert settings.melody.name == "melody_a.wav"
    assert not settings.separate
    assert str(GOLDEN) not in audio.read_comment(first)
    assert run("generate", "piano", *arguments, "--continue-from", first, "--duration", 2,
               "--output", tmp_path / "longer.wav") == 0  # fmt: skip
    assert audio.read(tmp_path / "longer.wav").duration == 2.0

    # The melody itself is not stored: it has to be passed again, and another one is pointed out.
    capsys.readouterr()
    assert run("generate", "--from-file", first, "--output", tmp_path / "again.wav") == 2
    assert "made with the file 'melody_a.wav': pass it again as --melody" in capsys.readouterr().err
    assert run("generate", "--from-file", first, "--melody", MELODY, "--output", tmp_path / "again.wav") == 0
    assert_same_sound(tmp_path / "again.wav", first)
    other = GOLDEN / "chroma" / "melody_b.wav"
    run("generate", "--from-file", first, "--melody", other, "--output", tmp_path / "other.wav")
    assert f"warning: {other} is not the file 'melody_a.wav'" in capsys.readouterr().err


def test_names_take_nobodys_place(tmp_path: Path) -> None:
    """The same description and seed with another model; descriptions in other scripts; those without any letter."""
    for model in ("mini", "facebook/musicgen-small"):
        assert run("generate", "rock", "-m", model, "-d", 0.5, "--seed", 1, "-o", tmp_path) == 0
    first, second = (Settings.of_file(tmp_path / name).model for name in ("00-rock-1.wav", "00-rock-1-2.wav"))
    assert (first, second) == ("mini", "facebook/musicgen-small")
    prompts = ["Привет, мир", "日本の歌", "ça va", "🎵", "🎹", " ", "x" * 300]
    assert run("generate", *prompts, "-m", "facebook/musicgen-small", "-d", 0.5, "--seed", 5, "-o", tmp_path / "b") == 0
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names[:3] == ["00-привет-мир-5.wav", "01-日本の歌-6.wav", "02-ça-va-7.wav"]
    assert re.fullmatch(r"03-prompt-\w{8}-8\.wav", names[3])
    assert names[3][10:18] != names[4][10:18]
    assert names[5:] == ["05-unconditional-10.wav", f"06-{'x' * 40}-11.wav"]


def test_unknown_words_are_pointed_out(tmp_path: Path, capsys) -> None:
    assert (
        run("generate", "音楽", "slow piano", "-m", "mini", "-d", 0.5, "--negative-prompt", "né", "-o", tmp_path) == 0
    )
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: mini does not know 100% of '音楽', and follows the rest alone",
        "warning: mini does not know 50% of 'né', and follows the rest alone",
    ]


def test_files_that_were_given_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write("tune.wav", audio.read(MELODY))
    (tmp_path / "link.wav").symlink_to("tune.wav")
    given = Path("tune.wav").read_bytes()
    for flag in ("--melody", "--continue-from", "--from-file"):
        for output in ("tune.wav", tmp_path / "tune.wav", "link.wav"):
            arguments = ["x", "-m", "facebook/musicgen-melody", flag, "tune.wav", "--output", output]
            if flag == "--from-file":
                audio.write("tune.wav", audio.read(MELODY), Settings("0", "mini", "x", 0.5, 1).comment())
                given = Path("tune.wav").read_bytes()
            assert run("generate", *arguments) == 2
            assert f"is the file given by {flag}, which it would overwrite" in capsys.readouterr().err
            assert Path("tune.wav").read_bytes() == given


def test_a_file_that_is_there_is_replaced_with_force_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    sound = audio.read(MELODY)
    audio.write("source.wav", audio.Audio(sound.wave[:, : 2 * sound.rate], sound.rate))
    commands = {
        "clip.wav": ["generate", "x", "-m", "mini", "-d", 0.5, "-o", "clip.wav"],
        "best.wav": ["generate", "x", "-m", "mini", "-d", 0.5, "--takes", 2, "--rank", "none", "-o", "best.wav"],
        "new.wav": ["repaint", "source.wav", "-m", "mini", "--span", "1:1.2", "--candidates", 1, "-o", "new.wav"],
        "source.zip": ["daw", "source.wav", "--no-stems"],
    }
    for name, command in commands.items():
        Path(name).write_text("mine")
        assert run(*command) == 2
        assert (
            capsys.readouterr().err
            == f"error: {name} is there already: choose another --output, or pass --force to replace it\n"
        )
        assert Path(name).read_text() == "mine"
        assert run(*command, "--force") == 0
        assert name in capsys.readouterr().out
        assert Path(name).stat().st_size > 4
    before = Path("source.wav").read_bytes()
    assert run(*commands["new.wav"][:-1], "source.wav", "--force") == 2
    assert "is the clip itself, which it would overwrite" in capsys.readouterr().err
    assert Path("source.wav").read_bytes() == before


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("file.wav/clip.wav", "Not a directory"),
        ("/proc/clip.wav", ""),
        (f"{'x' * 300}.wav", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_found_first(
    output: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.wav").write_text("mine")
    monkeypatch.setattr(checkpoint, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert run("generate", "x", "--seed", 1, "--output", output) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert reason in error
    assert len(error.splitlines()) == 1


def test_models_lists_what_can_be_loaded(capsys) -> None:
    assert run("models") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines["facebook/musicgen-small"].endswith("yes")
    assert lines["facebook/musicgen-large"].endswith("no")
    assert "CC-BY-NC" in lines["facebook/musicgen-stereo-melody-large"]
    assert "text + melody  stereo" in lines["facebook/musicgen-stereo-melody-large"]
    for name in catalog.embedded():
        model = musicgen.load(name)
        weights = (
            sum(
                one.numel()
                for part in (model.lm, *(one.projection for one in model.conditioners.values()))
                for one in part.parameters()
            )
            / 1e6
        )
        follows, channels = " + ".join(model.conditioners), "stereo" if model.channels == 2 else "mono"
        assert lines[name].split("  ")[0] == name
        assert [cell.strip() for cell in lines[name].split("  ") if cell][1:5] == [
            "music, 10 s", "text + melody" if "melody" in follows else "text", channels, f"{weights:.0f} M",
        ]  # fmt: skip


def test_models_lists_their_parts_and_adapters(hub_cache: Path, tmp_path: Path, capsys) -> None:
    mine = tmp_path / "adapters" / "lofi"
    mine.mkdir(parents=True)
    (mine / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "mini"}))
    (tmp_path / "adapters" / "notes").mkdir()
    assert run("models", "--adapters", tmp_path / "adapters") == 0
    out = capsys.readouterr().out
    assert "LoRA" not in out  # without weights it is none
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert lines["t5-base"].split()[-6:] == ["layout", "439", "MB", "Apache", "2.0", "yes"]
    assert lines["m-a-p/MERT-v1-95M"].endswith("377 MB       CC-BY-NC 4.0  no")
    assert lines["facebook/multiband-diffusion"].split()[-3:] == ["CC-BY-NC", "4.0", "no"]

    (mine / "adapter_model.safetensors").write_bytes(bytes(2_000_000))
    standins.publish(hub_cache, "someone/punk", mine)
    assert run("models", "--adapters", tmp_path / "adapters") == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    for name in ("someone/punk", str(mine)):
        assert lines[name] == [name, "mini", "2", "MB", "its", "author's"]
    assert run("models", "--adapters", tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err


def test_export_writes_both_layouts(tmp_path: Path, capsys) -> None:
    assert run("export", "facebook/musicgen-melody", tmp_path / "a") == 0
    assert run("export", tmp_path / "a", tmp_path / "b", "--layout", "audiocraft") == 0
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in (tmp_path / "a").iterdir()}
    first, second = musicgen.load("facebook/musicgen-melody"), musicgen.load(tmp_path / "b")
    assert all(
        torch.equal(a, b) for a, b in zip(first.lm.state_dict().values(), second.lm.state_dict().values(), strict=True)
    )
    capsys.readouterr()
    assert run("export", "facebook/musicgen-melody", tmp_path / "a") == 2
    assert "exists already" in capsys.readouterr().err


def test_export_says_nothing_but_its_files(tmp_path: Path) -> None:
    """In a process of its own: transformers says a warning once."""
    command = [sys.executable, "-m", "musicgen", "export", "mini-melody", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert result.stderr == ""
    assert all(line.startswith(str(tmp_path)) for line in result.stdout.splitlines())


def write_melodies(folder: Path) -> None:
    (folder / "text.wav").write_text("this is no audio")
    soundfile.write(folder / "short.wav", torch.rand(1_600).numpy(), 32_000)
    soundfile.write(folder / "seven.wav", torch.rand(192_000, 7).numpy(), 192_000)
    audio.write(folder / "silent.wav", Audio(torch.zeros(1, 64_000), 32_000))
    audio.write(folder / "plain.wav", Audio(torch.rand(1, 64_000), 32_000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no prompt: pass at least one description"),
        (["x", "--duration", "0"], "duration is 0 s: it must be above 0 and at most 600 s"),
        (["x", "--duration", "10000"], "duration is 10000 s"),
        (["x", "--temperature", "nan"], "temperature is nan: it must be a finite number"),
        (["x", "--guidance-scale", "inf"], "guidance_scale is inf"),
        (["x", "--loudness", "nan"], "loudness is nan LUFS"),
        (["x", "--loudness", "5"], "loudness is 5 LUFS: it must lie between -70 and 0"),
        (["x", "--seed", "-1"], "seed is -1"),
        (["x", "--device", "abacus"], "the device 'abacus' is not available here"),
        (["x", "--model", "facebook/musicgen-meldoy"], "did you mean 'facebook/musicgen-melody'"),
        (["x", "y", "--output", "one.wav"], "one.wav is one file, but there are 2 prompts"),
        (["x", "--output", "clip.aac"], "unknown audio format '.aac'"),
        (["x", "--melody", "missing.wav"], "missing.wav: cannot be read (No such file or directory)"),
        (["x", "--melody", "text.wav"], "text.wav: not readable as audio"),
        (["x", "--melody", "silent.wav"], "silent.wav is silent"),
        (["x", "--melody", "short.wav"], "short.wav is 0.050 s long: a melody needs 0.1 s at least"),
        (["x", "--melody", "seven.wav"], "seven.wav has 7 channels: 2 at most, so mix it down first"),
        (["x", "--melody", "plain.wav", "--model", "facebook/musicgen-small"], "follows text only"),
        (
            ["x", "--melody", "plain.wav", "--with-separation"],
            "unknown option --with-separation: did you mean --separation?",
        ),
        (["x", "--from-file", "plain.wav"], "plain.wav: holds no settings of this program"),
        (["x", "--continue-from", "plain.wav", "--duration", "1"], "is 2.00 s long and the result 1.00 s"),
        (["x" * 100_000], "tokens: the text encoder takes 512 at most"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    write_melodies(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    defaults = ["--no-separation"] + ([] if "--model" in arguments else ["--model", "facebook/musicgen-melody"])
    code = run("generate", *arguments, *defaults)
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("error: ")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from musicgen.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""
    arguments = [
        "generate",
        "x",
        "--model",
        "facebook/musicgen-small",
        "--duration",
        "1",
        "--output",
        tmp_path / "clip.wav",
    ]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert result.returncode == 2
    assert f"error: cannot write {tmp_path / 'clip.wav'} (0.1 MB): File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_runs_without_loading_anything_heavy() -> None:
    program = """
import sys
from musicgen.__main__ import main
try:
    main(["generate", "--help"])
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for flag in ("--melody", "--continue-from", "--guidance-scale", "--negative-prompt", "--window-overlap"):
        assert flag in result.stdout


def test_recordings_of_a_phone_and_a_browser(tmp_path: Path, capsys) -> None:
    """M4A as a voice memo has it, WebM as a browser records it."""
    tune, rate = audio.read(MELODY).wave[:, : 32_000 * 3 // 2], 32_000
    memo = encode(tmp_path / "memo.m4a", tune, rate, "aac")
    begun = encode(tmp_path / "begun.webm", tune, rate, "libopus")
    made = ["--model", "facebook/musicgen-melody", "--no-separation", "--seed", 5, "--no-loudness"]
    assert run("generate", "piano", *made, "--melody", memo, "--duration", 1, "--output", tmp_path / "a.wav") == 0
    assert (
        run("generate", "piano", *made, "--continue-from", begun, "--duration", 2, "--output", tmp_path / "b.wav") == 0
    )
    assert audio.read(tmp_path / "b.wav").duration == 2.0
    # What the formats cost is heard, the melody stays.
    model = musicgen.load("facebook/musicgen-melody")
    frames = [model.melody.prepare(file, separate=False).chroma(60) for file in (memo, begun)]
    soundfile.write(tmp_path / "tune.wav", tune[0].numpy(), rate)
    exact = model.melody.prepare(tmp_path / "tune.wav", separate=False).chroma(60)
    for each in frames:
        assert float((each * exact).sum(dim=1).mean()) > 0.85
    capsys.readouterr()
    encode(tmp_path / "long.m4a", torch.zeros(1, 8_000 * 601), 8_000, "aac")
    assert run("generate", "piano", "--model", "nowhere", "--melody", tmp_path / "long.m4a") == 2
    assert "long.m4a is longer than 600 s" in capsys.readouterr().err  # before the model is looked for
