"""Audio -> shards: the codes are the tokeniser's, the melody is the chroma's, and what cannot be used is listed."""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from musicgen import audio, chroma
from musicgen.checkpoint import components
from musicgen.errors import InputError
from musicgen.tokenizers import StereoTokenizer
from musicgen.training.lm.config import Data
from musicgen.training.lm.prepare import prepare
from musicgen.training.lm.shards import iterate, read_index, read_shard
from tests.training.lm.conftest import NUM_CLIPS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path):
    return components.audio_tokenizer(str(tokenizer_folder))


def data(music: Path, **values) -> Data:
    return Data(path=str(music), melody="mix", **({"lanes": 2, "validation": 2} | values))


def test_codes_and_melody_are_those_of_the_file(music: Path, tokenizer, tmp_path: Path) -> None:
    index = prepare(data(music), tmp_path / "tokens", tokenizer, "mix", 0, CPU)
    assert read_index(str(tmp_path / "tokens")) == index
    assert sum(index.train.values()) == NUM_CLIPS - 2
    assert sum(index.valid.values()) == 2
    assert len(index.train) >= 2  # a shard for every lane
    samples = [*iterate(str(tmp_path / "tokens"), index.train), *iterate(str(tmp_path / "tokens"), index.valid)]
    assert sum(sample.codes.shape[1] for sample in samples[: NUM_CLIPS - 2]) == index.frames
    seen = set()
    for sample in samples:
        name = f"tone-{sample.metadata['bpm'] - 60:02d}"
        seen.add(name)
        recording = audio.read(music / f"{name}.flac")
        assert sample.metadata == json.loads((music / f"{name}.json").read_text())
        expected = tokenizer.encode(recording.mono().wave[None])[0]
        assert np.array_equal(sample.codes, expected.numpy())
        # The chroma of the whole file, at its own hop: every 6.4 frames.
        whole = chroma.of_audio(recording).argmax(-1)
        at = [min(round(i * Fraction(chroma.HOP, 640)), len(sample.chroma) - 1) for i in range(len(whole) - 1)]
        assert np.array_equal(sample.chroma[at], whole[:-1].numpy())
    assert len(seen) == NUM_CLIPS


def test_chroma_at_any_samples_is_the_chroma() -> None:
    wave = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    at_the_hop = chroma.chroma_at(wave, torch.arange(chroma.num_frames(50_000)) * chroma.HOP)
    torch.testing.assert_close(at_the_hop, chroma.chroma(wave), atol=1e-5, rtol=1e-4)


def test_stereo_has_twice_the_codebooks(music: Path, tokenizer, tmp_path: Path) -> None:
    stereo = StereoTokenizer(tokenizer)
    index = prepare(data(music), tmp_path / "tokens", stereo, "none", 0, CPU)
    sample = next(iterate(str(tmp_path / "tokens"), index.valid))
    recording = audio.read(music / f"tone-{sample.metadata['bpm'] - 60:02d}.flac")
    assert np.array_equal(sample.codes, stereo.encode(recording.wave[None])[0].numpy())
    assert sample.chroma is None
    assert index.num_codebooks == 8
    assert index.channels == 2


@pytest.mark.slow
def test_processes_write_the_same_bytes(music: Path, tokenizer, tmp_path: Path) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        prepare(data(music, workers=workers), tmp_path / name, tokenizer, "mix", 0, CPU)
    for shard in (tmp_path / "one").glob("*.tar"):
        ours = read_shard(str(shard), len(read_shard(str(tmp_path / "two" / shard.name), _count(shard))))
        theirs = read_shard(str(tmp_path / "two" / shard.name), len(ours))
        assert all(
            np.array_equal(a.codes, b.codes) and a.metadata == b.metadata for a, b in zip(ours, theirs, strict=True)
        )


def _count(shard: Path) -> int:
    index = read_index(str(shard.parent))
    assert index is not None
    return (index.train | index.valid)[shard.name]


