"""Every format that people have is read to the end of its data, in bounded memory, or refused in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from musicgen import audio, decoding, resampler
from musicgen.audio import Audio
from musicgen.byte_budget import ByteBudget
from musicgen.errors import InputError
from tests.encoding import encode, melody
from tests.fuzz import refused

RATE = 44_100
FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is the oracle here")
CODEC_DELAY = 0.08
"""Seconds that a lossy coder may put before or behind the sound."""


def likeness(sound: Audio, wave: torch.Tensor, rate: int) -> float:
    """The highest correlation of two mono sounds over shifts within CODEC_DELAY."""
    ours, theirs = sound.mono().resampled(rate).wave[0].double(), wave.mean(dim=0).double()
    size = len(ours) + len(theirs)
    product = torch.fft.irfft(torch.fft.rfft(ours, size) * torch.fft.rfft(theirs, size).conj(), size)
    reach = round(CODEC_DELAY * rate)
    near = torch.cat([product[:reach], product[-reach:]])
    return float(near.abs().max() / (ours.norm() * theirs.norm()))


LOSSLESS = [
    ("x.m4a", "alac"),
    ("x.oga", "flac"),
    ("x.mka", "pcm_s16le"),
    ("x.mov", "pcm_s16le"),
    ("x.wv", "wavpack"),
    ("x.tta", "tta"),
]
LOSSY = [
    ("x.m4a", "aac"), ("x.mp4", "aac"), ("x.aac", "aac"), ("x.mkv", "aac"), ("x.webm", "libopus"), ("x.opus", "libopus"),
    ("x.wma", "wmav2"), ("x.mp2", "mp2"), ("x.ac3", "ac3"), ("x.mp3", "libmp3lame"), ("x.3gp", "aac"),
    ("x.amr", "libopencore_amrnb"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), [*LOSSLESS, *LOSSY])
def test_formats_are_read_whole(name: str, codec: str, tmp_path: Path) -> None:
    channels = 1 if codec == "libopencore_amrnb" else 2
    wave = melody(channels=channels)
    sound = audio.read(encode(tmp_path / name, wave, RATE, codec))
    assert sound.wave.shape[0] == channels
    assert Path(name).suffix in decoding.EXTENSIONS
    if (name, codec) in LOSSLESS:
        torch.testing.assert_close(sound.wave, wave, atol=1 / 32_768, rtol=0)
        return
    assert sound.duration == pytest.approx(3.0, abs=CODEC_DELAY)
    assert likeness(sound, wave, RATE) > (0.9 if codec == "libopencore_amrnb" else 0.98)
    # The name does not matter: a phone's recording may have any.
    (tmp_path / name).rename(tmp_path / "voice memo")
    assert torch.equal(audio.read(tmp_path / "voice memo").wave, sound.wave)


@pytest.mark.parametrize(
    ("name", "codec", "channels"),
    [("x.m4a", "aac", 6), ("x.m4a", "aac", 8), ("x.webm", "libopus", 8), ("x.mka", "pcm_s16le", 8), ("x.wv", "wavpack", 8),
     ("x.mka", "pcm_s16le", 16)],
)  # fmt: skip
def test_surround_sound(name: str, codec: str, channels: int, tmp_path: Path) -> None:
    """Of 8 channels that lie apart PyAV counts too many, and reads memory that is not theirs."""
    wave = melody(1.0, channels=2).repeat(channels // 2, 1) * torch.linspace(1, 0.3, channels)[:, None]
    sound = audio.read(encode(tmp_path / name, wave, RATE, codec))
    assert sound.wave.shape[0] == channels
    if codec in ("pcm_s16le", "wavpack"):
        torch.testing.assert_close(sound.wave, wave, atol=1 / 32_768, rtol=0)
        return
    # The fourth is for low frequencies: a coder may leave the rest of it out.
    heard = [i for i in range(channels) if i != 3]
    levels, expected = (one.square().mean(dim=1).sqrt()[heard] for one in (sound.wave, wave))
    torch.testing.assert_close(levels, expected, rtol=0.15, atol=1e-3)


@pytest.mark.parametrize("name", ["x.aiff", "x.au", "x.caf", "x.w64", "x.rf64", "x.flac", "x.wav"])
def test_what_libsndfile_reads_is_exact(name: str, tmp_path: Path) -> None:
    """Bit by bit what libsndfile itself reads, whatever the samples' size."""
    for subtype in ("PCM_16", "PCM_24"):
        soundfile.write(tmp_path / name, melody(0.5, channels=2).numpy().T, RATE, subtype)
        assert np.array_equal(
            audio.read(tmp_path / name).wave.numpy().T, soundfile.read(tmp_path / name, dtype="float32")[0]
        )


