"""`musicgen inspect`: what files say of their origin, as text and as JSON."""

import dataclasses
import json
from pathlib import Path

import pytest
import soundfile
import torch

from musicgen import audio, provenance
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.chords import ChordChart
from musicgen.options import GenerationOptions
from musicgen.settings import AdapterUse, Settings, SourceFile
from musicgen.timeline import TimelineEntry

SOUND = Audio(0.1 * torch.sin(torch.arange(32_000) * 0.2)[None], 32_000)


def shown(*arguments: object, capsys) -> str:
    assert main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_a_clip_made_here(extension: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / f"clip{extension}"
    comment = Settings("0.1.0", "mini", "slow\npiano", 1.0, 7).comment({"limiter_reduction": 2.5})
    audio.write(path, SOUND, provenance.tags(comment))
    (found,) = json.loads(shown(path, "--json", "--no-watermark", capsys=capsys))
    assert found["tags"]["digitalsourcetype"] == provenance.TRAINED_ALGORITHMIC_MEDIA
    assert (found["settings"]["seed"], found["settings_match"], found["measured"]) == (
        7,
        True,
        {"limiter_reduction": 2.5},
    )
    sound = found["sound"]
    assert (sound["channels"], sound["rate"]) == (1, 32_000)
    assert sound["seconds"] == pytest.approx(1.0, abs=0.1)
    assert sound["key"] is not None
    assert sound["lufs"] == pytest.approx(audio.loudness(audio.read(path)), abs=0.01)
    said = shown(path, "--no-watermark", capsys=capsys)
    assert "yes: MusicGen mini, musicgen 0.1.0" in said
    assert "slow piano" in said
    assert "model mini, duration 1.0, seed 7, precision float32, as the tags say" in said


def test_what_a_clip_follows_is_shown(tmp_path: Path, capsys) -> None:
    """Each setting that is not the usual has its line; the others have none."""
    path, digest = tmp_path / "clip.flac", "0" * 64
    usual = Settings("0.1.0", "mini", "x", 9.0, 7)
    audio.write(path, SOUND, provenance.tags(usual.comment()))
    plain = shown(path, "--no-watermark", capsys=capsys)
    own = dataclasses.replace(
        usual,
        chords=ChordChart("C G,E7 Am F", 90.0, "3/4"),
        options=GenerationOptions(top_k=50, negative_prompt="noise"),
        timeline=(TimelineEntry(4.5, "drum and bass"),),
        conditions={"energy": "0.5", "style": SourceFile("song.mp3", digest)},
        adapters=(AdapterUse("jazz", digest, 0.8),),
        continue_from=SourceFile("intro.wav", digest),
        decoder="mbd",
        loop=True,
        beyond=("4 to 6 s made anew",),
    )
    audio.write(path, SOUND, provenance.tags(own.comment()))
    said = shown(path, "--no-watermark", capsys=capsys)
    further = [line.split(maxsplit=1) for line in said.splitlines() if line not in plain.splitlines()]
    assert {name: told for name, told in further if name != "continue"} == {
        "chords": "C G,E7 Am F, 90 bpm, 3/4",
        "timeline": "4.5 s: drum and bass",
        "conditions": "energy 0.5, style song.mp3",
        "adapters": "jazz 0.8",
        "options": "top_k 50, negative_prompt noise",
        "decoder": "mbd",
        "loop": "yes",
        "further": "4 to 6 s made anew",
    }
    assert "  continue from     intro.wav" in said
    audio.write(
        path, SOUND, provenance.tags(dataclasses.replace(usual, melody=SourceFile("bach.mid", digest)).comment())
    )
    assert "  melody            bach.mid" in shown(path, "--no-watermark", capsys=capsys)


def test_changed_settings_show(tmp_path: Path, capsys) -> None:
    path = tmp_path / "clip.flac"
    made = provenance.tags(Settings("0.1.0", "mini", "x", 1.0, 7).comment())
    audio.write(path, SOUND, made | {"comment": Settings("0.1.0", "mini", "x", 1.0, 8).comment()})
    (found,) = json.loads(shown(path, "--json", "--no-watermark", capsys=capsys))
    assert found["settings_match"] is False
    assert "not those that the tags name" in shown(path, "--no-watermark", capsys=capsys)


def test_a_recording_and_a_missing_file(tmp_path: Path, capsys) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, SOUND.wave.numpy().T, 32_000)
    (found,) = json.loads(shown(path, "--json", "--no-watermark", capsys=capsys))
    assert (found["tags"], found["settings"], found["settings_match"], found["measured"]) == ({}, None, None, {})
    said = shown(path, path, "--no-watermark", capsys=capsys)
    assert said.count("made by a model   not said in the tags") == 2
    assert main(["inspect", str(tmp_path / "none.wav")]) == 2
    assert "no such audio file" in capsys.readouterr().err
