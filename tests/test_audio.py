"""Audio files round trip, loudness against the standard's own test tone, and failures that leave nothing behind."""

import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import pyloudnorm
import pytest
import soundfile
import torch

from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError


def tone(seconds: float = 2.0, rate: int = 32_000, channels: int = 1, level: float = 0.25) -> Audio:
    t = torch.arange(round(seconds * rate)) / rate
    return Audio((level * torch.sin(2 * torch.pi * 440 * t)).expand(channels, -1).clone(), rate)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_files_round_trip_with_their_comment(extension: str, channels: int, tmp_path: Path) -> None:
    clip = tone(channels=channels)
    comment = json.dumps({"prompt": "ein Stück für „zwei“ Klaviere", "long": "x" * 20_000})
    path = tmp_path / f"deep/er/clip{extension}"
    audio.write(path, clip, comment)
    assert audio.read_comment(path) == comment
    again = audio.read(path)
    assert again.rate == 32_000
    assert again.wave.shape[0] == channels
    lossless = extension in (".wav", ".flac")
    if lossless:
        torch.testing.assert_close(again.wave, clip.wave, atol=1 / 32_768, rtol=0)
    else:
        # Lossy coders shift and pad; the tone and its level survive.
        assert abs(again.wave.shape[1] - clip.wave.shape[1]) < 4_000
        spectrum = torch.fft.rfft(again.wave[0, 8_000:40_000]).abs()
        assert spectrum.argmax().item() == 440
        rms = [float(one.wave.square().mean().sqrt()) for one in (again, clip)]
        assert rms[0] == pytest.approx(rms[1], rel=0.05)
    assert not [file for file in path.parent.iterdir() if file != path]


def test_another_programs_files_have_no_comment(tmp_path: Path) -> None:
    for extension, (container, subtype) in audio.FORMATS.items():
        path = tmp_path / f"other{extension}"
        soundfile.write(path, tone().wave[0].numpy(), 32_000, format=container, subtype=subtype)
        assert audio.read_comment(path) == ""


def test_long_vorbis_files_are_written(tmp_path: Path) -> None:
    audio.write(tmp_path / "long.ogg", tone(300, channels=2))
    assert audio.read(tmp_path / "long.ogg").duration == pytest.approx(300, abs=0.1)


def test_loudness_of_the_standards_reference_tone() -> None:
    """EBU Tech 3341, case 1 and 2: a 1 kHz stereo sine at -23 and -33 dBFS measures -23 and -33 LUFS."""
    for level in (-23.0, -33.0):
        t = torch.arange(20 * 48_000) / 48_000
        wave = (10 ** (level / 20) * torch.sin(2 * torch.pi * 1000 * t)).expand(2, -1)
        assert audio.loudness(Audio(wave, 48_000)) == pytest.approx(level, abs=0.1)


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_is_that_of_pyloudnorm(channels: int, rate: int) -> None:
    """Of bursts, silence and a quiet end, which the gates leave out, with peaks beyond full scale."""
    generator = torch.Generator().manual_seed(channels)
    wave = 0.5 * torch.randn(channels, 12 * rate, generator=generator)
    wave[:, 3 * rate : 5 * rate] = 0
    wave[:, 7 * rate :] *= 0.01
    wave[:, 10 * rate :] *= 1e-3
    expected = pyloudnorm.Meter(rate).integrated_loudness(wave.double().numpy().T)
    assert audio.loudness(Audio(wave, rate)) == pytest.approx(expected, abs=1e-6)
    part = wave[:, : 8 * rate + 333]  # what is left of the last block counts in pyloudnorm, and not in the standard
    expected = pyloudnorm.Meter(rate).integrated_loudness(part.double().numpy().T)
    assert audio.loudness(Audio(part, rate)) == pytest.approx(expected, abs=0.05)


def test_normalised_loudness() -> None:
    assert audio.loudness(audio.normalise_loudness(tone(level=0.02))) == pytest.approx(-14.0, abs=0.1)
    quiet = audio.normalise_loudness(tone(level=0.9), -30.0)
    assert audio.loudness(quiet) == pytest.approx(-30.0, abs=0.1)
    # A click has a high peak and little loudness: the gain stops at the ceiling in place of clipping.
    click = Audio(torch.zeros(1, 64_000), 32_000)
    click.wave[0, ::8_000] = 0.5
    assert audio.normalise_loudness(click).wave.abs().max().item() == pytest.approx(10 ** (-1 / 20), rel=1e-3)


