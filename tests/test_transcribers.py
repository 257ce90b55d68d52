"""Transcribers: the registry, what a DAW's ZIP has of each, and basic-pitch where it is installed."""

import io
import json
import logging
from pathlib import Path

import mido
import numpy as np
import pytest
import torch

from musicgen import audio, daw, transcribers
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.errors import InputError
from musicgen.transcribers import Note, Transcriber, basic_pitch
from musicgen.transcribers.registry import TRANSCRIBERS
from tests.test_daw import RATE, played

CHORD = ((0.5, 1.5, 60), (0.5, 1.5, 64), (0.5, 1.5, 67), (2.0, 3.0, 62))
"""(onset, offset, pitch)"""


@pytest.fixture
def without_basic_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    is_installed = basic_pitch.extras.is_installed
    monkeypatch.setattr(basic_pitch.extras, "is_installed", lambda name: name != "basic_pitch" and is_installed(name))


@pytest.mark.usefixtures("without_basic_pitch")
def test_one_that_is_not_installed_is_one_line_with_the_remedy(tmp_path: Path, capsys) -> None:
    assert transcribers.installed() == ("pyin",)
    assert transcribers.names() == ("pyin", "basic-pitch")
    said = (
        "the transcriber 'basic-pitch' is not installed: pip install \"musicgen[transcription]\" and then pip install "
        "--no-deps basic-pitch"
    )
    with pytest.raises(InputError, match="unknown transcriber 'pyim': did you mean pyin"):
        transcribers.find("pyim")
    audio.write(tmp_path / "clip.wav", played())
    assert main(["daw", str(tmp_path / "clip.wav"), "--no-stems", "--transcriber", "basic-pitch"]) == 2
    assert capsys.readouterr().err.strip() == f"error: {said}"
    assert not (tmp_path / "clip.zip").exists()


def test_a_zip_has_the_notes_that_its_transcriber_hears_in_its_stems(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {"drums": 0.1, "bass": 0.2, "other": 0.3, "vocals": 0.05}
    stems = {name: Audio(torch.full((2, 4410), level), 44_100) for name, level in levels.items()}
    monkeypatch.setattr(DemucsSeparator, "stems", lambda self, clip: stems)  # noqa: ARG005
    heard: list[Audio] = []

    def transcribe(clip: Audio) -> list[Note]:
        heard.append(clip)
        return [Note(*one, 90) for one in CHORD]

    own = Transcriber("ours", "several voices", ("bass", "other"), "all.mid", transcribe)
    monkeypatch.setitem(TRANSCRIBERS, "ours", own)
    files, facts = daw.parts(played(), {}, transcriber="ours")
    assert torch.allclose(heard[0].wave, torch.full((2, 4410), 0.5))
    assert (facts["transcriber"], facts["notes"], facts["notes_of"]) == ("ours", 4, "bass and other")
    assert json.loads(files[daw.FACTS])["transcriber"] == "ours"
    now, sounding, at = 0.0, set(), {}
    for message in mido.MidiFile(file=io.BytesIO(files["all.mid"])):
        now += message.time
        if message.type in ("note_on", "note_off"):
            (sounding.add if message.type == "note_on" else sounding.discard)(message.note)
            at[round(now, 2)] = set(sounding)
    assert at == {0.5: {60, 64, 67}, 1.5: set(), 2.0: {62}, 3.0: set()}
    with pytest.raises(InputError, match="there are two transcribers 'pyin'"):
        transcribers.register(Transcriber("pyin", "", (), "x.mid", transcribe))


def test_the_page_offers_a_choice_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio as gr

    from demo.ui import result

    for there in (False, True):
        one = Transcriber("basic-pitch", "several voices", ("other",), "notes.mid", lambda clip: [], lambda: there)  # noqa: ARG005, B023
        monkeypatch.setitem(TRANSCRIBERS, "basic-pitch", one)
        with gr.Blocks(analytics_enabled=False):
            choice = result.build(elsewhere=False).transcriber
        assert choice.visible is there
        offered = ["pyin", "basic-pitch"] if there else ["pyin"]
        assert [value for _, value in choice.choices] == offered


@pytest.mark.skipif(
    not basic_pitch.is_installed(), reason="basic-pitch is optional: it asks for TensorFlow below 2.15.1"
)
def test_basic_pitch_hears_chords() -> None:
    """The notes of a chord and one behind it; an overtone may count as a note of its own, so recall alone is exact."""
    transcriber = transcribers.find("basic-pitch")
    before = list(logging.getLogger().handlers)
    notes = transcriber.transcribe(played(CHORD))
    assert logging.getLogger().handlers == before
    assert notes == sorted(notes, key=lambda note: note.onset)
    for onset, offset, pitch in CHORD:
        found = [note for note in notes if note.pitch == pitch]
        assert len(found) == 1
        assert (found[0].onset, found[0].offset) == (pytest.approx(onset, abs=0.05), pytest.approx(offset, abs=0.1))
    assert all(1 <= note.velocity <= 127 for note in notes)
    # The pitch classes of what else is heard are overtones of the chord.
    loudest = np.argsort([-note.velocity for note in notes])[: len(CHORD)]
    assert {notes[index].pitch for index in loudest} == {60, 62, 64, 67}
    for clip in (Audio(torch.zeros(1, RATE), RATE), Audio(torch.ones(1, 100), RATE)):
        assert transcriber.transcribe(clip) == []
