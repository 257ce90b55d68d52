"""A clip that is heard or read while it is generated: `--play` and `--output -`."""

import io
import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import musicgen
from musicgen import audio
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.playback import Player
from musicgen.settings import Settings
from musicgen.wav_stream import WavStream
from tests import standins

SMALL = "facebook/musicgen-small"


@pytest.fixture(scope="module", autouse=True)
def models(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    small = standins.write(standins.transformers_model(), tmp_path_factory.mktemp("small"))
    standins.publish(hub_cache, SMALL, small)


def run(*arguments: str | Path | float) -> int:
    return main([str(argument) for argument in arguments])


def to_pipe(*arguments: str | Path | float) -> subprocess.Popen:
    """The command with its standard output in a pipe."""
    command = [sys.executable, "-m", "musicgen", "generate", *map(str, arguments), "-m", SMALL, "-o", "-"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)


def read_with_ffmpeg(file) -> tuple[np.ndarray, int]:  # type: ignore[no-untyped-def]
    """All samples [C, T] of a stream that cannot seek, as FFmpeg reads it."""
    with av.open(file, format="wav") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        stream = container.streams.audio[0]
        joined = np.concatenate(frames, axis=1).reshape(-1, stream.channels).T
        return joined / 32_768, stream.rate


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 700), max_size=4), st.integers(1, 2), st.sampled_from(["", '{"musicgen": 1}', "x" * 5_001])
)
def test_parts_join_to_the_file_that_is_written_whole(sizes: list[int], channels: int, comment: str) -> None:
    """FFmpeg and libsndfile read to the end; the samples are those that libsndfile writes."""
    wave = torch.rand(channels, sum(sizes), generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
    buffer = io.BytesIO()
    stream = WavStream(buffer, 32_000, channels, {"comment": comment})
    for part in wave.split(sizes, dim=1) if sizes else []:
        stream.write(part)
    expected, _ = soundfile.read(io.BytesIO(audio.encode(Audio(wave, 32_000), ".wav")), always_2d=True, dtype="int16")
    data = buffer.getvalue()
    found, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="int16")
    assert rate == 32_000
    np.testing.assert_array_equal(found, expected)
    if wave.shape[1]:
        np.testing.assert_array_equal(read_with_ffmpeg(_OneWay(data))[0], expected.T / 32_768)


