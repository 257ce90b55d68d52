"""A clip as a ZIP for a DAW: Demucs' stems, the melody's notes, tempo and key against what was played."""

import io
import json
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
import torch

from musicgen import audio, daw, midi, provenance, tonality, transcribers
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.settings import Settings
from tests import standins

RATE = 22_050
TUNE = ((0.5, 1.0, 60), (1.0, 1.5, 64), (1.75, 2.25, 67), (2.25, 3.0, 72))
"""(onset, offset, pitch)"""


def played(notes=TUNE, seconds: float = 3.5) -> Audio:
    """Notes with a few overtones."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros_like(time)
    for onset, offset, pitch in notes:
        inside = (time >= onset) & (time < offset)
        phase = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time[inside]
        wave[inside] += 0.3 * (np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase))
    return Audio(torch.from_numpy(wave.astype(np.float32))[None], RATE)


def test_the_notes_of_a_tune_are_heard() -> None:
    notes = transcribers.find("pyin").transcribe(played())
    assert [note.pitch for note in notes] == [pitch for _, _, pitch in TUNE]
    for note, (onset, offset, _) in zip(notes, TUNE, strict=True):
        assert note.onset == pytest.approx(onset, abs=0.06)
        assert note.offset == pytest.approx(offset, abs=0.1)
    assert transcribers.find("pyin").transcribe(Audio(torch.zeros(1, RATE), RATE)) == []


def test_a_midi_file_has_the_notes_at_their_times(tmp_path: Path) -> None:
    notes = [transcribers.Note(onset, offset, pitch, 90) for onset, offset, pitch in TUNE]
    data = transcribers.midi_bytes(notes, 97.3)
    (tmp_path / "tune.mid").write_bytes(data)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert mido.tempo2bpm(file.tracks[0][0].tempo) == pytest.approx(97.3, rel=1e-4)
    now, starts = 0.0, []
    for message in file:
        now += message.time
        if message.type == "note_on":
            starts.append((pytest.approx(now, abs=0.002), message.note))
    assert [(onset, pitch) for onset, _, pitch in TUNE] == [(one, pitch) for one, pitch in starts]
    assert midi.notes(tmp_path / "tune.mid")  # a melody that this program follows


@pytest.mark.parametrize(
    ("notes", "key"), [((0, 4, 7, 0, 5, 9, 7, 11, 2, 0), "C major"), ((9, 0, 4, 9, 2, 5, 4, 8, 11, 9), "A minor")]
)
def test_the_key_of_a_cadence_is_heard(notes, key) -> None:
    tune = [(i * 0.4, i * 0.4 + 0.4, 60 + pitch) for i, pitch in enumerate(notes)]
    assert tonality.measure(played(tune, 4.0)) == key
    assert tonality.measure(Audio(torch.zeros(1, RATE), RATE)) is None


@pytest.fixture(scope="module")
def demucs(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    standins.publish_demucs(hub_cache, tmp_path_factory.mktemp("demucs"))


@pytest.mark.usefixtures("demucs")
def test_the_zip_holds_stems_melody_and_facts(tmp_path: Path, capsys) -> None:
    comment = Settings("0.1.0", "mini", "a tune", 3.5, 7).comment()
    audio.write(tmp_path / "clip.wav", played(), provenance.tags(comment))
    assert main(["daw", str(tmp_path / "clip.wav")]) == 0
    assert "clip.zip" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "clip.zip") as archive:
        assert sorted(archive.namelist()) == [
            "clip/clip.json", "clip/melody.mid", "clip/mix.wav",
            *(f"clip/stems/{name}.wav" for name in ("bass", "drums", "other", "vocals")),
        ]  # fmt: skip
        archive.extractall(tmp_path / "opened")
    opened = tmp_path / "opened" / "clip"
    facts = json.loads((opened / "clip.json").read_text())
    assert facts["settings"] == json.loads(comment)["musicgen"]
    assert facts["notes_of"] == "vocals and other"
    assert facts["tags"]["digitalsourcetype"] == provenance.TRAINED_ALGORITHMIC_MEDIA
    assert torch.equal(audio.read(opened / "mix.wav").wave, audio.read(tmp_path / "clip.wav").wave)
    expected = DemucsSeparator().stems(audio.read(tmp_path / "clip.wav"))
    for name, stem in expected.items():
        file = opened / "stems" / f"{name}.wav"
        assert (audio.read(file).wave - stem.wave.clamp(-1, 1)).abs().max() < 1 / 32_768
        assert audio.read_tags(file)["digitalsourcetype"] == provenance.TRAINED_ALGORITHMIC_MEDIA
    assert mido.MidiFile(opened / "melody.mid").tracks


def test_without_stems_the_melody_is_that_of_the_mix(tmp_path: Path) -> None:
    files, facts = daw.parts(played(), {}, stems=False)
    assert sorted(files) == ["clip.json", "melody.mid", "mix.wav"]
    assert (facts["notes_of"], facts["notes"], facts["settings"]) == ("the mix", len(TUNE), None)
    audio.write(tmp_path / "clip.wav", played())
    assert main(["daw", str(tmp_path / "clip.wav"), "--no-stems", "-o", str(tmp_path / "clip.tar")]) == 2


@pytest.mark.usefixtures("demucs")
def test_the_page_packs_a_clip_with_stems_where_demucs_is(tmp_path: Path, monkeypatch) -> None:
    from demo import derived_files
    from musicgen.serving.clip_store import ClipStore

    store = ClipStore(tmp_path, hours=1)
    for is_downloaded in (True, False):
        if not is_downloaded:
            monkeypatch.setattr(DemucsSeparator, "is_downloaded", staticmethod(lambda: False))
        clip = store.new_path("tune-1.flac")
        store.write(clip, played(), provenance.tags(Settings("0.1.0", "mini", "a tune", 3.5, 7).comment()))
        file = derived_files.daw(store, clip, "pyin")
        assert derived_files.daw(store, clip, "pyin") == file
        assert file.stat().st_mode & 0o077 == 0
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        assert ("tune-1/stems/drums.wav" in names) is is_downloaded
        assert "tune-1/melody.mid" in names
    store.close()
