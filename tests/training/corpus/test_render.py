"""Rendered sound against its sidecar: exact, loud enough, stereo, and holding the notes it claims."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from musicgen.audio import Audio, loudness
from musicgen.errors import InputError
from musicgen.training.corpus import GENRES, SAMPLE_RATE, analysis, compose, render, renderer, soundfont_path, stem
from musicgen.training.corpus import __main__ as command

PEAK = 10 ** (-1 / 20)

DIGEST = """
import hashlib, sys
from musicgen.training.corpus import compose, render
for seed in map(int, sys.argv[1:]):
    print(hashlib.sha256(render(compose(seed, duration=10)).tobytes()).hexdigest())
"""


@pytest.mark.usefixtures("renderer")
def test_two_processes_render_the_same_bytes() -> None:
    seeds = (0, 3, 11)
    digests = [hashlib.sha256(render(compose(seed, duration=10)).tobytes()).hexdigest() for seed in seeds]
    # The other process hashes strings differently and renders in another order.
    arguments = [sys.executable, "-c", DIGEST, *map(str, reversed(seeds))]
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.split() == digests[::-1]
    assert len(set(digests)) == len(seeds)


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_is_stereo_unclipped_and_sounds_throughout(rendered, genre: str) -> None:
    composition, wave = rendered(genre, 1)
    assert wave.shape == (2, 16 * SAMPLE_RATE)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0.2 < np.abs(wave).max() <= PEAK
    assert loudness(Audio(torch.from_numpy(wave), SAMPLE_RATE)) == pytest.approx(-16, abs=1.5)
    # Both ears hear something, and not the same.
    left, right = np.square(wave).mean(axis=1)
    assert abs(10 * np.log10(left / right)) < 6
    assert np.corrcoef(wave)[0, 1] < 0.995
    # Mixed down, nothing cancels out.
    assert np.square(wave.mean(axis=0)).mean() > 0.4 * (left + right) / 2
    # No second is silent, from the first to the last.
    seconds = np.square(wave).reshape(2, 16, SAMPLE_RATE).mean(axis=(0, 2))
    assert 10 * np.log10(seconds.min() / seconds.max()) > -25, composition.form


@pytest.mark.usefixtures("renderer")
def test_length_is_exact_at_odd_durations_and_rates() -> None:
    assert render(compose(2, duration=9.37)).shape == (2, round(9.37 * SAMPLE_RATE))
    assert render(compose(2, duration=8.5), sample_rate=16_000).shape == (2, 136_000)


@pytest.mark.parametrize("genre", GENRES)
def test_melody_notes_sound_at_their_times(rendered, genre: str) -> None:
    """A written note's fundamental stands out against the quarter tones beside it, in the whole mix."""
    composition, wave = rendered(genre, 1)
    mono = wave.mean(axis=0)
    found = total = 0
    for note in composition.lead.notes:
        if note.offset - note.onset < 0.2:
            continue
        start, end = int(note.onset * SAMPLE_RATE), int(note.offset * SAMPLE_RATE)
        sound = mono[start:end] * np.hanning(end - start)
        spectrum = np.abs(np.fft.rfft(sound, 2**17))
        frequency = 440 * 2 ** ((note.pitch - 69) / 12)

        def level(hertz: float, spectrum: np.ndarray = spectrum) -> float:
            middle = round(hertz * 2**17 / SAMPLE_RATE)
            return float(spectrum[middle - 8 : middle + 9].max())

        beside = max(level(frequency * 2 ** (0.75 / 12)), level(frequency * 2 ** (-0.75 / 12)))
        total += 1
        found += level(frequency) > 1.25 * beside
    assert total >= 5
    assert found / total >= 0.75


def test_chroma_of_the_mix_follows_the_melody(rendered) -> None:
    compositions = [rendered(genre, 1) for genre in GENRES]
    agreement = [analysis.melody_agreement(composition, wave.mean(axis=0)) for composition, wave in compositions]
    assert np.mean(agreement) > 0.88
    assert min(agreement) > 0.5


def test_tempo_and_key_can_be_heard(rendered) -> None:
    compositions = [rendered(genre, 1) for genre in GENRES]
    tempo = [analysis.tempo_is_heard(composition, wave.mean(axis=0)) for composition, wave in compositions]
    key = [analysis.estimated_key(wave.mean(axis=0)) == composition.key.name for composition, wave in compositions]
    assert np.mean(tempo) >= 0.8
    assert np.mean(key) >= 0.7


def test_the_estimators_hear_what_is_there() -> None:
    time = np.arange(8 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    notes = [0, 4, 7, 0, 5, 9, 7, 0]  # C major in one-second tones
    scale = np.concatenate([
        np.sin(2 * np.pi * 440 * 2 ** ((note + 3) / 12) * time[:SAMPLE_RATE]) for note in notes
    ]).astype(np.float32)  # fmt: skip
    assert analysis.estimated_key(scale) == "C major"
    composition = compose(1, genre="house", bpm=124, duration=8)
    clicks = np.zeros(8 * SAMPLE_RATE, dtype=np.float32)
    for beat in composition.beats:
        clicks[int(beat * SAMPLE_RATE) : int(beat * SAMPLE_RATE) + 200] = 1
    assert analysis.tempo_is_heard(composition, clicks)
    assert not analysis.tempo_is_heard(compose(1, genre="house", bpm=160, duration=8), clicks)


@pytest.mark.usefixtures("renderer")
def test_a_stem_is_silent_before_its_part_begins() -> None:
    composition = next(p for p in (compose(s, duration=12) for s in range(50)) if p.lead.notes[0].onset > 1)
    first = round(composition.lead.notes[0].onset * SAMPLE_RATE)
    sound = stem(composition.lead, composition.duration)
    assert not sound[:, :first].any()
    assert sound[:, first : first + SAMPLE_RATE].any()


def test_a_missing_soundfont_is_explained(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MUSICGEN_SOUNDFONT", str(tmp_path / "none.sf2"))
    with pytest.raises(InputError, match=r"MUSICGEN_SOUNDFONT names .*none\.sf2"):
        soundfont_path()
    monkeypatch.delenv("MUSICGEN_SOUNDFONT")
    monkeypatch.setattr(renderer, "SOUNDFONT_PATHS", (str(tmp_path / "none.sf2"),))
    with pytest.raises(InputError, match="apt install fluid-soundfont-gm"):
        soundfont_path()


def test_a_missing_synthesiser_is_one_line(monkeypatch, tmp_path, capsys) -> None:
    renderer._synth.cache_clear()
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(InputError, match="pip install --no-deps tinysoundfont"):
        stem(compose(0, duration=8).lead, 8)
    monkeypatch.setattr(sys, "argv", ["corpus", "--output", str(tmp_path), "--count", "1"])
    assert command.main() == 2
    assert "error: rendering needs the package tinysoundfont" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
