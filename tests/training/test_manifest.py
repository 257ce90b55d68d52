"""Collections as people have them: what is there is used, or named."""

import gzip
import json
import logging
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.errors import InputError
from musicgen.training.descriptions import described
from musicgen.training.manifest import Entry, find, read
from tests.fuzz import JSON, changed, refused, tables


def folder(path: Path, *names: str) -> Path:
    """Empty files: a collection is read without its audio."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


def texts(path: Path) -> dict[str, Any]:
    return {entry.path.name: entry.metadata().get("description") for entry in read(path)}


def test_every_way_to_describe_a_folder(tmp_path: Path) -> None:
    music = folder(tmp_path, "a.wav", "b.wav", "c.wav", "sub/d.wav", "sub/e.wav", "sub/f.mp3", "g.wav")
    (music / "a.txt").write_text("  a flute\nfar away\n", encoding="utf-8-sig")
    (music / "b.json").write_text('{"caption": "une flûte"}', encoding="utf-8")
    (music / "metadata.csv").write_text('file_name,text,bpm\nc.wav,"a drum, loud",90\ng.wav,,\n', encoding="utf-8-sig")
    (music / "sub" / "metadata.jsonl").write_text(
        '{"file_name": "d.wav", "text": "strings\u2028and more"}\n{"file_name": "e.wav", "captions": ["one", "two"]}\n',
        encoding="utf-8",
    )
    assert texts(music) == {
        "a.wav": "a flute far away", "b.wav": "une flûte", "c.wav": "a drum, loud", "g.wav": None,
        "d.wav": "strings\u2028and more", "e.wav": None, "f.mp3": None,
    }  # fmt: skip
    known = {entry.path.name: entry.metadata() for entry in read(music)}
    assert known["e.wav"]["descriptions"] == ["one", "two"]
    assert known["c.wav"]["bpm"] == "90"
    assert known["g.wav"] == {}


def test_a_sidecar_comes_before_a_list_and_json_before_text(tmp_path: Path) -> None:
    music = folder(tmp_path, "a.wav", "b.wav")
    (music / "metadata.csv").write_text("file_name,text\na.wav,of the list\nb.wav,of the list\n", encoding="utf-8")
    (music / "a.json").write_text('{"description": "of the sidecar"}', encoding="utf-8")
    for name in ("a.txt", "b.txt"):
        (music / name).write_text("lyrics", encoding="utf-8")
    assert texts(music) == {"a.wav": "of the sidecar", "b.wav": "of the list"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"description": ["a", "b"]}, {"descriptions": ["a", "b"]}),
        ({"description": ["a"]}, {"description": "a"}),
        ({"description": [None]}, {}),
        ({"description": None, "caption": "x"}, {"caption": "x", "description": "x"}),
        ({"description": float("nan"), "text": "x"}, {"text": "x", "description": "x"}),
        ({"description": " ", "bpm": 3}, {"bpm": 3}),
        ({"descriptions": ["a", "", None, "b"], "description": "c"}, {"descriptions": ["a", "b"], "description": "c"}),
        ({"descriptions": [], "prompt": "p"}, {"prompt": "p", "description": "p"}),
        ({"description": "a", "text": "b"}, {"text": "b", "description": "a"}),
    ],
)
def test_texts_under_any_name(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert described(fields, "clip.wav") == expected


@pytest.mark.parametrize("value", [5, True, {"en": "a"}, ["a", 5], [["a"]]])
def test_what_is_no_text_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=r'^clip\.wav: its "caption" is .*it must be text, or a list of texts$'):
        described({"caption": value}, "clip.wav")


def test_damaged_sidecars_are_named(tmp_path: Path) -> None:
    music = folder(tmp_path, "a.wav")
    entry = Entry(music / "a.wav", {})
    for content, message in (
        (b'{"description": "caf\xe9"}', "no UTF-8 text at byte 20"),
        (b'{"description": "x\\ud800y"}', "its metadata holds bytes that are no UTF-8 text"),
        (b'{"\\udfff": 1}', "its metadata holds bytes that are no UTF-8 text"),
        (b"[1]", "not a JSON object"),
        (b"{", "not JSON"),
    ):
        (music / "a.json").write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            entry.metadata()
        assert "\n" not in str(caught.value)
    (music / "a.json").unlink()
    (music / "a.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt: no UTF-8 text"):
        entry.metadata()


@pytest.mark.parametrize("kind", ["plain", "mark", "gzip", "windows", "csv", "tsv"])
def test_manifests_of_every_kind(kind: str, tmp_path: Path) -> None:
    music = folder(tmp_path, "x/a.wav", "x/b.wav")
    lines = [
        json.dumps({"path": f"x/{name}.wav", "description": f"{name}\u2028\u0085"}, ensure_ascii=False) for name in "ab"
    ]
    data = ("\r\n" if kind == "windows" else "\n").join(lines).encode()
    if kind in ("csv", "tsv"):
        data = "Path,Description\nx/a.wav,a\u2028\u0085\nx/b.wav,b\u2028\u0085\n".encode()
        data = data.replace(b",", b"\t") if kind == "tsv" else data
    file = music / {"gzip": "data.jsonl.gz", "csv": "data.CSV", "tsv": "data.tsv"}.get(kind, "data.jsonl")
    file.write_bytes({"mark": b"\xef\xbb\xbf" + data, "gzip": gzip.compress(data)}.get(kind, data))
    assert find(file) == [music / "x" / "a.wav", music / "x" / "b.wav"]
    assert texts(file) == {"a.wav": "a\u2028\u0085", "b.wav": "b\u2028\u0085"}


def test_paths_from_the_working_directory_as_audiocraft_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, "dataset/a.mp3", "dataset/b.mp3", "egs/train/b.mp3")
    manifest = tmp_path / "egs" / "train" / "data.jsonl.gz"
    row = {"duration": 1.0, "sample_rate": 44100, "amplitude": None, "weight": None, "info_path": None}
    lines = [{"path": name} | row for name in ("dataset/a.mp3", "b.mp3", "dataset/none.mp3")]
    manifest.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    monkeypatch.chdir(tmp_path)
    here = manifest.parent
    assert find(manifest) == [Path("dataset/a.mp3"), here / "b.mp3", here / "dataset" / "none.mp3"]
    assert read(manifest)[0].fields == {"duration": 1.0, "sample_rate": 44100}


def test_names_as_other_systems_write_them(tmp_path: Path) -> None:
    """A backslash between folders, and accents as macOS takes them apart."""
    decomposed = unicodedata.normalize("NFD", "café.wav")
    folder(tmp_path, f"sub/{decomposed}")
    lines = [
        {"path": "sub\\caf\u00e9.wav"},
        {"file_name": "sub/caf\u00e9.wav"},
        {"audio": {"path": f"sub/{decomposed}"}},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert find(tmp_path / "m.jsonl") == [tmp_path / "sub" / decomposed] * 3


@pytest.mark.parametrize(
    "line", ['{"file": "b.wav"}', '{"path": 5}', '{"path": ""}', "5", '"a.wav"', '{"audio": {"bytes": "x"}}']
)
def test_a_line_without_a_file_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav"}\n' + line, encoding="utf-8")
    with pytest.raises(
        InputError, match=r'm\.jsonl:2: .*: names no file: .* with the field "path" \(or file_name, audio\)$'
    ):
        read(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one.json", json.dumps([{"path": "a.wav"}])),
        ("one.jsonl", json.dumps({"path": "a.wav"}, indent=2)),
        ("train.parquet", "PAR1"),
        ("list.txt", "a.wav\nb.wav\n"),
        ("speech.jsonl", '{"audio_filepath": "a.wav", "text": "x"}'),
    ],
)
def test_other_programs_lists_are_told_what_is_read(name: str, content: str, tmp_path: Path) -> None:
    """A list of objects, an object over several lines, Parquet, bare names, another field."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(
        InputError, match=r":1: .*: a manifest has a JSON object a line, or is a table \(\.csv, \.tsv\)"
    ) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_not_used_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = ["a.wav", "b.AIFF", "c.opus", "d.m4a", "e.webm", "f.wma"]
    folder(
        tmp_path,
        *used,
        "a.txt",
        "b.json",
        "cover.jpg",
        "notes.txt",
        "x.mid",
        "y.mid",
        "README",
        ".hidden.wav",
        ".git/z.wav",
    )
    (tmp_path / "metadata.csv").write_text("file_name\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert [file.name for file in find(tmp_path)] == sorted(used)
    assert "5 files are no audio by the name, and not used" in caplog.text
    for part in ("2 .mid", "1 .jpg", "1 .txt", "1 README"):
        assert part in caplog.text


def test_a_listed_file_that_is_not_there_is_an_entry(tmp_path: Path) -> None:
    """So that it is counted among those that could not be used."""
    folder(tmp_path, "a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.wav,x\ngone.wav,y\n", encoding="utf-8")
    assert find(tmp_path) == [tmp_path / "a.wav", tmp_path / "gone.wav"]


def test_a_path_that_no_shell_has_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder(tmp_path, "music/a.wav")))
    assert find(Path("~/music")) == [tmp_path / "music" / "a.wav"]
    with pytest.raises(InputError, match=r"a\.wav', an audio file: name its folder, or a manifest that lists it"):
        read(tmp_path / "music" / "a.wav")
    with pytest.raises(InputError, match=r"data\.path is 'nothing': neither a folder nor a readable manifest"):
        read(Path("nothing"))


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    disk = folder(tmp_path / "disk", "a.wav", "b.wav")
    music = folder(tmp_path / "music", "c.wav")
    (music / "linked").symlink_to(disk)
    (music / "round").symlink_to(music)
    assert sorted(file.name for file in find(music)) == ["a.wav", "b.wav", "c.wav"]


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    folder(tmp_path, name)
    assert find(tmp_path) == [tmp_path / name]


