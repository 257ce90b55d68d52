"""Chord charts and MIDI files as conditions of melody models."""

from fractions import Fraction
from pathlib import Path

import librosa
import mido
import numpy as np
import pytest
import torch

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen import audio, chroma
from musicgen.__main__ import main
from musicgen.chords import QUALITIES, ChordChart, pitch_classes
from musicgen.conditioners.melody import STEP
from musicgen.errors import InputError
from musicgen.midi import notes
from musicgen.settings import Settings


def classes(*names: str) -> frozenset[int]:
    return frozenset(librosa.note_to_midi(name) % 12 for name in names)


@pytest.mark.parametrize(
    ("symbol", "names"),
    [
        ("C", "C E G"), ("Am", "A C E"), ("A:min", "A C E"), ("F#m7b5", "F# A C E"), ("Bbmaj7", "Bb D F A"), ("E7", "E G# B D"),
        ("Bdim7", "B D F Ab"), ("Gsus4", "G C D"), ("C/E", "C E G"), ("C/Bb", "C E G Bb"), ("Dadd9", "D E F# A"), ("N", ""),
        ("Cb", "B D# F#"), ("B♭m9", "Bb C Db F Ab"), ("Caug", "C E G#"), ("G5", "G D"),
    ],
)  # fmt: skip
def test_symbols_are_the_notes_that_they_name(symbol: str, names: str) -> None:
    assert pitch_classes(symbol) == classes(*names.split())


def test_qualities_are_spelt_once() -> None:
    spellings = [one for each in QUALITIES for one in each]
    assert len(spellings) == len(set(spellings))
    for intervals in QUALITIES.values():
        assert len({*intervals}) == len(intervals)


def test_a_chart_is_repeated_in_its_tempo_and_metre() -> None:
    chart = ChordChart("C G,E7 | Am", bpm=90, metre="3/4")
    assert chart.bar_seconds == Fraction(2)
    half = Fraction(1, 100)
    times = [
        Fraction(0),
        2 - half,
        Fraction(2),
        3 - half,
        Fraction(3),
        Fraction(4),
        6 - half,
        Fraction(6),
        Fraction(602),
    ]
    named = ["C", "C", "G", "G", "E7", "Am", "Am", "C", "G"]
    assert chart.at(times) == [pitch_classes(name) for name in named]
    assert ChordChart("C", bpm=120, metre="6/8").bar_seconds == Fraction(3, 2)


def test_chords_become_frames_with_several_pitch_classes() -> None:
    model = musicgen.load("mini-melody")
    prepared = model.melody.prepare(ChordChart("C Am N", bpm=120))
    frames = prepared.chroma(100)
    assert frames[0].nonzero().flatten().tolist() == [0, 4, 7]
    second = round(2 / float(STEP)) + 1
    assert frames[second].nonzero().flatten().tolist() == [0, 4, 9]
    silent = round(4 / float(STEP)) + 1
    assert frames[silent].tolist() == chroma.quantise(torch.zeros(12)).tolist()  # as silence is in training
    # A window in the middle of a long clip goes on where the clip is.
    for start in (7.0, 31.3):
        index = round(start / float(STEP))
        assert torch.equal(prepared.window(start, 10.0).chroma(20), prepared.chroma(index + 20)[index:])
    hot = model.melody.prepare(frames).chroma(100)
    assert torch.equal(hot, frames)  # frames of zeros and ones are followed as they are
    soft = model.melody.prepare(frames * 0.5 + torch.rand(100, 12, generator=torch.Generator().manual_seed(0)) / 4)
    assert bool((soft.chroma(100).sum(dim=1) == 1).all())


