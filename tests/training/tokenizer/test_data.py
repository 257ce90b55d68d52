"""Crops are parts of the files; files that cannot be read are listed."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.training.manifest import find
from musicgen.training.tokenizer.config import Data
from musicgen.training.tokenizer.data import SCALE, CropPool, load
from tests.encoding import encode, melody

RATE = 8000


def folder(path: Path, count: int = 6, channels: int = 1) -> Path:
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        wave = 0.2 * torch.randn(channels, RATE + 100 * i, generator=generator)
        audio.write(path / f"{i}.wav", Audio(wave, RATE))
    return path


def data(path: Path, **options: float) -> Data:
    return Data(str(path), validation_files=1, **options)


def test_every_crop_is_a_piece_of_one_track_and_all_occur() -> None:
    tracks = [torch.arange(0, 5), torch.arange(100, 103), torch.arange(200, 201)]
    pool = CropPool([track.to(torch.int16) for track in tracks], crop=3)
    assert pool.num_starts == 3 + 1 + 1  # the last track is filled up with silence
    waves = pool.draw(500, 0.0, torch.Generator().manual_seed(0))
    assert waves.shape == (500, 1, 3)
    found = {tuple((wave[0] * SCALE).round().int().tolist()) for wave in waves}
    assert found == {(0, 1, 2), (1, 2, 3), (2, 3, 4), (100, 101, 102), (200, 0, 0)}


def test_gain_only_turns_down_and_stays_in_range() -> None:
    pool = CropPool([torch.full((100,), 10_000, dtype=torch.int16)], crop=10)
    levels = pool.draw(400, 6.0, torch.Generator().manual_seed(0))[:, 0, 0] * SCALE / 10_000
    assert levels.max() <= 1.0
    assert levels.min() >= 10 ** (-6 / 20)
    assert levels.max() - levels.min() > 0.45


def test_same_generator_same_crops() -> None:
    pool = CropPool([torch.arange(1000).to(torch.int16)], crop=10)
    draws = [pool.draw(8, 6.0, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*draws)


def test_files_come_back_whole_and_resampled(tmp_path) -> None:
    corpus = load(data(folder(tmp_path)), RATE, 800, seed=0)
    assert len(corpus.held_out) == 1
    total = sum(RATE + 100 * i for i in range(6))
    held = int(corpus.held_out[0][0][0])
    assert len(corpus.pool.samples) == total - (RATE + 100 * held)
    doubled = load(data(tmp_path), 2 * RATE, 800, seed=0)
    assert len(doubled.pool.samples) == 2 * len(corpus.pool.samples)


def test_channels_are_examples_of_their_own_and_doubled_mono_is_one(tmp_path) -> None:
    folder(tmp_path / "stereo", channels=2)
    wave = audio.read(tmp_path / "stereo" / "0.wav").wave[:1]
    for i in range(4):
        audio.write(tmp_path / "mono" / f"{i}.wav", Audio(wave.expand(2, -1), RATE))
    stereo = load(data(tmp_path / "stereo"), RATE, 800, seed=0)
    held = int(stereo.held_out[0][0][0])
    assert len(stereo.pool.samples) == 2 * (sum(RATE + 100 * i for i in range(6)) - (RATE + 100 * held))
    assert len(load(data(tmp_path / "mono"), RATE, 800, seed=0).pool.samples) == 3 * RATE


def test_corrupt_files_are_counted_and_named(tmp_path, caplog) -> None:
    folder(tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, or so it says")
    (tmp_path / "empty.flac").write_bytes(b"")
    corpus = load(data(tmp_path), RATE, 800, seed=0)
    assert len(corpus.failed) == 2
    assert any("broken.wav" in line for line in corpus.failed)
    assert "empty.flac" in caplog.text


def test_a_memory_limit_leaves_files_out_and_says_so(tmp_path, caplog) -> None:
    for i in range(6):
        audio.write(tmp_path / f"{i}.wav", Audio(0.2 * torch.randn(1, 30 * RATE), RATE))
    corpus = load(data(tmp_path, max_gigabytes=1e-3), RATE, 800, seed=0)  # a file takes 480 kB of 1000
    assert len(corpus.pool.samples) == 2 * 30 * RATE
    assert corpus.left_out == 3
    assert "left out" in caplog.text


def test_a_manifest_lists_files_beside_it(tmp_path) -> None:
    folder(tmp_path / "audio")
    lines = [json.dumps({"path": f"audio/{i}.wav", "description": "noise"}) for i in (3, 1)]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n\n")
    assert find(manifest) == [tmp_path / "audio" / "3.wav", tmp_path / "audio" / "1.wav"]
    manifest.write_text('{"path": "a.wav"}\n{"file": "b.wav"}\n')
    with pytest.raises(InputError, match=r"manifest\.jsonl:2: .*names no file: .* with the field \"path\""):
        find(manifest)


@pytest.mark.parametrize("name", ["nothing-here", "empty"])
def test_no_audio_is_an_error(tmp_path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        find(tmp_path / name)


def test_too_few_files_are_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match="3 audio files: at least 4"):
        load(data(folder(tmp_path, count=3)), RATE, 800, seed=0)


def test_every_format_counts_and_what_is_no_audio_is_named(tmp_path, caplog) -> None:
    folder(tmp_path, 4)
    wave = melody(1.0, RATE)
    encode(tmp_path / "memo.m4a", wave, RATE, "aac")
    encode(tmp_path / "page.webm", wave, RATE, "libopus")
    encode(tmp_path / "radio.opus", wave, RATE, "libopus")
    soundfile.write(tmp_path / "old.aiff", wave[0].numpy(), RATE)
    (tmp_path / "damaged.wma").write_bytes(b"no sound")
    (tmp_path / "cover.jpg").write_bytes(b"")
    (tmp_path / "old.json").write_text("{}")
    assert len(find(tmp_path)) == 9
    assert "1 file is no audio by the name, and not used: 1 .jpg" in caplog.text
    corpus = load(data(tmp_path), RATE, 800, seed=0)
    assert len(corpus.failed) == 1
    assert "damaged.wma: not readable as audio" in corpus.failed[0]
    seconds = (len(corpus.pool.samples) + len(corpus.held_out[0][1])) / RATE
    assert seconds == pytest.approx(sum(1 + i / 80 for i in range(4)) + 4, abs=0.3)