class _OneWay:
    """Bytes that can be read once, from the beginning to the end, as those of a pipe."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def test_a_pipe_carries_the_clip_with_its_settings(tmp_path: Path) -> None:
    with to_pipe("drums", "-d", 1.5, "--seed", 3) as process:
        assert process.stdout is not None
        data = process.stdout.read()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 0
    assert "-  seed 3  1.50 s  32000 Hz  mono" in said
    (tmp_path / "piped.wav").write_bytes(data)
    assert (
        run("generate", "drums", "-d", 1.5, "--seed", 3, "-m", SMALL, "--no-loudness", "-o", tmp_path / "file.wav") == 0
    )
    expected = audio.read(tmp_path / "file.wav")
    for wave, rate in (read_with_ffmpeg(_OneWay(data)), soundfile.read(io.BytesIO(data), always_2d=True)):
        assert rate == expected.rate
        found = torch.from_numpy(np.ascontiguousarray(wave)).float().reshape(1, -1)
        torch.testing.assert_close(found, expected.wave, atol=2 / 32_768, rtol=0)
    piped, whole = Settings.of_file(tmp_path / "piped.wav"), Settings.of_file(tmp_path / "file.wav")
    assert piped == whole
    assert audio.read(tmp_path / "piped.wav").duration == pytest.approx(1.5)


def test_a_pipe_with_a_loudness_or_a_loop_carries_the_finished_clip(tmp_path: Path) -> None:
    for option in (("--loudness", -20), ("--loop", "--no-loudness")):
        with to_pipe("drums", "-d", 2, "--seed", 3, *option) as process:
            assert process.stdout is not None
            (tmp_path / "piped.wav").write_bytes(process.stdout.read())
        assert process.returncode == 0
        assert (
            run("generate", "drums", "-d", 2, "--seed", 3, "-m", SMALL, *option, "-o", tmp_path / "file.wav", "--force")
            == 0
        )
        found, expected = (audio.read(tmp_path / f"{name}.wav").wave for name in ("piped", "file"))
        torch.testing.assert_close(found, expected, atol=2 / 32_768, rtol=0)


def test_a_reader_that_leaves_ends_the_clip_in_one_line() -> None:
    with to_pipe("drums", "-d", 300) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        assert process.wait(timeout=60) == 2
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert "error: --output -: nobody reads the pipe any more" in said
    assert "Traceback" not in said


def test_a_pipe_takes_one_clip(capsys) -> None:
    assert run("generate", "a", "b", "-m", SMALL, "-o", "-") == 2
    assert "--output - is one clip, but there are 2 clips: pass a folder" in capsys.readouterr().err


class SoundCard(types.ModuleType):
    """What `sounddevice` is to the player: keeps what is played, and when a stream was stopped or broken off."""

    class PortAudioError(Exception):
        pass

    def __init__(self, broken: bool = False) -> None:
        super().__init__("sounddevice")
        card = self
        self.played: list[np.ndarray] = []
        self.log: list[str] = []
        self.first = threading.Event()

        class OutputStream:
            def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
                if broken:
                    raise card.PortAudioError("Error querying device -1")
                assert dtype == "float32"
                card.log.append(f"open {samplerate} {channels}")

            def start(self) -> None:
                card.log.append("start")

            def write(self, samples: np.ndarray) -> None:
                assert samples.dtype == np.float32
                assert samples.flags.c_contiguous
                card.first.set()
                card.played.append(samples.copy())

            def stop(self) -> None:
                card.log.append("stop")

            def abort(self) -> None:
                card.log.append("abort")

            def close(self) -> None:
                card.log.append("close")

        self.OutputStream = OutputStream


def test_play_hears_the_clip_while_it_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    command = ("generate", "drums", "piano", "-d", 1.5, "--seed", 3, "-m", SMALL)
    assert run(*command, "--play", "-o", tmp_path / "played") == 0
    assert card.log == ["open 32000 1", "start", "stop", "close"] * 2
    assert len(card.played) > 4  # in parts
    heard = torch.from_numpy(np.concatenate(card.played)).T
    model = musicgen.load(SMALL)
    expected = torch.cat(list(model.generate(["drums", "piano"], 1.5, seed=3)), dim=1).clamp(-1, 1)
    torch.testing.assert_close(heard, expected, atol=1e-4, rtol=0)
    # The files are those of a run without --play.
    assert run(*command, "-o", tmp_path / "quiet") == 0
    for file in (tmp_path / "quiet").iterdir():
        other = audio.read(tmp_path / "played" / file.name).wave
        torch.testing.assert_close(other, audio.read(file).wave, atol=2 / 32_768, rtol=0)


def test_a_loop_is_played_when_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    assert run("generate", "drums", "-d", 1, "--loop", "--play", "-m", SMALL, "-o", tmp_path / "a.wav") == 0
    (heard,) = card.played
    written = audio.read(tmp_path / "a.wav").wave
    torch.testing.assert_close(torch.from_numpy(heard.T), written, atol=1 / 32_768, rtol=0)


def test_an_interruption_is_silent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SoundCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)

    def interrupted() -> None:
        with Player(32_000, 1) as player:
            player.write(torch.zeros(1, 10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert card.log[-2:] == ["abort", "close"]


def test_a_machine_without_sound_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", SoundCard(broken=True))
    assert run("generate", "drums", "-d", 1, "--play", "-m", SMALL, "-o", tmp_path / "a.wav") == 2
    assert (
        "--play: the sound card cannot be opened (Error querying device -1): is one connected?"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    with pytest.raises(InputError, match="--play needs PortAudio: PortAudio library not found"):
        Player(32_000, 1)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError) as caught:
        Player(32_000, 1)
    assert str(caught.value) == '--play needs sounddevice, which is not installed: pip install "musicgen[play]"'


def test_the_settings_in_a_pipe_are_json() -> None:
    buffer = io.BytesIO()
    comment = Settings("1", SMALL, "ein Stück", 1.0, 0).comment()
    WavStream(buffer, 32_000, 2, {"comment": comment})
    with av.open(_OneWay(buffer.getvalue()), format="wav") as container:
        assert json.loads(container.metadata["comment"]) == json.loads(comment)
