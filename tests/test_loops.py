"""Loops cut at bars: their length against the composed corpus, whose tempo is exact, and their seam."""

import json

import numpy as np
import pytest
import torch

from musicgen import audio, rhythm
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.chords import ChordChart
from musicgen.errors import InputError
from musicgen.loops import beats_of, cut_at_bars, make_loop
from musicgen.postprocessing import postprocess
from musicgen.settings import Settings
from musicgen.training.corpus import compose, render

RATE = 32_000
SEEDS = (10_000_004, 10_000_006, 10_000_010, 10_000_020)


def clicks(bpm: float, seconds: float, start: float = 0.3) -> Audio:
    """A short burst of noise on each beat."""
    rng = np.random.default_rng(0)
    wave = np.zeros(round(seconds * RATE), np.float32)
    burst = (rng.uniform(-0.5, 0.5, 2_000) * np.exp(-np.arange(2_000) / 300)).astype(np.float32)
    for beat in np.arange(start, seconds - 0.1, 60 / bpm):
        place = round(beat * RATE)
        wave[place : place + 2_000] += burst
    return Audio(torch.from_numpy(wave)[None], RATE)


@pytest.mark.parametrize("bpm", [73.5, 100.0, 128.0, 141.3])
def test_the_beats_of_clicks_are_measured(bpm: float) -> None:
    beats = rhythm.measure(clicks(bpm, 12.0))
    assert beats.bpm == pytest.approx(bpm, rel=5e-4)
    off = (beats.first - 0.3) % beats.period
    assert min(off, beats.period - off) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("renderer")
def test_a_loop_of_sequenced_music_is_whole_bars_long(seed: int) -> None:
    """A bar of the corpus is a whole number of the tokeniser's frames, its downbeats are stored exactly."""
    composition = compose(seed, duration=15.0, sequenced=True)
    clip = Audio(torch.from_numpy(render(composition)), RATE)
    bar = float(np.mean(np.diff(composition.downbeats)))
    beats = round(bar / float(np.mean(np.diff(composition.beats))))
    loop = cut_at_bars(clip, beats_per_bar=beats)
    assert loop.bpm == pytest.approx(60 * beats / bar, rel=0.001)
    assert loop.audio.duration == pytest.approx(loop.bars * bar, abs=0.005)
    assert loop.bars & (loop.bars - 1) == 0  # a power of two
    assert clip.duration / 2 < loop.audio.duration + bar + beats * bar / beats
    two = cut_at_bars(clip, 2, beats)
    assert (two.bars, two.measured["bars"]) == (2, 2)
    assert two.audio.duration == pytest.approx(2 * bar, abs=0.005)
    assert two.audio.wave.shape[0] == 2


def test_a_loop_is_as_even_as_the_clip_across_its_seam() -> None:
    """The clicks go on over the seam in time, and the mixed part is no louder: they are alike, where other sounds are not."""
    loop = cut_at_bars(clicks(120.0, 10.0), 2)
    twice = Audio(torch.cat([loop.audio.wave, loop.audio.wave, loop.audio.wave], dim=1), RATE)
    onsets = np.flatnonzero(np.convolve(np.abs(twice.wave[0].numpy()), np.ones(200) / 200, "same") > 0.05)
    starts = onsets[np.flatnonzero(np.diff(onsets, prepend=-10_000) > 4_000)] / RATE
    assert np.diff(starts) == pytest.approx(0.5, abs=0.006)
    peaks = [float(twice.wave[0, round(one * RATE) : round(one * RATE) + 2_000].abs().max()) for one in starts[1:-1]]
    assert max(peaks) < 1.2 * min(peaks)


def test_what_has_no_bars_is_looped_at_its_end() -> None:
    silence, short = Audio(torch.zeros(1, 5 * RATE), RATE), clicks(60.0, 3.5)
    with pytest.raises(InputError, match="no beats are heard in the clip"):
        cut_at_bars(silence)
    with pytest.raises(InputError, match=r"8 bars take .* s at .* bpm, and from its first beat on the clip has"):
        cut_at_bars(short, 8)
    made = postprocess(silence, loop=True, loudness=None, loop_cut="bars")
    assert torch.equal(made.audio.wave, make_loop(silence).wave)
    assert (made.loop.bpm, made.measured) == (None, {})
    assert "no beats are heard" in made.not_at_bars
    with pytest.raises(InputError, match="loop_bars is 0: it must be a whole number from 1 to 256"):
        cut_at_bars(short, 0)


def test_the_beats_of_a_bar_are_those_of_the_chords() -> None:
    assert [beats_of(ChordChart("C", 120.0, metre)) for metre in ("4/4", "3/4", "6/8", "12/8", "7/8")] == [
        4,
        3,
        2,
        4,
        7,
    ]
    assert beats_of(None) == 4


def test_generate_says_bars_and_tempo_and_old_settings_give_their_loop(tmp_path, capsys) -> None:
    new, old, again = (tmp_path / name for name in ("new.wav", "old.wav", "again.wav"))
    made = ["generate", "fast techno with drums", "-m", "mini", "-d", "6", "--seed", "3", "--no-loudness", "--loop"]
    assert main([*made, "--loop-bars", "2", "-o", str(new)]) == 0
    said = capsys.readouterr().out
    comment = json.loads(audio.read_comment(new))
    bars, bpm = comment["measured"]["bars"], comment["measured"]["bpm"]
    assert bars == 2
    assert f"loop of 2 bars at {bpm:.1f} bpm" in said
    assert audio.read(new).duration == pytest.approx(2 * 4 * 60 / bpm, abs=0.005)
    assert main(["generate", "--from-file", str(new), "-o", str(again)]) == 0
    assert again.read_bytes() == new.read_bytes()
    # As before there were cuts: the end in the beginning, a second shorter.
    assert main([*made, "--loop-cut", "end", "-o", str(old)]) == 0
    values = json.loads(audio.read_comment(old))["musicgen"] | {"schema": 8}
    del values["loop_cut"], values["loop_bars"]
    assert Settings.from_comment(json.dumps({"musicgen": values}), "x").loop_cut == "end"
    before = audio.read(old).wave
    audio.write(old, Audio(before, RATE), json.dumps({"musicgen": values}))
    assert main(["generate", "--from-file", str(old), "-o", str(again), "--force"]) == 0
    assert torch.equal(audio.read(again).wave, before)
    assert audio.read(old).duration == 5.0
