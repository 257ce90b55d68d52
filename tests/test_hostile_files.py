"""Files that lie: about their sizes, about what they are, about where something is. Each is one line, and takes no memory."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import musicgen
from evaluation.metrics import reference_statistics
from evaluation.suites import suite
from human_study.design import documents, study_settings
from musicgen import npy, samples, textfiles, yaml_text
from musicgen.audio import Audio
from musicgen.checkpoint import adapters
from musicgen.errors import CheckpointError, InputError
from musicgen.training import recipe
from musicgen.training.lm import shards
from tests import standins
from tests.fuzz import refused
from tests.test_decoding import peak

# YAML


def laughs(levels: int = 10) -> str:
    """A list of ten lists of ten lists …: 10 to the power of `levels` values in a line for each level."""
    lines = ["- &a0 [" + ",".join(["x"] * 10) + "]"]
    lines += [f"- &a{level} [" + ",".join([f"*a{level - 1}"] * 10) + "]" for level in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "laughs": "title:\n" + "\n".join(f"  {line}" for line in laughs().splitlines()),
    "merged laughs": "a0: &a0 {x: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}" for n in range(1, 10)),
    "itself": "title: &a [*a]",
    "itself as a key": "&a {*a : 1}",
    "a Python object": "title: !!python/object/apply:os.system [exit]",
    "a Python name": "title: !!python/name:os.system",
    "a deep list": "title: " + "[" * 500,
    "a wrong date": "title: 2020-13-45",
}
READERS = {
    "study": study_settings.read,
    "recipe": recipe.read,
    "suite": suite.read_suite,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", READERS)
def test_a_yaml_bomb_is_a_line(tmp_path: Path, reader: str, bomb: str) -> None:
    file = tmp_path / "file.yaml"
    begun = time.monotonic()
    for text in (BOMBS[bomb], f"name: t\nsystems: {{a: x}}\nquestions: [OVL]\n{BOMBS[bomb]}"):
        file.write_text(text)
        read = READERS[reader]
        assert refused(lambda read=read: read(file))
    assert time.monotonic() - begun < 2


def test_plain_anchors_are_read() -> None:
    text = "base: &b {a: 1, c: [1, 2]}\nother: {<<: *b, a: 2}\nagain: *b\nday: 2020-01-02\n---\n"
    assert yaml_text.parse(text.removesuffix("---\n")) == yaml.safe_load(text.removesuffix("---\n"))
    assert yaml_text.parse("") is None
    with pytest.raises(yaml.YAMLError):
        yaml_text.parse(text + "x: 1")


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)))  # fmt: skip
def test_what_pyyaml_writes_is_read(value: object) -> None:
    assert yaml_text.parse(yaml.safe_dump(value)) == yaml.safe_load(yaml.safe_dump(value))


def test_a_packed_text_that_unpacks_to_more_than_it_may_is_refused(tmp_path: Path) -> None:
    """Two megabytes that hold two gigabytes, in parts, as gzip allows."""
    file = tmp_path / "manifest.jsonl.gz"
    file.write_bytes(gzip.compress(b" " * 2**26, 9) * 32)
    program = """
from musicgen import textfiles
from musicgen.errors import InputError
textfiles.MOST_BYTES = 50_000_000
before = megabytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
try:
    textfiles.read(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""
    text, used = peak(program, file)
    assert "unpacks to more than 50 MB" in text
    assert used < 250


# NumPy's files


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["<i2", ">f4", "u1", "<f8", "<U3"]), st.lists(st.integers(0, 4), max_size=3), st.booleans())
def test_arrays_come_back(kind: str, shape: list[int], fortran: bool) -> None:
    array = np.zeros(shape, kind, order="F" if fortran else "C")
    array.reshape(-1)[:] = np.arange(array.size).astype(kind) if kind != "<U3" else "ab"
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    again = npy.read(buffer.getvalue())
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


def header(shape: str, dtype: str = "'<i2'", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


LIES = {
    "terabytes": header("(1000000000000,)") + b"\0" * 8,
    "overflow": header("(9223372036854775807, 9223372036854775807)") + b"\0" * 8,
    "negative": header("(-1,)") + b"\0" * 8,
    "objects": header("(1,)", "'|O'") + pickle.dumps("x"),
    "more than it says": header("(1,)") + b"\0" * 8,
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "another version": header("(4,)", version=b"\x09\x00") + b"\0" * 8,
    "a header that does not end": header("(0, 4)").replace(b"}", b"{"),
    "a header that is nested deeply": header("(" * 3_000 + ")" * 3_000),
    "nothing": b"",
    "code": header("__import__('os').system('exit')") + b"\0" * 8,
}


def tar(files: dict[str, bytes], kind: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def plain_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 10), np.int16))
    return buffer.getvalue()


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie_are_refused_before_memory_is_taken(tmp_path: Path, lie: str) -> None:
    with pytest.raises(ValueError):
        npy.read(LIES[lie])
    (tmp_path / "x.tar").write_bytes(tar({"a.codes.npy": LIES[lie], "a.json": b"{}"}))
    assert refused(lambda: shards.read_shard(str(tmp_path / "x.tar"), 1))
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        for name in ("about", "mean", "covariance", "n"):
            archive.writestr(f"{name}.npy", LIES[lie])
    assert refused(lambda: reference_statistics.load_statistics(tmp_path / "s.npz"))


