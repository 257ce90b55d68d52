"""Lists of suites' items as others write them: read, or refused in one line."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.suites.items import load_items
from evaluation.suites.suite import ManifestData, load_suite
from musicgen.errors import InputError
from tests.fuzz import JSON, changed, refused, tables

MUSICCAPS = ["ytid", "caption", "start_s", "is_balanced_subset", "is_audioset_eval"]
SONG_DESCRIBER = ["path", "caption", "track_id", "is_valid_subset"]


def lines(value: dict[str, str]) -> st.SearchStrategy[bytes]:
    several = st.lists(changed(value) | JSON, max_size=2)
    return several.map(lambda values: b"".join(json.dumps(one).encode() + b"\n" for one in values))


SUITES = {name: load_suite(name) for name in ("folder", "musiccaps", "song_describer", "synth")}


@settings(deadline=None, max_examples=60)
@given(
    lines({"file": "a.wav", "caption": "c", "id": "1"}),
    tables(["file", "caption", "id"], ["a.wav"]),
    lines({"id": "a", "caption": "c", "audio": "a.wav", "sha256": ""}),
    tables(MUSICCAPS, ["1", "True", "nan"]),
    tables(SONG_DESCRIBER, ["1", "True", "a/b.mp3"]),
)
def test_any_list_is_read_or_refused_in_a_line(
    captions: bytes, table: bytes, manifest: bytes, musiccaps: bytes, song_describer: bytes
) -> None:
    folder = Path(os.environ["HF_HOME"]) / "fuzzed-suites"
    folder.mkdir(exist_ok=True)
    for name, content in (("captions.jsonl", captions), ("captions.csv", table), ("items.jsonl", manifest),
                          ("musiccaps-public.csv", musiccaps), ("song_describer.csv", song_describer)):  # fmt: skip
        (folder / name).write_bytes(content)
    for name in ("folder", "musiccaps", "song_describer"):
        refused(lambda name=name: load_items(SUITES[name], folder))
    (folder / "captions.csv").unlink()
    refused(lambda: load_items(SUITES["folder"], folder))
    listed = dataclasses.replace(
        SUITES["synth"], file=folder / "suite.yaml", data=ManifestData("manifest", "items.jsonl")
    )
    refused(lambda: load_items(listed))


def test_a_track_without_a_path_is_said(tmp_path: Path) -> None:
    (tmp_path / "song_describer.csv").write_text("caption_id,track_id,caption,path,is_valid_subset\n1,2,calm,,True\n")
    with pytest.raises(InputError, match=r"song_describer\.csv: not Song Describer's table \(.* has an empty name\)"):
        load_items(SUITES["song_describer"], tmp_path)