def test_near_silence_is_not_lifted() -> None:
    """As audiocraft: an RMS below 2e-3 stays; a little above, the gain is that of the loudness."""
    rate = 32_000
    noise = torch.randn(1, rate, generator=torch.Generator().manual_seed(0))
    noise /= noise.square().mean().sqrt()
    quiet, louder = Audio(noise * 1.9e-3, rate), Audio(noise * 2.1e-3, rate)
    assert torch.equal(audio.normalise_loudness(quiet).wave, quiet.wave)
    assert audio.loudness_gain(quiet) == 1
    assert audio.loudness_gain(louder) == pytest.approx(10 ** ((-14 - audio.loudness(louder)) / 20))
    assert audio.loudness(audio.normalise_loudness(louder)) == pytest.approx(-14, abs=0.5)


def test_what_has_no_loudness_is_left_alone() -> None:
    for clip in (Audio(torch.zeros(1, 64_000), 32_000), tone(0.2)):
        assert audio.loudness(clip) == -math.inf
        assert torch.equal(audio.normalise_loudness(clip).wave, clip.wave)


def test_resampling_keeps_the_tone() -> None:
    for rate in (8_000, 44_100, 48_000, 31_991):  # the last has no divisor in common with 32 000
        other = tone(1.0).resampled(rate)
        assert other.wave.shape[1] == rate
        assert torch.fft.rfft(other.wave[0]).abs().argmax().item() == 440


def test_channels() -> None:
    stereo = Audio(torch.stack([torch.ones(10), torch.zeros(10)]), 32_000)
    assert stereo.with_channels(1).wave.tolist() == [[0.5] * 10]
    assert stereo.mono().with_channels(2).wave.tolist() == [[0.5] * 10] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such audio file"), (b"", "is empty"), (b"no audio at all", "not readable as audio")],
)
def test_unreadable_files_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"clip\.wav: {message}"):
        audio.read(path)


def test_files_without_samples_or_with_nan_are_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", torch.zeros(0).numpy(), 32_000)
    with pytest.raises(InputError, match="holds no samples"):
        audio.read(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", torch.full((10,), float("nan")).numpy(), 32_000, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN or infinite"):
        audio.read(tmp_path / "nan.wav")


def test_long_files_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(6):  # two hours in a quarter of a megabyte
            file.write(torch.zeros(8_000 * 1200).numpy())
    content = path.read_bytes()
    # Bits 28 to 63 of the eight bytes from the 18th on: how many samples there are; 0 for "nobody knows".
    head = int.from_bytes(content[18:26], "big") >> 36 << 36
    for told in (8_000 * 7200, 0, 2**36 - 1):
        path.write_bytes(content[:18] + (head | told).to_bytes(8, "big") + content[26:])
        with pytest.raises(InputError, match=r"clip\.flac is longer than 600 s"):
            audio.read(path, longest=600.0)
    audio.write(path, tone(1.0))
    assert audio.read(path, longest=1.0).duration == 1.0
    soundfile.write(tmp_path / "many.wav", torch.zeros(1000, 64).numpy(), 48_000)
    with pytest.raises(InputError, match="has 64 channels: 32 at most"):
        audio.read(tmp_path / "many.wav", longest=600.0)


def test_unknown_extensions_and_rates_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown audio format '\.aac': one of \.wav, \.flac, \.mp3, \.ogg"):
        audio.write(tmp_path / "clip.aac", tone())
    with pytest.raises(InputError, match="MP3 has no sample rate of 31000 Hz"):
        audio.write(tmp_path / "clip.mp3", tone(rate=31_000))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The operating system refuses bytes past a limit, as a full disk does: half-way through the file."""
    program = f"""
import resource, signal, torch
from pathlib import Path
from musicgen import audio
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
audio.write(Path({str(tmp_path)!r}) / "clip.wav", audio.Audio(torch.zeros(1, 320_000), 32_000))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "InputError: cannot write" in result.stderr
    assert "File too large" in result.stderr
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        audio.write(tmp_path / "file" / "clip.wav", tone())