# Archives


def sparse() -> bytes:
    """A tar file of some kilobytes with a member of a terabyte, nearly all of it a hole (GNU's format)."""
    member = tarfile.TarInfo("a.codes.npy")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = b"00000000000\0"  # the offset and the length of the only part that is there
    block[398:410] = b"00000000000\0"
    block[482] = 0
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")  # the size that it is read as
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(10_240)


@pytest.mark.parametrize(
    "kind", ["../../out", "/out", "a link", "a sparse file", "a compressed archive", "a deep text"]
)
def test_tar_files_write_nothing_and_unpack_to_what_they_are(tmp_path: Path, kind: str) -> None:
    codes = plain_array()
    if kind == "a link":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("a.codes.npy", "a.json"):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
        content = buffer.getvalue()
    elif kind == "a sparse file":
        content = sparse()
    elif kind == "a compressed archive":
        content = gzip.compress(tar({"a.codes.npy": codes, "a.json": b" " * 50_000_000 + b"{}"}))
    elif kind == "a deep text":
        content = tar({"a.codes.npy": codes, "a.json": b"[" * 200_000})
    else:
        content = tar({f"{kind}.codes.npy": codes, f"{kind}.json": b"{}"})
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "x.tar"
    file.write_bytes(content)
    assert len(content) < 300_000
    if kind in {"../../out", "/out"}:  # the names are keys, and nothing is unpacked
        (sample,) = shards.read_shard(str(file), 1)
        assert sample.codes.shape == (4, 10)
    else:
        assert refused(lambda: shards.read_shard(str(file), 1))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.tar"]


@pytest.mark.parametrize(
    "change",
    [{"train": {"../../x.tar": 1}}, {"train": {"/etc/passwd": 1}}, {"train": {"https://x.example/a.tar": 1}}, {"train": ["a"]},
     {"valid": {"a.tar": -1}}, {"valid": {"a.tar": 1e308}}, {"valid": {"a.tar": True}}, {"train": {"": 1}}, {"train": 7},
     {"train": {"a\nb.tar": 1}}, {"unknown": 1}],
)  # fmt: skip
def test_an_index_leads_nowhere_else(tmp_path: Path, change: dict) -> None:
    index = {"tokenizer": "x", "num_codebooks": 4, "codebook_size": 64, "rate": "50/1", "channels": 1, "melody": ""}
    (tmp_path / shards.INDEX).write_text(json.dumps(index | {"train": {"train-00000.tar": 3}}))
    assert shards.read_index(str(tmp_path)).clips == 3
    (tmp_path / shards.INDEX).write_text(json.dumps(index | change))
    assert refused(lambda: shards.read_index(str(tmp_path)))
    (tmp_path / shards.INDEX).write_text("[" * 100_000)
    assert refused(lambda: shards.read_index(str(tmp_path)))


def test_statistics_that_unpack_to_more_than_they_may_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("covariance.npy", "w", force_zip64=True) as entry:
            for _ in range(60):
                entry.write(bytes(1 << 20))
        for name in ("about", "mean", "n"):
            archive.writestr(f"{name}.npy", plain_array())
    assert file.stat().st_size < 100_000
    monkeypatch.setattr(npy, "MOST_BYTES", 50 << 20)
    with pytest.raises(InputError, match="unpack to more than 50 MB"):
        reference_statistics.load_statistics(file)


# Weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    standins.write(standins.transformers_model(), folder)
    return folder