def test_what_cannot_be_used_is_listed_and_counted(music: Path, tokenizer, tmp_path: Path, caplog) -> None:
    folder = tmp_path / "music"
    shutil.copytree(music, folder)
    (folder / "broken.flac").write_bytes(b"not audio")
    (folder / "tone-03.json").write_text("{")
    lines = [{"path": file.name} for file in sorted(folder.glob("*.flac"))] + [{"path": "missing.wav"}]
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    index = prepare(data(folder / "manifest.jsonl"), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    assert len(index.not_used) == 3
    for name in ("broken.flac", "tone-03.json", "missing.wav"):
        assert sum(name in reason for reason in index.not_used) == 1
    assert "3 of 26 clips were not used" in caplog.text
    assert sum((index.train | index.valid).values()) == NUM_CLIPS - 1


def test_nothing_usable_leaves_nothing_behind(tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.wav").write_bytes(b"noise")
    with pytest.raises(InputError, match=r"12 cannot be used.*0?\.wav"):
        prepare(data(folder, texts=False), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    assert list(tmp_path.iterdir()) == [folder]


def test_too_few_clips(music: Path, tokenizer, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"path": str(music / "tone-00.flac")}))
    with pytest.raises(InputError, match="1 clip: at least 2 are needed"):
        prepare(data(manifest), tmp_path / "tokens", tokenizer, "none", 0, CPU)


def some(music: Path, folder: Path, count: int) -> Path:
    """A folder with the first clips and their sidecars."""
    folder.mkdir()
    for file in sorted(music.iterdir())[: 2 * count]:
        shutil.copy(file, folder)
    return folder


def test_two_clips_are_enough(music: Path, tokenizer, tmp_path: Path) -> None:
    index = prepare(data(some(music, tmp_path / "music", 2), lanes=1), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    assert (sum(index.train.values()), sum(index.valid.values()), index.described) == (1, 1, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_not_the_one_held_out(workers: int, music: Path, tokenizer, tmp_path: Path) -> None:
    """Whichever it is: of three clips one is damaged, and the other two are training and validation."""
    folder = some(music, tmp_path / "music", 3)
    for number in range(3 if workers == 0 else 1):
        whole = folder / f"tone-{number:02d}.flac"
        kept = whole.read_bytes()
        whole.write_bytes(b"not audio")
        tokens = tmp_path / f"tokens-{number}"
        index = prepare(data(folder, lanes=1, validation=1, workers=workers), tokens, tokenizer, "none", 0, CPU)
        whole.write_bytes(kept)
        assert (sum(index.train.values()), sum(index.valid.values())) == (1, 1)
        assert len(index.not_used) == 1
        used = {sample.metadata["bpm"] - 60 for sample in iterate(str(tokens), index.train | index.valid)}
        assert used == {0, 1, 2} - {number}


def test_music_without_texts_is_refused_before_it_is_encoded(music: Path, tokenizer, tmp_path: Path, caplog) -> None:
    folder = some(music, tmp_path / "music", 3)
    for sidecar in folder.glob("*.json"):
        sidecar.unlink()
    with pytest.raises(InputError, match=r"music: 0 of 3 clips have a description .*go on with --no-text"):
        prepare(data(folder), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    index = prepare(data(folder, lanes=1, texts=False), tmp_path / "without", tokenizer, "none", 0, CPU)
    assert index.described == 0
    # What fine-tuning tools write.
    (folder / "tone-00.txt").write_text("a low tone", encoding="utf-8")
    (folder / "metadata.csv").write_text("file_name,text\ntone-01.flac,a tone\n", encoding="utf-8")
    with caplog.at_level("INFO"):
        index = prepare(data(folder, lanes=1), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    assert "2 of 3 clips have a text" in caplog.text
    found = [sample.metadata for sample in iterate(str(tmp_path / "tokens"), index.train | index.valid)]
    assert sorted(fields.get("description", "") for fields in found) == ["", "a low tone", "a tone"]
    assert index.described == 2


def test_names_and_texts_that_are_no_utf8(music: Path, tokenizer, tmp_path: Path) -> None:
    """The name is kept as far as it is text; the clip of a damaged text is left out and named."""
    folder = some(music, tmp_path / "music", 3)
    for suffix in (".flac", ".json"):
        (folder / f"tone-00{suffix}").rename(folder / os.fsdecode(b"caf\xe9" + suffix.encode()))
    (folder / "tone-01.json").write_text('{"description": "x\\ud800y"}', encoding="utf-8")
    index = prepare(data(folder, lanes=1), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    assert len(index.not_used) == 1
    assert "tone-01.flac: its metadata holds bytes that are no UTF-8 text" in index.not_used[0]
    samples = list(iterate(str(tmp_path / "tokens"), index.train | index.valid))
    assert {sample.metadata["bpm"] for sample in samples} == {60, 62}
    assert read_index(str(tmp_path / "tokens")) == index


def test_a_manifest_line_without_a_path(tokenizer, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"path": "a.wav"}\n{"file": "b.wav"}\n')
    with pytest.raises(InputError, match=r":2: the fields file: names no file"):
        prepare(data(manifest), tmp_path / "tokens", tokenizer, "none", 0, CPU)


def test_shards_stream_from_object_storage(music: Path, tokenizer, tmp_path: Path) -> None:
    """fsspec's in-memory store stands for s3:// and its kin: the same calls."""
    index = prepare(data(music), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    store = fsspec.filesystem("memory")
    for file in (tmp_path / "tokens").iterdir():
        store.pipe(f"/bucket/{file.name}", file.read_bytes())
    assert read_index("memory://bucket") == index
    ours = list(iterate(str(tmp_path / "tokens"), index.train))
    theirs = list(iterate("memory://bucket", index.train))
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(ours, theirs, strict=True))


def test_a_damaged_shard_is_named(music: Path, tokenizer, tmp_path: Path) -> None:
    index = prepare(data(music), tmp_path / "tokens", tokenizer, "none", 0, CPU)
    name, count = next(iter(index.train.items()))
    shard = tmp_path / "tokens" / name
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(InputError, match=name):
        read_shard(str(shard), count)
    with pytest.raises(InputError, match="index says"):
        read_shard(str(tmp_path / "tokens" / list(index.train)[1]), 99)
