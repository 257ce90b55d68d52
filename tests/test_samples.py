"""The samples folder survives interruption and refuses what does not fit."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import samples
from musicgen.audio import Audio
from musicgen.errors import InputError
from tests.fuzz import JSON, changed, refused


def clip(value=0.1):
    return Audio(torch.full((1, 800), value), 8000)


def test_what_is_written_is_read(tmp_path):
    writer = samples.Writer(tmp_path, "ours")
    first = writer.add("a/1 ü", clip(), prompt="calm <b>", seed=3, settings={"top_k": 250})
    writer.add("b", clip(0.2), prompt="loud", extension=".wav")
    folder = samples.read(tmp_path)
    assert [sample.id for sample in folder.samples] == ["a/1 ü", "b"]
    assert folder.samples[0] == first
    assert folder.file(first).parent == tmp_path
    assert "b" in samples.Writer(tmp_path, "ours")


def test_an_interrupted_run_goes_on(tmp_path):
    samples.Writer(tmp_path, "ours").add("a", clip(), prompt="p")
    manifest = tmp_path / samples.MANIFEST
    manifest.write_text(manifest.read_text() + '{"id": "b", "pro')
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        assert len(samples.read(tmp_path).samples) == 1
    samples.Writer(tmp_path, "ours").add("b", clip(), prompt="p")
    assert [sample.id for sample in samples.read(tmp_path).samples] == ["a", "b"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "list.csv").write_text("prompt")
    with pytest.raises(InputError, match=r"list\.csv cannot be made \(a file of this name is there\): choose another"):
        samples.Writer(tmp_path / "list.csv", "ours")
    with pytest.raises(InputError, match=r"cannot be made \(Not a directory\)"):
        samples.Writer(tmp_path / "list.csv" / "inside", "ours")


def test_a_manifest_without_its_last_newline_loses_no_clip(tmp_path):
    writer = samples.Writer(tmp_path, "ours")
    writer.add("a", clip(), prompt="p")
    writer.add("b", clip(), prompt="p")
    manifest = tmp_path / samples.MANIFEST
    for end in (b"", b"\r", b" "):
        manifest.write_bytes(manifest.read_bytes().rstrip() + end)
        assert [sample.id for sample in samples.read(tmp_path).samples] == ["a", "b"]
    samples.Writer(tmp_path, "ours").add("c", clip(), prompt="p")
    assert [sample.id for sample in samples.read(tmp_path).samples] == ["a", "b", "c"]


def test_a_changed_file_is_found(tmp_path):
    sample = samples.Writer(tmp_path, "ours").add("a", clip(), prompt="p")
    (tmp_path / sample.audio).write_bytes(b"other")
    with pytest.raises(InputError, match="another sha256"):
        samples.read(tmp_path)
    assert samples.read(tmp_path, verify=False)
    (tmp_path / sample.audio).unlink()
    with pytest.raises(InputError, match="is missing"):
        samples.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": "../secret.wav"}, "not the name of a file"),
        ({"audio": "/etc/passwd"}, "not the name of a file"),
        ({"sha256": "abc"}, "64 hexadecimal"),
        ({"id": ""}, "1 to 120"),
        ({"id": 7}, "id must be there"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"settings": []}, "settings must be"),
        ({"system": ""}, "names no system"),
    ],
)
def test_bad_lines_are_refused(tmp_path, change, message):
    samples.Writer(tmp_path, "ours").add("a", clip(), prompt="p")
    manifest = tmp_path / samples.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change) + "\n")
    with pytest.raises(InputError, match=message):
        samples.read(tmp_path)


def test_twice_is_refused(tmp_path):
    writer = samples.Writer(tmp_path, "ours")
    writer.add("a", clip(), prompt="p")
    with pytest.raises(InputError, match="there already"):
        writer.add("a", clip(), prompt="p")
    manifest = tmp_path / samples.MANIFEST
    manifest.write_text(manifest.read_text() * 2)
    with pytest.raises(InputError, match="listed twice"):
        samples.read(tmp_path)
    with pytest.raises(InputError, match="is it a samples folder"):
        samples.read(tmp_path / "none")


LINE = {"id": "a", "prompt": "p", "system": "s", "audio": "a.wav", "sha256": hashlib.sha256(b"x").hexdigest(), "seed": 3,
        "settings": {"top_k": 5}}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
@settings(deadline=None, max_examples=60)
@given(st.lists(changed(LINE) | st.just(LINE) | JSON, max_size=2), st.binary(max_size=2))
def test_any_manifest_is_read_or_refused_in_a_line(values, noise):
    folder = Path(os.environ["HF_HOME"]) / "fuzzed-samples"
    folder.mkdir(exist_ok=True)
    (folder / "a.wav").write_bytes(b"x")
    (folder / samples.MANIFEST).write_bytes(b"".join(json.dumps(value).encode() + b"\n" for value in values) + noise)
    refused(lambda: samples.read(folder))
