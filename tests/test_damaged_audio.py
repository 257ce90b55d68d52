"""Files of every container with damaged headers: each is read, or refused in one line; nothing else happens."""

import os
import struct
import warnings
from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import audio
from musicgen.errors import InputError
from tests.encoding import encode, melody
from tests.fuzz import refused

RATE = 44_100
BY_FFMPEG = [
    ("x.m4a", "alac"), ("x.m4a", "aac"), ("x.oga", "flac"), ("x.mka", "pcm_s16le"), ("x.wv", "wavpack"), ("x.tta", "tta"),
    ("x.aac", "aac"), ("x.webm", "libopus"), ("x.opus", "libopus"), ("x.wma", "wmav2"), ("x.mp2", "mp2"), ("x.ac3", "ac3"),
    ("x.mp3", "libmp3lame"), ("x.3gp", "aac"), ("x.amr", "libopencore_amrnb"), ("x.mov", "pcm_s16le"), ("x.mp4", "libmp3lame"),
    ("x.mkv", "libopus"), ("x.oga", "libopus"),
]  # fmt: skip
BY_LIBSNDFILE = ["x.aiff", "x.au", "x.caf", "x.w64", "x.rf64", "x.flac", "x.wav", "x.ogg"]
HEADER = 512
"""Bytes of the beginning that are damaged."""
SIZES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0")
"""What lengths and numbers of channels go wrong with."""
DAMAGE = st.tuples(
    st.lists(st.tuples(st.integers(0, HEADER), st.binary(min_size=1, max_size=2) | st.sampled_from(SIZES)), max_size=6),
    st.floats(0, 1) | st.none(),
)


def damaged(content: bytes, changes: list[tuple[int, bytes]], cut: float | None) -> bytes:
    data = bytearray(content if cut is None else content[: int(cut * len(content))])
    for place, new in changes:
        data[place : place + len(new)] = new
    return bytes(data)


@pytest.fixture(scope="module", params=[*BY_FFMPEG, *((name, "") for name in BY_LIBSNDFILE)], ids="-".join)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short file of one container and codec."""
    name, codec = request.param
    path = tmp_path_factory.mktemp("whole") / name
    if codec:
        encode(path, melody(0.3), RATE, codec)
    else:
        soundfile.write(path, melody(0.3).numpy().T, RATE)
    assert audio.read(path).duration == pytest.approx(0.3, abs=0.1)
    return path.read_bytes()


@settings(deadline=None, max_examples=25)
@given(damage=DAMAGE)
def test_damaged_headers_are_read_or_refused(whole: bytes, damage: tuple) -> None:
    path = Path(os.environ["HF_HOME"]) / "damaged"
    path.write_bytes(damaged(whole, *damage))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = audio.read(path, 600.0)
        except InputError as error:
            message = str(error)
        else:
            message = ""
            assert found.wave.shape[1] <= 600 * found.rate
            assert bool(found.wave.isfinite().all())
    assert len(message.splitlines()) <= 1


APE = b"MAC " + struct.pack("<HHIIIIII16s", 3990, 0, 52, 24, 4, 44, 0, 64, bytes(16)) + struct.pack(
    "<HHIIIHHI", 2000, 0, 73_728, 4_410, 1, 16, 1, RATE
) + struct.pack("<I", 120) + bytes(64)  # fmt: skip
SPEEX = b"OggS\0\2" + bytes(8) + b"sp\0\0" + bytes(8) + b"\1\x50" + b"Speex   1.2".ljust(28, b"\0") + struct.pack(
    "<IIIIIIIII", 1, 80, 8_000, 0, 4, 1, 8_000, 160, 0
) + bytes(16)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(head=st.sampled_from([APE, SPEEX]), damage=DAMAGE, noise=st.binary(max_size=200))
def test_what_no_encoder_here_writes_is_read_or_refused(head: bytes, damage: tuple, noise: bytes) -> None:
    """Headers of Monkey's Audio and Speex by their specifications, in front of anything."""
    path = Path(os.environ["HF_HOME"]) / "damaged"
    path.write_bytes(damaged(head + noise, *damage) or b"MAC ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(lambda: audio.read(path, 60.0))


@pytest.mark.parametrize(
    ("content", "message"), [(b"", r"is empty \(0 bytes\)"), (b"hello", r"not readable as audio \(Invalid data found")]
)
def test_what_is_no_audio_is_said(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mp3: {message}"):
        audio.read(tmp_path / "a.mp3")


@pytest.mark.parametrize("name", ["two\nlines.wav", "\x1b[31mred\x1b[0m.wav", "next\x85line\u2028.wav"])
def test_a_name_breaks_no_message(name: str, tmp_path: Path) -> None:
    """Nor does it control the terminal that shows the message."""
    (tmp_path / name).write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"\\(n|x1b|x85)") as caught:
        audio.read(tmp_path / name)
    assert str(caught.value).isprintable()


def test_an_impossible_length_is_not_believed(tmp_path: Path) -> None:
    """A WMA file's play duration below its preroll: FFmpeg gives a length below 0."""
    content = bytearray(encode(tmp_path / "x.wma", melody(0.3), RATE, "wmav2").read_bytes())
    properties = content.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    content[properties + 64 : properties + 72] = bytes(8)  # the play duration
    content[properties + 80 : properties + 88] = (10_000).to_bytes(8, "little")  # the preroll, in ms
    (tmp_path / "x.wma").write_bytes(content)
    assert audio.read(tmp_path / "x.wma").duration == pytest.approx(0.3, abs=0.1)