def test_python_shell_and_stored_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = musicgen.load("mini-melody")
    first = model.generate_codes("x", 1.0, seed=1, chords="C G Am F", bpm=120)
    same = model.generate_codes("x", 1.0, seed=1, melody=ChordChart("C G Am F"))
    other = model.generate_codes("x", 1.0, seed=1, chords="F# B", bpm=120)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)

    out, again = tmp_path / "a.wav", tmp_path / "b.wav"
    arguments = ["generate", "x", "-m", "mini-melody", "-d", "0.6", "--chords", "C G,E7", "--bpm", "90", "-o", str(out)]
    assert main(arguments) == 0
    assert Settings.of_file(out).chords == ChordChart("C G,E7", bpm=90)
    assert main(["generate", "--from-file", str(out), "--metre", "3/4", "-o", str(again)]) == 0
    assert Settings.of_file(again).chords == ChordChart("C G,E7", bpm=90, metre="3/4")
    capsys.readouterr()
    assert main([*arguments, "--melody", str(out)]) == 2
    assert "--chords takes the place of --melody" in capsys.readouterr().err
    assert main(["generate", "x", "-m", "mini", "-d", "0.6", "--chords", "C", "-o", str(tmp_path / "c.wav")]) == 2
    assert "a melody needs a melody model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chords": "C H7"}, r"the chord 'H7' cannot be read: did you mean 'B7'\?"),
        ({"chords": "C H7#"}, r"the chord 'H7#' cannot be read: did you mean 'B7"),
        ({"chords": "am"}, r"the chord 'am' cannot be read: did you mean 'Am'\?"),
        ({"chords": "Cmaj77"}, r"the chord 'Cmaj77' cannot be read: did you mean 'Cmaj7'\?"),
        ({"chords": "???"}, r"a root \(C, F#, Bb\) and a quality"),
        ({"chords": "C,"}, "the chord '' cannot be read"),
        ({"chords": " | "}, "the chords are empty"),
        ({"chords": 5}, "the chords is 5: it must be text"),
        ({"chords": "C", "bpm": 5}, "bpm is 5: it must lie between 20 and 400"),
        ({"chords": "C", "metre": "4"}, "metre is '4': it must be like '4/4'"),
        ({"chords": "C", "metre": "0/4"}, "metre is '0/4'"),
        ({"bpm": 100}, "bpm without chords"),
        ({"chords": "C", "melody": "x.wav"}, "chords take the place of a melody"),
    ],
)
def test_bad_charts(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        musicgen.GenerationRequest.of("x", **values)
    assert "\n" not in str(caught.value)


def midi_file(path: Path, *tracks: list[tuple[int, list[int], int]], tempo: int = 500_000) -> Path:
    """Tracks of (channel, numbers that sound together, ticks), at 480 ticks a beat."""
    file = mido.MidiFile()
    head = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    file.tracks.append(head)
    for track in tracks:
        written = mido.MidiTrack()
        for channel, numbers, ticks in track:
            written += [mido.Message("note_on", channel=channel, note=n, velocity=64) for n in numbers]
            rest = ticks
            for number in numbers:
                # Running status: a note that is struck with no force ends.
                written.append(mido.Message("note_on", channel=channel, note=number, velocity=0, time=rest))
                rest = 0
        file.tracks.append(written)
    file.save(path)
    return path


def test_a_midi_line_is_the_melody_of_its_sound(tmp_path: Path) -> None:
    """Against the chroma of the same notes as sines, by the analysis that recordings get."""
    line = [60, 64, 67, 62, 69, 71]
    file = midi_file(tmp_path / "line.mid", [(0, [number], 960) for number in line], [(9, [36], 240)] * 24)
    assert [(number, start, end) for start, end, number in notes(file)] == [
        (n, float(i), i + 1.0) for i, n in enumerate(line)
    ]
    rate, model = 32_000, musicgen.load("mini-melody")
    time = np.arange(rate) / rate
    sound = np.concatenate([np.sin(2 * np.pi * librosa.midi_to_hz(number) * time) for number in line]).astype("float32")
    heard = model.melody.prepare((sound, rate), separate=False).chroma(46)
    read = model.melody.prepare(file).chroma(46)
    assert (heard.argmax(1) == read.argmax(1)).float().mean() > 0.9
    assert bool((read.sum(1) == 1).all())
    codes = [
        model.generate_codes("x", 0.6, seed=2, melody=one)
        for one in (file, str(file), model.melody.prepare(file).frames)
    ]
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])