@FFMPEG
@pytest.mark.parametrize(
    ("name", "codec"), [("x.m4a", "aac"), ("x.webm", "libopus"), ("x.wma", "wmav2"), ("x.aac", "aac")]
)
def test_samples_are_those_of_ffmpeg(name: str, codec: str, tmp_path: Path) -> None:
    path = encode(tmp_path / name, melody(channels=2), RATE, codec)
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"]
    theirs = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32).reshape(-1, 2).T
    ours = audio.read(path).wave.numpy()
    assert 0 <= theirs.shape[1] - ours.shape[1] < 1024  # of an MP4's last frame the container counts a part
    np.testing.assert_allclose(ours, theirs[:, : ours.shape[1]], atol=1e-4)


@FFMPEG
def test_speex_as_the_ffmpeg_program_writes_it(tmp_path: Path) -> None:
    """PyAV's wheel decodes it only."""
    wave = melody(2.0, 16_000)
    soundfile.write(tmp_path / "x.wav", wave.numpy().T, 16_000)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "x.wav", "-c:a", "libspeex", tmp_path / "x.spx"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this ffmpeg has no Speex encoder")
    sound = audio.read(tmp_path / "x.spx")
    assert (sound.rate, sound.duration) == (16_000, pytest.approx(2.0, abs=CODEC_DELAY))
    assert likeness(sound, wave, 16_000) > 0.9


def test_an_mp4_ends_where_its_container_says(tmp_path: Path) -> None:
    """Not with the silence that fills its last frame: a clip that goes on from it would begin with a gap."""
    sound = audio.read(encode(tmp_path / "x.m4a", melody(), RATE, "aac"))
    assert sound.wave.shape[1] == 3 * RATE
    assert float(sound.wave[0, -1000:].square().mean().sqrt()) == pytest.approx(0.4 / 2**0.5, rel=0.1)


def written(path: Path, wave: torch.Tensor, **options: str) -> bytes:
    soundfile.write(path, wave.numpy().T, RATE, **options)
    return path.read_bytes()


