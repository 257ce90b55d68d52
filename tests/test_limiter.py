"""The true-peak limiter: loudness and peaks by FFmpeg's ebur128, streams against whole clips, and old settings."""

import json
import math

import numpy as np
import pytest
import torch

import musicgen
from benchmarks import ebur128
from musicgen import audio, limiter
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.limiter import CEILING, MOST_REDUCTION, TruePeakLimiter, reach_loudness, true_peak
from musicgen.settings import Settings

RATE = 32_000


def beats(seconds=6.0, channels=1, accent=1.0, rate=RATE):
    """A pad with a drum twice a second: its peaks are far above its loudness. float32 [channels, T]"""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    pad = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6)) / 6
    drum = accent * np.exp(-(time % 0.5) / 0.02) * rng.uniform(-1, 1, (channels, time.size))
    return Audio(torch.from_numpy((0.1 * (pad + drum)).astype(np.float32)), rate)


def test_true_peak_sees_between_the_samples():
    # A sine at a quarter of the rate, 45° off: every sample is 3 dB under the peak of the wave.
    wave = np.sin(2 * np.pi * np.arange(4000) / 4 + np.pi / 4)[None] * np.hanning(4000)
    assert 20 * np.log10(np.abs(wave).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak(wave) == pytest.approx(0.0, abs=0.15)
    assert true_peak(np.zeros((1, 100))) == -math.inf
    assert true_peak(np.zeros((1, 0))) == -math.inf


@pytest.mark.parametrize(("channels", "rate", "target"), [(1, 32_000, -14.0), (2, 32_000, -11.0), (1, 44_100, -14.0)])
def test_the_loudness_is_reached_and_the_true_peak_kept(channels, rate, target):
    clip = beats(channels=channels, rate=rate)
    level, _ = ebur128.measure(audio.normalise_loudness(clip, target))
    assert level < target - 1.5  # what its peaks allow
    limited = reach_loudness(clip, target)
    level, peak = ebur128.measure(limited.audio)
    assert level == pytest.approx(target, abs=0.15)
    assert peak <= CEILING + 0.01
    assert true_peak(limited.audio.wave.numpy()) <= CEILING
    assert 2 < limited.reduction <= MOST_REDUCTION


@pytest.mark.parametrize("name", ["mini", "mini-stereo-melody"])
def test_clips_of_the_embedded_models_reach_their_loudness(name):
    model = musicgen.load(name, "cpu", "float32")
    waves = model.generate(["fast heavy metal with loud drums", "funk with a slap bass"], 4.0, seed=0)
    for wave in waves:
        level, peak = ebur128.measure(reach_loudness(Audio(wave, model.sample_rate), audio.TARGET_LUFS).audio)
        assert level == pytest.approx(audio.TARGET_LUFS, abs=0.5)
        assert peak <= CEILING + 0.01


def test_a_clip_without_high_peaks_only_has_its_gain():
    tone = Audio(torch.sin(torch.arange(3 * RATE) * 0.1)[None] * 0.05, RATE)
    limited = reach_loudness(tone, -20.0)
    assert limited.reduction == 0
    assert torch.equal(limited.audio.wave, tone.wave * np.float32(audio.loudness_gain(tone, -20.0)))


def test_what_has_no_loudness_is_left_alone():
    for clip in (Audio(torch.zeros(1, RATE), RATE), Audio(torch.ones(1, 100), RATE)):
        assert torch.equal(reach_loudness(clip, -14.0).audio.wave, clip.wave)


def test_a_click_does_not_bring_the_rest_to_the_ceiling():
    wave = torch.sin(torch.arange(4 * RATE) * 0.05)[None] * 0.01
    wave[0, 2 * RATE] = 1.0
    limited = reach_loudness(Audio(wave, RATE), -14.0)
    assert limited.reduction == pytest.approx(MOST_REDUCTION, abs=0.01)
    assert audio.loudness(limited.audio) < -20
    assert true_peak(limited.audio.wave.numpy()) <= CEILING


def test_the_gain_is_smooth_and_the_same_for_both_channels():
    clip = beats(channels=2)
    clip.wave[1] *= 0.1
    limited = reach_loudness(clip, -14.0).audio
    safe = clip.wave.abs() > 1e-3
    gains = torch.where(safe, limited.wave / clip.wave, torch.nan)
    both = safe.all(dim=0)
    assert torch.allclose(gains[0, both], gains[1, both], rtol=1e-4)
    steps = (20 * gains[0].log10()).diff()
    # From one sample to the next: at most what 12 dB over the look-ahead of 5 ms are.
    assert steps[~steps.isnan()].abs().max() < MOST_REDUCTION / (0.001 * RATE)


def test_a_stream_in_blocks_is_what_one_call_gives():
    wave = 10 * beats(channels=2).wave.numpy()
    whole = TruePeakLimiter(RATE)
    expected = whole.push(wave, last=True)
    assert true_peak(expected) <= CEILING
    assert whole.reduction > 3
    rng = np.random.default_rng(1)
    streamed, parts, start = TruePeakLimiter(RATE), [], 0
    while start < wave.shape[1]:
        size = int(rng.integers(1, 4_000))
        parts.append(streamed.push(wave[:, start : start + size]))
        start += size
        given = sum(part.shape[1] for part in parts)
        assert min(start, wave.shape[1]) - given < 0.01 * RATE  # it is never more than 10 ms behind
    parts.append(streamed.push(wave[:, :0], last=True))
    assert np.allclose(np.concatenate(parts, axis=1), expected, atol=1e-6)
    assert streamed.reduction == pytest.approx(whole.reduction)


def test_nothing_was_streamed():
    assert TruePeakLimiter(RATE).push(np.zeros((2, 0), np.float32), last=True).shape == (2, 0)


def test_a_long_wave_is_measured_in_parts_as_in_one(monkeypatch):
    wave = 10 * beats(2.0).wave.numpy()
    expected = TruePeakLimiter(RATE).push(wave, last=True)
    monkeypatch.setattr(limiter, "_PART", 1_000)
    assert np.allclose(TruePeakLimiter(RATE).push(wave, last=True), expected, atol=1e-6)
    assert true_peak(wave) == pytest.approx(20 * math.log10(np.abs(wave).max()), abs=1.5)


def test_a_loop_is_limited_over_its_seam():
    """A peak at the end of a loop: heard again and again, the gain goes on at the beginning where it stood at the end."""
    clip = beats(2.0)
    clip.wave[0, -300:-200] *= 20

    def jump(loop):
        made = reach_loudness(clip, -14.0, loop=loop).audio.wave[0]
        ends = [float(made[part].norm() / clip.wave[0][part].norm()) for part in (slice(0, 32), slice(-32, None))]
        return abs(20 * math.log10(ends[0] / ends[1]))

    assert jump(loop=True) < 0.5 < 3 < jump(loop=False)


def test_an_unknown_limiter_is_named():
    with pytest.raises(InputError, match=r"unknown limiter 'soft': one of none, true-peak"):
        reach_loudness(beats(1.0), -14.0, "soft")
    values = {
        "version": "0",
        "model": "mini",
        "prompt": "x",
        "duration": 1.0,
        "seed": 1,
        "schema": 8,
        "limiter": "soft",
    }
    with pytest.raises(InputError, match=r"settings are damaged \(unknown limiter 'soft'"):
        Settings.from_comment(json.dumps({"musicgen": values}), "x")


def test_settings_say_what_the_limiter_did_and_old_ones_give_the_old_loudness(tmp_path, capsys):
    new, old, again = (tmp_path / name for name in ("new.wav", "old.wav", "again.wav"))
    made = ["generate", "drums", "-m", "mini", "-d", "2", "--seed", "1", "-o"]
    assert main([*made, str(new)]) == 0
    said = capsys.readouterr().out
    settings = Settings.of_file(new)
    assert settings.limiter == "true-peak"
    measured = json.loads(audio.read_comment(new))["measured"]
    assert f"-14.0 LUFS, peaks limited by {measured['limiter_reduction']:.1f} dB" in said
    wave = musicgen.load("mini").generate(["drums"], 2.0, seed=1)[0]
    limited = reach_loudness(Audio(wave, RATE), -14.0)
    assert measured["limiter_reduction"] == pytest.approx(limited.reduction, abs=0.005)
    assert (audio.read(new).wave - limited.audio.wave).abs().max() < 1 / 32_768
    # As version 0.1.0 stored it: schema 7 and no limiter.
    values = json.loads(settings.comment())["musicgen"] | {"schema": 7}
    del values["limiter"]
    expected = audio.normalise_loudness(Audio(wave, RATE))
    audio.write(old, expected, json.dumps({"musicgen": values}))
    assert main(["generate", "--from-file", str(old), "-o", str(again)]) == 0
    assert torch.equal(audio.read(again).wave, audio.read(old).wave)
    assert "peaks limited" not in capsys.readouterr().out
    assert main(["generate", "--from-file", str(old), "--limiter", "-o", str(again), "--force"]) == 0
    assert torch.equal(audio.read(again).wave, audio.read(new).wave)