def test_midi_chords_tempo_and_gaps(tmp_path: Path) -> None:
    file = midi_file(tmp_path / "c.midi", [(0, [60, 64, 67], 480), (1, [], 0), (0, [57, 60, 64], 480)], tempo=1_000_000)
    model = musicgen.load("mini-melody")
    frames = model.melody.prepare(file).frames
    assert len(frames) == int(2 / float(STEP)) + 1
    assert frames[0].nonzero().flatten().tolist() == [0, 4, 7]
    assert frames[-2].nonzero().flatten().tolist() == [0, 4, 9]
    assert frames[-1].tolist() == frames[-2].tolist()  # held


def test_bad_midi_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = musicgen.load("mini-melody")
    (tmp_path / "text.mid").write_text("no music")
    beats = midi_file(tmp_path / "beats.mid", [(0, [60], 480)]).read_bytes()
    for name, division in (("film", 0xE728), ("timeless", 0)):  # the last two bytes of the head
        (tmp_path / f"{name}.mid").write_bytes(beats[:12] + division.to_bytes(2) + beats[14:])
    signature = mido.MetaMessage("key_signature", key="C").bytes()
    (tmp_path / "key.mid").write_bytes(
        beats.replace(beats[22:29], bytes([0, *signature[:-2], 0xFA, 26]) + beats[22:29])
    )
    for file, message in (
        (tmp_path / "key.mid", "not a readable MIDI file .Could not decode key"),
        (midi_file(tmp_path / "drums.mid", [(9, [36], 480)]), "holds no notes"),
        (midi_file(tmp_path / "empty.mid"), "holds no notes"),
        (tmp_path / "text.mid", "not a readable MIDI file"),
        (tmp_path / "film.mid", r"counts time in frames of film \(SMPTE\)"),
        (tmp_path / "timeless.mid", r"counts time in frames of film \(SMPTE\), or in none"),
        (tmp_path / "none.mid", "not a readable MIDI file .No such file"),
        (midi_file(tmp_path / "long.mid", [(0, [60], 960 * 601)]), "is longer than 600 s"),
    ):
        with pytest.raises(InputError, match=message):
            model.melody.prepare(file)
        assert main(["generate", "x", "-m", "mini-melody", "--melody", str(file), "-o", str(tmp_path / "o.wav")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_evaluation_gives_chords(tmp_path: Path) -> None:
    settings = {"chords": "C G", "bpm": 90, "precision": "float32"}
    system = load_system("mini-melody", SystemOptions("cpu", 1, settings))
    (clip,) = system.generate([Request("1", "slow piano", 3, 0.5)])
    expected = musicgen.load("mini-melody", "cpu", "float32").generate("slow piano", 0.5, seed=3, chords="C G", bpm=90)
    assert torch.equal(clip.wave, expected[0])
    assert (system.settings["chords"], system.settings["bpm"]) == ("C G", 90)
    audio.write(tmp_path / "a.wav", audio.Audio(torch.rand(1, 32_000) - 0.5, 32_000))
    with pytest.raises(InputError, match="chords takes the place of the references' melodies"):
        system.generate([Request("1", "slow piano", 3, 0.5, tmp_path / "a.wav")])
    with pytest.raises(InputError, match="bpm without chords"):
        load_system("mini-melody", SystemOptions("cpu", 1, {"bpm": 90}))


def test_the_embedded_melody_model_follows_chords() -> None:
    """Share of frames whose strongest pitch class is in the chord, against the chords of another clip."""
    model = musicgen.load("mini-melody")
    charts = [ChordChart(text, bpm=160) for text in ("C Am F", "D G A", "Em C Bm", "Eb Cm Bb")]
    waves = model.generate(["slow piano"] * len(charts), 3.0, seed=1, melody=charts)
    heard = [chroma.quantise(chroma.chroma(wave[0])).argmax(dim=1) for wave in waves]

    def share(shift: int) -> float:
        targets = [
            model.melody.prepare(charts[(i + shift) % len(charts)]).chroma(len(heard[i])) for i in range(len(charts))
        ]
        return float(np.mean([target[range(len(one)), one].mean() for target, one in zip(targets, heard, strict=True)]))

    own, other = share(0), np.mean([share(shift) for shift in range(1, len(charts))])
    assert own > 0.65
    assert own > other + 0.3
