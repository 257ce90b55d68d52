"""The written corpus: files, sidecars, manifest, and going on after a stop."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from musicgen.errors import InputError
from musicgen.training.corpus import compose
from musicgen.training.corpus.dataset import CorpusOptions, write, write_composition
from musicgen.training.corpus.metadata import metadata_of

pytestmark = pytest.mark.usefixtures("renderer")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_writes_and_a_second_run_goes_on(tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "musicgen.training.corpus",
        "--output",
        str(tmp_path),
        "--seed",
        "4",
        "--count",
        "3",
    ]
    subprocess.run([*command, "--duration", "8", "10"], check=True, capture_output=True)
    manifest = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [Path(line["path"]).name for line in manifest] == ["00000004.flac", "00000005.flac", "00000006.flac"]
    for line in manifest:
        info = soundfile.info(line["path"])
        assert (info.samplerate, info.channels) == (32_000, 2)
        assert info.frames == round(line["duration"] * 32_000)

    before = contents(tmp_path)
    untouched = (tmp_path / "00000004.flac").stat().st_mtime_ns
    (tmp_path / "00000005.flac").unlink()
    settings = CorpusOptions(tmp_path, durations=(8, 10))
    assert list(write(settings, range(4, 7))) == manifest
    assert contents(tmp_path) == before
    assert (tmp_path / "00000004.flac").stat().st_mtime_ns == untouched


def test_pieces_of_other_settings_are_not_mixed_in(tmp_path) -> None:
    write_composition(CorpusOptions(tmp_path, durations=(8, 8)), 0)
    with pytest.raises(InputError, match=r"was written with duration 8\.0, not 9\.0"):
        write_composition(CorpusOptions(tmp_path, durations=(9, 9)), 0)
    with pytest.raises(InputError, match="was written with sequenced False, not True"):
        write_composition(CorpusOptions(tmp_path, durations=(8, 8), sequenced=True), 0)


def test_a_sequenced_pieces_sidecar_tells_the_tempo_that_is_played(tmp_path) -> None:
    write_composition(CorpusOptions(tmp_path, durations=(8, 8), genres=("house",), sequenced=True), 1)
    facts = json.loads((tmp_path / "00000001.json").read_text())
    assert facts["sequenced"]
    assert facts["bpm"] == round(60 / (facts["beats"][1] - facts["beats"][0]))
    assert facts["bpm"] != compose(1, duration=8, genre="house").bpm


def test_sidecar_holds_the_truth() -> None:
    composition = compose(12, duration=10)
    content = metadata_of(composition, name="x", sample_rate=32_000, soundfont="a.sf2", captions=3)
    assert json.loads(json.dumps(content)) == content
    for field in ("description", "genre", "bpm", "key", "instrument", "keywords", "moods", "title", "artist", "name"):
        assert content[field]
    assert content["description"] == content["descriptions"][0]
    assert len(content["melody"]) == len(composition.lead.notes)
    assert content["melody"][0]["onset"] == composition.lead.notes[0].onset
    assert content["beats"] == list(composition.beats)
    assert [chord["root"] for chord in content["chords"]] == [span.chord.root for span in composition.chords]


def test_settings_are_checked(tmp_path) -> None:
    with pytest.raises(InputError, match="shorter one comes first"):
        CorpusOptions(tmp_path, durations=(30, 10))
    with pytest.raises(InputError, match="no genre 'polka'"):
        CorpusOptions(tmp_path, genres=("polka",))
    with pytest.raises(InputError, match="captions is 0"):
        CorpusOptions(tmp_path, captions=0)


def test_genres_can_be_restricted(tmp_path) -> None:
    settings = CorpusOptions(tmp_path, durations=(8, 8), genres=("waltz",))
    write_composition(settings, 0)
    assert json.loads((tmp_path / "00000000.json").read_text())["genre"] == "waltz"
