"""Fetching with a stand-in for yt-dlp: what comes is kept, what is gone for good is not asked for again, outages pass."""

import json

import pytest

from evaluation.suites import fetching
from evaluation.suites.items import Item
from musicgen.errors import InputError

PROGRAM = """#!/bin/sh
for last; do url="$last"; done
echo "$url" >> "{log}"
while [ "$1" != "--output" ]; do shift; done
if [ -f "{state}" ]; then cat "{state}" >&2; exit 1; fi
case "$url" in
    *gone*) echo "ERROR: Video unavailable" >&2; exit 1;;
    *slow*) if [ ! -f "{log}.met" ]; then touch "{log}.met"; echo "ERROR: HTTP Error 503: Service Unavailable" >&2; exit 1; fi
        printf RIFF > "$(dirname "$2")/$(basename "$2" '.%(ext)s').wav";;
    *) printf RIFF > "$(dirname "$2")/$(basename "$2" '.%(ext)s').wav";;
esac
"""


OFFLINE = "ERROR: [youtube] x: Unable to download API page: [Errno -3] Temporary failure in name resolution\n"
BOT = "ERROR: [youtube] x: Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser\n"


def items(folder, names=("here", "gone")):
    return [
        Item(name, "a caption", folder / "audio" / f"{name}.wav", url=f"https://example.org/{name}", start=30)
        for name in names
    ]


@pytest.fixture
def program(tmp_path, monkeypatch):
    """(log of addresses, file with what yt-dlp answers to everything where it exists)."""
    file, log, state = tmp_path / "bin" / "yt-dlp", tmp_path / "log", tmp_path / "state"
    file.parent.mkdir()
    file.write_text(PROGRAM.format(log=log, state=state))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")
    return log, state


def lines(folder):
    return [json.loads(line) for line in (folder / "audio" / fetching.MANIFEST).read_text().splitlines()]


def test_what_is_gone_is_written_down(tmp_path, program, monkeypatch):
    log, _ = program
    assert fetching.fetch(items(tmp_path), 10) == (1, 1)
    assert [(line["id"], line["available"]) for line in lines(tmp_path)] == [("here", True), ("gone", False)]
    assert lines(tmp_path)[1]["reason"] == "ERROR: Video unavailable"
    assert fetching.fetch(items(tmp_path), 10) == (1, 1)
    assert log.read_text().count("\n") == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs yt-dlp"):
        fetching.fetch(items(tmp_path), 10)


def test_a_passing_failure_is_tried_again_after_a_pause(tmp_path, program):
    log, _ = program
    assert fetching.fetch(items(tmp_path, ["slow"]), 10, pauses=(0.01,)) == (1, 0)
    assert log.read_text().count("\n") == 2


def test_offline_the_run_ends_and_nothing_is_remembered(tmp_path, program):
    log, state = program
    state.write_text(OFFLINE)
    wanted = items(tmp_path, ["a", "b", "c", "d", "e"])
    with pytest.raises(
        InputError, match=r"3 clips in a row failed, the last, c: ERROR: .*name resolution .is this machine"
    ):
        fetching.fetch(wanted, 10, pauses=(0.0, 0.0))
    assert log.read_text().count("\n") == 9
    state.unlink()
    assert fetching.fetch(wanted, 10) == (5, 0)


def test_a_bot_check_ends_the_run_at_once(tmp_path, program):
    log, state = program
    state.write_text(BOT)
    with pytest.raises(InputError, match=r"stopped at a: .*not a bot.* goes on from here") as error:
        fetching.fetch(items(tmp_path, ["a", "b"]), 10, pauses=(0.0,))
    assert "\n" not in str(error.value)
    assert log.read_text().count("\n") == 1
    state.unlink()
    assert fetching.fetch(items(tmp_path, ["a", "b"]), 10) == (2, 0)


@pytest.mark.parametrize(
    ("reason", "permanent"),
    [
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", True),
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access to this video", True),
        ("ERROR: [youtube] x: Video unavailable. This video is no longer available because the YouTube account associated "
         "with this video has been terminated.", True),
        ("ERROR: [youtube] x: Sign in to confirm your age. This video may be inappropriate for some users.", True),
        ("ERROR: [youtube] x: The uploader has not made this video available in your country", True),
        ("ERROR: [youtube] x: Join this channel to get access to members-only content", True),
        (OFFLINE, False),
        (BOT, False),
        ("ERROR: unable to download video data: HTTP Error 403: Forbidden", False),
        ("ERROR: [youtube] x: Unable to download webpage: The read operation timed out", False),
        ("no answer within 180 s", False),
        ("", False),
    ],
)  # fmt: skip
def test_reasons_that_pass_and_those_that_do_not(reason, permanent):
    assert fetching.is_permanent(reason) is permanent


def test_the_labelled_seconds_are_asked_for(tmp_path):
    arguments = fetching.command("yt-dlp", items(tmp_path)[0], 10, tmp_path / "x.wav")
    assert arguments[arguments.index("--download-sections") + 1] == "*30-40"
    with pytest.raises(InputError, match="only MusicCaps"):
        fetching.fetch([Item("a", "b", tmp_path / "a.wav")], 10)


def test_what_an_interrupted_run_left_is_tried_again(tmp_path, monkeypatch):
    """A torn last line, lines that are no objects, and a reason with U+2028 in it."""
    audio = tmp_path / "audio"
    audio.mkdir()
    lines = ['{"id": "gone", "available": false, "reason": "Video unavailable\u2028b"}', "5", '{"id": "torn", "avail']
    (audio / fetching.MANIFEST).write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(fetching.shutil, "which", lambda name: name)
    tried = []
    monkeypatch.setattr(fetching, "_fetch", lambda program, item, duration: tried.append(item.id) or "Private video")  # noqa: ARG005
    items = [Item(name, "x", audio / f"{name}.wav", url="https://example.org") for name in ("gone", "torn", "new")]
    fetching.fetch(items, 10.0)
    fetching.fetch(items, 10.0)
    assert tried == ["torn", "new"]