FIELDS = st.sampled_from(
    ["path", "file_name", "audio", "description", "descriptions", "caption", "text", "genre", "bpm", "x"]
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(FIELDS, JSON, max_size=4) | JSON, max_size=3), st.binary(max_size=3), st.integers(0, 60)
)
def test_any_manifest_is_read_or_refused_in_a_line(values: list, noise: bytes, place: int) -> None:
    """What is read has texts that can be written, and only texts."""
    path = Path(os.environ["HF_HOME"]) / "fuzz.jsonl"
    data = b"\n".join(json.dumps(value).encode() for value in values)
    path.write_bytes(data[:place] + noise + data[place:] if noise else data)
    refused(lambda: check_texts(path))


def check_texts(path: Path) -> None:
    for entry in read(path):
        fields = entry.metadata()
        several = [fields.get("description", "a"), *fields.get("descriptions", [])]
        assert all(text.encode() and text.strip() for text in several)


@settings(deadline=None, max_examples=60)
@given(
    JSON | changed({"description": "a", "descriptions": ["b"], "bpm": 90, "genre": ["x"], "caption": "", "text": "t"}),
    st.text(max_size=5),
    tables(["file_name", "text", "Caption", "bpm"], ["a.wav", "90"]),
    st.binary(max_size=3),
    st.integers(0, 30),
)
def test_any_sidecar_is_read_or_refused_in_a_line(
    value: Any, text: str, table: bytes, noise: bytes, place: int
) -> None:
    music = folder(Path(os.environ["HF_HOME"]) / "fuzzed", "a.wav", "b.wav")
    data = json.dumps(value).encode()
    (music / "a.json").write_bytes(data[:place] + noise + data[place:])
    (music / "b.txt").write_bytes(text.encode(errors="surrogatepass") + noise)
    (music / "metadata.csv").write_bytes(table)
    refused(lambda: check_texts(music))
    (music / "metadata.csv").unlink()
    for name in ("a.wav", "b.wav"):
        refused(lambda name=name: Entry(music / name, {}).metadata())