def test_weights_that_lie_about_their_sizes_take_no_memory(weights: Path) -> None:
    """Headers of safetensors that promise terabytes, overlap, or are themselves larger than the file."""
    file = weights / "model.safetensors"
    whole = file.read_bytes()
    heads = {
        "a header of exabytes": struct.pack("<Q", 2**62) + b"{}",
        "a header of the file's size": struct.pack("<Q", 99_000_000) + b"{}",
        "terabytes": '{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        "an overflow": '{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}',
        "backwards": '{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        "overlap": json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "abc"}),
        "deep": '{"x":' + "[" * 100_000,
        "many": json.dumps({str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}),
    }
    program = """
import musicgen
from musicgen.errors import CheckpointError
folder = Path(sys.argv[1])
for head in sorted(folder.glob("head-*")):
    (folder / "model.safetensors").write_bytes(head.read_bytes())
    if not head.name.endswith("0"):
        before = megabytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
    try:
        musicgen.load(folder)
    except CheckpointError as error:
        print(len(str(error).splitlines()), str(error)[:60])
    else:
        print("loaded")
"""
    for number, (_, text) in enumerate(heads.items()):
        head = text if isinstance(text, bytes) else struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4
        (weights / f"head-{number}").write_bytes(head)
    try:
        text, used = peak(program, weights)
    finally:
        file.write_bytes(whole)
        for head in weights.glob("head-*"):
            head.unlink()
    assert [line.split()[0] for line in text.splitlines()] == ["1"] * len(heads), text
    assert used < 150


def test_a_configuration_that_is_nested_deeply_is_a_line(weights: Path) -> None:
    file = weights / "config.json"
    whole = file.read_bytes()
    try:
        for text in (
            "[" * 100_000,
            '{"decoder":' * 50_000,
            "{" * 3,
            "1" * 6_000,
            '{"decoder": {"num_hidden_layers": 1e999}}',
        ):
            file.write_text(text)
            with pytest.raises(CheckpointError) as caught:
                musicgen.load(weights)
            assert len(str(caught.value).splitlines()) == 1
    finally:
        file.write_bytes(whole)


# Samples folders


def test_links_in_samples_folders_are_read_as_sound_or_not_at_all(tmp_path: Path) -> None:
    """A folder from an archive may hold links: what they lead to is no sound, and appears in no message."""
    secret = tmp_path / "secret"
    secret.write_text("password: hunter2")
    folder = tmp_path / "samples"
    sample = samples.Writer(folder, "ours").add("a", Audio(torch.zeros(1, 8_000), 8_000), prompt="p")
    file = folder / sample.audio
    file.unlink()
    file.symlink_to(secret)
    lines = folder / samples.MANIFEST
    lines.write_text(lines.read_text().replace(sample.sha256, samples.file_sha256(secret)))
    read = samples.read(folder)
    with pytest.raises(InputError) as caught:
        musicgen.audio.read(read.file(read.samples[0]))
    assert "hunter2" not in str(caught.value)
    for endless in ("/dev/zero", "/dev/stdin", str(folder)):
        file.unlink()
        file.symlink_to(endless)
        assert refused(lambda: samples.read(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="the system has other names")
@pytest.mark.parametrize(
    "name", ["-rf", "$(touch pwned)", "a;touch pwned", "\\textbf{x}", "<img src=x>", "=1+1", "a\nb", "\x1b[31m"]
)
def test_names_of_samples_are_files_names_and_nothing_else(tmp_path: Path, name: str) -> None:
    sample = samples.Writer(tmp_path / "s", "ours").add(name, Audio(torch.zeros(1, 8_000), 8_000), prompt=name)
    assert sample.id == name
    assert set(sample.audio) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not sample.audio.startswith((".", "/"))
    assert samples.read(tmp_path / "s").samples[0].prompt == name


# Files with holes


def _model(folder: Path) -> None:
    standins.write(standins.transformers_model(), folder)
    _hole(folder / "config.json")
    musicgen.load(folder)


def _adapter(folder: Path) -> None:
    (folder / adapters.WEIGHTS[0]).touch()
    _hole(folder / adapters.CONFIG)
    adapters.read(folder)


def _hole(file: Path) -> Path:
    """A file of 20 GB that takes no room on a disk: as an archive unpacks it."""
    with file.open("wb") as hole:
        hole.write(b"{")
        hole.truncate(20 << 30)
    return file


HOLES = {
    "text": lambda folder: textfiles.read(_hole(folder / "list.csv")),
    "manifest": lambda folder: samples.read(_hole(folder / samples.MANIFEST).parent),
    "yaml": lambda folder: documents.read_yaml(_hole(folder / "STUDY.yaml")),
    "json": lambda folder: documents.read_json(_hole(folder / "manifest.json")),
    "model": _model,
    "adapter": _adapter,
}


@pytest.mark.parametrize("kind", HOLES)
def test_a_file_with_holes_is_refused_before_memory_is_taken(kind: str, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((InputError, CheckpointError), match=r"(holds|has) more than \d+ (MB|bytes)") as refusal:
            HOLES[kind](tmp_path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(refusal.value).splitlines()) == 1
    assert most < 150_000_000