def test_a_wrong_length_in_an_mp3s_header_is_not_believed(tmp_path: Path) -> None:
    """As LAME leaves it in a stream that cannot be rewound: the frames of the beginning only."""
    path = tmp_path / "pipe.mp3"
    content = bytearray(written(path, melody(5.0)))
    whole = audio.read(path)
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    frames = struct.unpack(">I", content[place : place + 4])[0]
    content[place : place + 4] = struct.pack(">I", frames // 4)
    path.write_bytes(content)
    assert soundfile.info(path).duration < 1.5
    sound = audio.read(path)
    assert sound.duration == pytest.approx(whole.duration, abs=CODEC_DELAY)
    assert likeness(sound, melody(5.0), RATE) > 0.98


@pytest.mark.parametrize("name", ["x.mp3", "x.ogg", "x.opus", "x.flac", "x.aac"])
def test_joined_files_are_read_to_the_last(name: str, tmp_path: Path) -> None:
    part = tmp_path / name
    if name in ("x.mp3", "x.ogg", "x.flac"):
        content = written(part, melody(1.0))
    else:
        content = encode(part, melody(1.0), RATE, "aac" if name == "x.aac" else "libopus").read_bytes()
    part.write_bytes(5 * content)
    # An MP3's encoder delay and the header of each part are decoded as sound, or are packets without any.
    sound = audio.read(part)
    assert sound.duration == pytest.approx(5.0, abs=5 * CODEC_DELAY)
    for second in range(5):
        piece = sound.wave[:, round((second + 0.1) * sound.rate) : round((second + 0.9) * sound.rate)]
        assert float(piece.square().mean().sqrt()) == pytest.approx(0.4 / 2**0.5, rel=0.1)


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.caf", "x.au", "x.w64", "x.rf64", "x.m4a", "x.wma", "x.webm"])
def test_joined_files_that_cannot_be_read_whole_are_refused(name: str, tmp_path: Path) -> None:
    part = tmp_path / name
    codecs = {"x.m4a": "aac", "x.wma": "wmav2", "x.webm": "libopus"}
    if name in codecs:
        encode(part, melody(1.0), RATE, codecs[name])
    else:
        written(part, melody(1.0))
    content = part.read_bytes()
    assert audio.read(part).duration == pytest.approx(1.0, abs=CODEC_DELAY)
    part.write_bytes(2 * content)
    with pytest.raises(InputError, match=f"a second recording begins at byte {len(content)} of {2 * len(content)}"):
        audio.read(part)


def test_lengths_that_nobody_wrote_down(tmp_path: Path) -> None:
    """A recorder that streams leaves sizes of 0 (WAV) or all ones, a FLAC encoder that streams a length of 0."""
    wave = melody(1.0)
    for size in (0, 0xFFFF_FFFF):
        content = bytearray(written(tmp_path / "x.wav", wave))
        content[4:8] = content[40:44] = struct.pack("<I", size)
        (tmp_path / "x.wav").write_bytes(content)
        assert audio.read(tmp_path / "x.wav").wave.shape == (1, RATE)
    content = bytearray(written(tmp_path / "x.flac", wave))
    exact = audio.read(tmp_path / "x.flac")
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    content[26:42] = bytes(16)  # nor a checksum
    (tmp_path / "x.flac").write_bytes(content)
    assert torch.equal(audio.read(tmp_path / "x.flac").wave, exact.wave)


def test_a_wav_that_holds_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    """A recorder that went out before its last update of the header."""
    content = bytearray(written(tmp_path / "x.wav", melody(5.0)))
    content[40:44] = struct.pack("<I", 2 * RATE)
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.wav: declares 1\.00 s of sound and holds 5\.00 s"):
        audio.read(tmp_path / "x.wav")


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.flac", "x.mp3", "x.webm"])
def test_a_file_that_ends_early_is_read_with_a_warning(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = (
        encode(path, melody(4.0), RATE, "libopus").read_bytes() if name == "x.webm" else written(path, melody(4.0))
    )
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match=rf"{name}: declares 4\.\d\d s of sound and holds [12]\.\d\d s"):
        sound = audio.read(path)
    assert 1.0 < sound.duration < 3.0


def test_whole_files_are_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for extension in audio.FORMATS:
        for rate in (8_000, 22_050, 32_000, 48_000):
            audio.write(tmp_path / f"x{extension}", Audio(melody(2.0, rate), rate), "a comment")
            assert audio.read(tmp_path / f"x{extension}").duration == pytest.approx(2.0, abs=0.2)
    for codec, name in (("aac", "x.m4a"), ("libopus", "x.webm"), ("aac", "x.aac"), ("wmav2", "x.wma")):
        audio.read(encode(tmp_path / name, melody(), RATE, codec))
    assert not recwarn.list


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_ordinary_files_are_libsndfiles(extension: str, tmp_path: Path) -> None:
    """Encoder delays differ between decoders: the numbers of an evaluation must not."""
    for seconds in (0.05, 1.0, 7.3):
        audio.write(tmp_path / f"x{extension}", Audio(melody(seconds, 22_050), 22_050))
        theirs = soundfile.read(tmp_path / f"x{extension}", dtype="float32", always_2d=True)[0].T
        # FFmpeg decodes MP3 here: the same samples up to float32's rounding.
        atol = 4e-6 if extension == ".mp3" else 0
        np.testing.assert_allclose(audio.read(tmp_path / f"x{extension}").wave.numpy(), theirs, rtol=0, atol=atol)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (24_000, 1), (48_000, 2)])
