"""Fetching with a stand-in for yt-dlp: what comes is kept, what does not is written down and not tried again."""

import json

import pytest

from evaluation.suites import fetching
from evaluation.suites.items import Item
from musicgen.errors import InputError

PROGRAM = """#!/bin/sh
for last; do url="$last"; done
echo "$url" >> "{log}"
while [ "$1" != "--output" ]; do shift; done
case "$url" in
    *gone*) echo "ERROR: Video unavailable" >&2; exit 1;;
    *) printf RIFF > "$(dirname "$2")/$(basename "$2" '.%(ext)s').wav";;
esac
"""


def items(folder):
    return [
        Item(name, "a caption", folder / "audio" / f"{name}.wav", url=f"https://example.org/{name}", start=30)
        for name in ("here", "gone")
    ]


def test_what_is_gone_is_written_down(tmp_path, monkeypatch):
    program, log = tmp_path / "bin" / "yt-dlp", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert fetching.fetch(items(tmp_path), 10) == (1, 1)
    lines = [json.loads(line) for line in (tmp_path / "audio" / fetching.MANIFEST).read_text().splitlines()]
    assert [(line["id"], line["available"]) for line in lines] == [("here", True), ("gone", False)]
    assert lines[1]["reason"] == "ERROR: Video unavailable"
    assert fetching.fetch(items(tmp_path), 10) == (1, 1)
    assert log.read_text().count("\n") == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs yt-dlp"):
        fetching.fetch(items(tmp_path), 10)


def test_the_labelled_seconds_are_asked_for(tmp_path):
    arguments = fetching.command("yt-dlp", items(tmp_path)[0], 10, tmp_path / "x.wav")
    assert arguments[arguments.index("--download-sections") + 1] == "*30-40"
    with pytest.raises(InputError, match="only MusicCaps"):
        fetching.fetch([Item("a", "b", tmp_path / "a.wav")], 10)


def test_what_an_interrupted_run_left_is_tried_again(tmp_path, monkeypatch):
    """A torn last line, lines that are no objects, and a reason with U+2028 in it."""
    audio = tmp_path / "audio"
    audio.mkdir()
    lines = ['{"id": "gone", "available": false, "reason": "a\u2028b"}', "5", '{"id": "torn", "avail']
    (audio / fetching.MANIFEST).write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(fetching.shutil, "which", lambda name: name)
    tried = []
    monkeypatch.setattr(fetching, "_fetch", lambda program, item, duration: tried.append(item.id) or "later")  # noqa: ARG005
    items = [Item(name, "x", audio / f"{name}.wav", url="https://example.org") for name in ("gone", "torn", "new")]
    fetching.fetch(items, 10.0)
    fetching.fetch(items, 10.0)
    assert tried == ["torn", "new"]