def test_mp3_samples_are_those_of_libsndfile(rate: int, channels: int, tmp_path: Path) -> None:
    """Encoder delay and padding are left out in the same way, in each version of MPEG audio."""
    wave = melody(2.0, rate, channels)
    soundfile.write(tmp_path / "x.mp3", wave.numpy().T, rate)
    theirs = soundfile.read(tmp_path / "x.mp3", dtype="float32", always_2d=True)[0].T
    ours = audio.read(tmp_path / "x.mp3").wave.numpy()
    assert ours.shape == wave.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6)


def test_a_damaged_mp3_is_read_past_the_damage(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    """With one line that says so; a decoder's own lines on stderr are no user's business."""
    content = bytearray(written(tmp_path / "x.mp3", melody(4.0)))
    content[8_000:9_000] = bytes(1_000)
    (tmp_path / "x.mp3").write_bytes(content)
    sound = audio.read(tmp_path / "x.mp3")
    assert 3.6 < sound.duration <= 4.0
    assert float(sound.wave[:, -RATE:].square().mean().sqrt()) == pytest.approx(0.4 / 2**0.5, rel=0.1)
    assert recwarn.list
    assert all(re.match(r"\S+x\.mp3: [^\n]+$", str(one.message)) for one in recwarn.list)
    for content in (b"\xff\xfb\x90\x00" + bytes(3_000), b"no audio " * 500):
        (tmp_path / "y.mp3").write_bytes(content)
        with pytest.raises(InputError, match=r"y\.mp3: not readable as audio"):
            audio.read(tmp_path / "y.mp3")
        with pytest.raises(InputError, match=r"y\.mp3: not readable as audio"):
            audio.read_comment(tmp_path / "y.mp3")
    assert capfd.readouterr() == ("", "")


def test_an_mp3_with_junk_behind_it_is_not_called_cut(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Bytes behind the sound, for which FFmpeg guesses a longer duration; tags in front of it."""
    content = written(tmp_path / "x.mp3", melody(2.0))
    whole = audio.read(tmp_path / "x.mp3").wave
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 0x10, 0]) + bytes(0x800)
    for changed in (content + bytes(100_000), tag + content, tag + tag + content):
        (tmp_path / "x.mp3").write_bytes(changed)
        assert torch.equal(audio.read(tmp_path / "x.mp3").wave[:, : whole.shape[1]], whole)
    assert not any("declares" in str(one.message) for one in recwarn.list)


@pytest.mark.parametrize("name", ["x.vox", "x.gsm", "x.au", "x.snd", "x.raw", "x.mp3", "x.wav", "x"])
def test_text_is_no_sound_whatever_its_name(name: str, tmp_path: Path) -> None:
    """libsndfile decodes what has no header as the extension says."""
    (tmp_path / name).write_text("notes on the recording\n" * 500, encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name}: not readable as audio"):
        audio.read(tmp_path / name)


@pytest.mark.parametrize(("name", "codec"), [("x.mp3", "libmp3lame"), ("x.m4a", "aac"), ("x.wma", "wmav2")])
def test_tags_in_another_encoding_do_no_harm(name: str, codec: str, tmp_path: Path) -> None:
    content = encode(tmp_path / name, melody(1.0), RATE, codec).read_bytes()
    if name == "x.mp3":
        content += b"TAG" + b"Caf\xe9".ljust(30, b"\0") + bytes(95)
    else:
        with av.open(str(tmp_path / name), "r") as source, av.open(str(tmp_path / f"tagged-{name}"), "w") as target:
            target.metadata["title"] = "Cafe"
            stream = target.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
        content = (tmp_path / f"tagged-{name}").read_bytes()
        assert b"Cafe" in content or "Cafe".encode("utf-16-le") in content
        content = content.replace(b"Cafe", b"Caf\xe9")
    (tmp_path / name).write_bytes(content)
    assert audio.read(tmp_path / name).duration == pytest.approx(1.0, abs=CODEC_DELAY)
    assert audio.read_comment(tmp_path / name) == ""


def test_other_files_cannot_be_reached(tmp_path: Path) -> None:
    """Play lists that FFmpeg would follow to other files of the server, or to addresses."""
    secret = encode(tmp_path / "secret.aac", melody(1.0), RATE, "aac")
    texts = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret.name}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    )
    for name in ("list.m3u8", "list.m4a", "list.ffconcat", "list.sdp"):
        for text in texts:
            (tmp_path / name).write_text(text)
            with pytest.raises(InputError, match="not readable as audio"):
                audio.read(tmp_path / name)


def test_names_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:tune.m4a", "concat:a|b.m4a", "50 % später?.m4a"):
        assert audio.read(encode(Path("x.m4a"), melody(0.5), RATE, "aac").rename(name)).duration == 0.5


def test_a_film_without_sound_and_damage(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"film\.mp4: not readable as audio \(.*\): if it is whole, save it as WAV"):
        audio.read(tmp_path / "film.mp4")
    content = encode(tmp_path / "cut.m4a", melody(1.0), RATE, "aac").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(content[: len(content) // 2])  # its index was at the end
    with pytest.raises(InputError, match=r"cut\.m4a: not readable as audio"):
        audio.read(tmp_path / "cut.m4a")
    content = bytearray(encode(tmp_path / "torn.webm", melody(3.0), RATE, "libopus").read_bytes())
    content[5_000:9_000] = bytes(4_000)
    (tmp_path / "torn.webm").write_bytes(content)
    with pytest.warns(UserWarning, match=r"torn\.webm: "):
        audio.read(tmp_path / "torn.webm")


def test_a_codec_that_nothing_decodes_is_said(tmp_path: Path) -> None:
    """Not taken for parts of different rates, for which FFmpeg has the same answer."""
    content = bytearray(written(tmp_path / "x.wav", melody(1.0), subtype="NMS_ADPCM_16"))
    content[32:34] = bytes(2)
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.wav: not readable as audio \("):
        audio.read(tmp_path / "x.wav")


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 1), (44_100, 2)])
def test_parts_of_different_rates_or_channels_are_refused(rate: int, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    parts = [written(path, melody(1.0))]
    soundfile.write(path, melody(1.0, rate, channels).numpy().T, rate)
    path.write_bytes(parts[0] + path.read_bytes())
    with pytest.raises(InputError, match=r"x\.ogg: .*save (its parts|them) apart"):
        audio.read(path)


@pytest.mark.parametrize(
    ("channels", "rate", "message"),
    [
        (1_000, 44_100, "has 1000 channels: 32 at most, so mix it down first"),
        (1, 1, "has a rate of 1 Hz: it must lie between 1000 and 768000 Hz"),
        (1, 2_000_000_000, "has a rate of 2000000000 Hz"),
    ],
)
def test_odd_headers_are_refused(channels: int, rate: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.zeros((1_000, channels), np.float32), rate)
    for read in (audio.read, audio.measure):
        with pytest.raises(InputError, match=f"odd.wav {message}"):
            read(path)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.m4a"])
def test_mixing_and_resampling_while_reading(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit what is made of the whole recording, in however small pieces it is read."""
    wave = melody(2.0, channels=2)
    path = encode(tmp_path / name, wave, RATE, "aac") if name == "x.m4a" else tmp_path / name
    if name != "x.m4a":
        audio.write(path, Audio(wave, RATE))
    whole = audio.read(path)
    for channels, rate in ((1, 32_000), (2, 16_000), (1, RATE), (2, 48_000), (1, 31_991)):
        monkeypatch.setattr(resampler, "_BLOCK", 1 << 22)
        expected = whole.with_channels(channels).resampled(rate).wave
        monkeypatch.setattr(resampler, "_BLOCK", 1 << 13)
        monkeypatch.setattr(decoding, "_BLOCK", 1 << 11)
        made = audio.read(path, channels=channels, rate=rate)
        assert made.rate == rate
        torch.testing.assert_close(made.wave, expected, atol=1e-6, rtol=0)


def test_measure_is_what_read_finds(tmp_path: Path) -> None:
    path = encode(tmp_path / "x.webm", melody(2.0, channels=2), RATE, "libopus")
    sound = audio.read(path)
    assert audio.measure(path) == audio.AudioInfo(sound.duration, sound.rate, 2)
    with pytest.raises(InputError, match=r"x\.webm is longer than 1\.5 s: cut it first"):
        audio.measure(path, 1.5)


def peak(program: str, *arguments: object) -> tuple[str, int]:
    """What a program prints, and the megabytes that it took more at its peak than after its imports, as Linux tells them."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is read the Linux way")
    text = f"""
import re, sys, torch, torchaudio, av, soundfile
from pathlib import Path
from musicgen import audio
from musicgen.errors import InputError
def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
Path("/proc/self/clear_refs").write_text("5")
before = megabytes("VmRSS")
{program}
print(megabytes("VmHWM") - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", text, *map(str, arguments)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return "\n".join(lines[:-1]), int(lines[-1])


def silence(path: Path, seconds: int, rate: int, channels: int) -> Path:
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        block = np.zeros((rate * 10, channels), np.int16)
        for _ in range(seconds // 10):
            file.write(block)
    return path


def test_a_long_recording_takes_the_memory_of_its_result(tmp_path: Path) -> None:
    """90 s of stereo at 192 kHz are 138 MB as float32, and a tenth of a megabyte as FLAC; at 32 kHz they are 23 MB."""
    path = silence(tmp_path / "long.flac", 90, 192_000, 2)
    assert path.stat().st_size < 1e5
    program = """
print(audio.measure(sys.argv[1], 600.0).duration)
print(audio.read(sys.argv[1], 600.0, channels=2, rate=32_000).wave.shape)
"""
    text, used = peak(program, path)
    assert text.splitlines() == ["90.0", "torch.Size([2, 2880000])"]
    assert used < 23 + 115  # less than the sound at its own rate


def test_bombs_are_refused_before_memory_grows(tmp_path: Path) -> None:
    """An hour of silence in small files, with and without a true length."""
    files = [silence(tmp_path / "hours.flac", 3600, 8_000, 1)]
    content = bytearray(files[0].read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    files.append(tmp_path / "unknown.flac")
    files[-1].write_bytes(content)
    for extension in (".ogg", ".mp3"):
        part = silence(tmp_path / f"part{extension}", 60, 8_000, 1).read_bytes()
        files.append(tmp_path / f"joined{extension}")
        files[-1].write_bytes(60 * part)
    program = """
for path in sys.argv[1:]:
    for read in (audio.read, audio.measure):
        try:
            read(path, 60.0)
        except InputError as error:
            print(error)
"""
    text, used = peak(program, *files)
    assert text.splitlines() == [f"{path} is longer than 60 s: cut it first" for path in files for _ in range(2)]
    assert used < 50


def test_the_budget_holds_where_no_length_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = silence(tmp_path / "x.flac", 200, 8_000, 1)
    monkeypatch.setattr(audio, "MEMORY", ByteBudget(4 << 20))
    with pytest.raises(
        InputError, match="longer than 2 minutes, which is what 4 MB of memory hold of 1 channel at 8000 Hz"
    ):
        audio.read(path)
    assert audio.read(path, rate=4_000).duration == 200.0  # the result counts


AT_ONCE = """
import threading
from musicgen.byte_budget import ByteBudget
path, budget, threads = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3])
if budget:
    audio.MEMORY = ByteBudget(budget)
go, seconds = threading.Barrier(threads), []
def read():
    go.wait()
    seconds.append(audio.read(path, channels=1).duration)
readers = [threading.Thread(target=read) for _ in range(threads)]
for one in readers:
    one.start()
for one in readers:
    one.join()
print(*seconds)
"""


@pytest.mark.parametrize(
    ("rate", "budget", "threads"),
    [(4_000, 300, 10), pytest.param(48_000, 0, 8, marks=pytest.mark.slow)],  # 0: the default
    ids=["an hour at 4 kHz, 300 MB", "an hour at 48 kHz, 2 GB"],
)
def test_several_bombs_at_once_share_one_budget(tmp_path: Path, rate: int, budget: int, threads: int) -> None:
    """Hours of silence in small files, read by as many threads: all are read, and those that have no place wait."""
    path = silence(tmp_path / "hour.flac", 3600, rate, 1)
    text, used = peak(AT_ONCE, path, budget, threads)
    size, result, all_memory = path.stat().st_size / 1e6, 4 * 3600 * rate >> 20, budget or audio.MEMORY.size >> 20
    print(
        f"{threads} files of {size:.2f} MB, {result} MB each when read, within {all_memory} MB: {used} MB more than before"
    )
    assert text.split() == ["3600.0"] * threads
    assert threads * result > all_memory
    assert used < all_memory + 50


def test_a_file_for_which_there_is_no_memory_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = silence(tmp_path / "x.flac", 20, 8_000, 1)
    monkeypatch.setattr(audio, "_WAIT_SECONDS", 0.05)
    for read in (audio.read, audio.measure):
        with audio.MEMORY.reserved(audio.MEMORY.size, 1):
            assert refused(lambda read=read: read(path))
        assert not refused(lambda read=read: read(path))


def test_a_file_longer_than_its_header_says_takes_no_more_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory was reserved by what it declares."""
    path = silence(tmp_path / "x.flac", 200, 8_000, 1)
    opened = decoding.opened

    @contextlib.contextmanager
    def short(file: Path):
        with opened(file) as source:
            yield dataclasses.replace(source, declared=1.0)

    monkeypatch.setattr(decoding, "opened", short)
    monkeypatch.setattr(audio, "_WAIT_MORE_SECONDS", 0.05)
    monkeypatch.setattr(audio, "MEMORY", ByteBudget(128 << 20))
    assert audio.read(path).duration == 200.0
    with (
        audio.MEMORY.reserved(31 << 20, 1),
        pytest.raises(InputError, match="cannot be read now: other recordings take"),
    ):
        audio.read(path)
    assert audio.read(path).duration == 200.0


def test_files_that_are_nothing_but_a_tag_take_bounded_memory(tmp_path: Path) -> None:
    """Twelve megabytes of comment in a WAV and in an MP3 file, each read by eight threads at once."""
    size = 12_000_000
    text = b"ICMT" + struct.pack("<I", size) + b"[" * size
    wav = silence(tmp_path / "x.wav", 10, 1_000, 1).read_bytes()
    wav += b"LIST" + struct.pack("<I", 4 + len(text)) + b"INFO" + text
    (tmp_path / "x.wav").write_bytes(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])
    frame = b"COMM" + struct.pack(">I", size + 5) + b"\0\0" + b"\0eng\0" + b"[" * size
    length = bytes(len(frame) >> 7 * place & 0x7F for place in (3, 2, 1, 0))
    sound = silence(tmp_path / "y.mp3", 10, 8_000, 1).read_bytes()
    (tmp_path / "x.mp3").write_bytes(b"ID3\3\0\0" + length + frame + sound)
    program = """
import threading
from musicgen.byte_budget import ByteBudget
from musicgen.settings import Settings
audio.MEMORY = ByteBudget(100 << 20)
def read(path):
    try:
        Settings.of_file(path)
    except InputError as error:
        told.append(str(error))
for path in sys.argv[1:]:
    told = []
    readers = [threading.Thread(target=read, args=(path,)) for _ in range(8)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    print(len(told), *set(told))
"""
    text, used = peak(program, tmp_path / "x.wav", tmp_path / "x.mp3")
    print(text)
    for line, characters in zip(text.splitlines(), (2 << 20, size), strict=True):
        assert line.startswith("8 ")
        assert f"has {characters} characters, and settings have at most 1000000" in line
    assert used < 150
