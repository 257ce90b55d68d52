"""Comments in Ogg Vorbis files: libsndfile and FFmpeg read them, and the sound is what it was, sample for sample."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from musicgen import ogg_pages, tags
from musicgen.errors import InputError


def encoded(rate: int, channels: int, seconds: float) -> bytes:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (round(rate * seconds), channels)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="OGG")
    return file.getvalue()


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "seconds"), [(1, 0.03), (2, 3.3)])
def test_the_sound_stays(rate: int, channels: int, seconds: float) -> None:
    plain = encoded(rate, channels, seconds)
    tagged = ogg_pages.with_comments(plain, {"title": "a tune — für Elise", "DIGITALSOURCETYPE": "x"})
    before, _ = soundfile.read(io.BytesIO(plain))
    after, read_rate = soundfile.read(io.BytesIO(tagged))
    assert read_rate == rate
    np.testing.assert_array_equal(before, after)
    with soundfile.SoundFile(io.BytesIO(tagged)) as file:
        assert file.title == "a tune — für Elise"
    with av.open(io.BytesIO(tagged)) as file:
        assert file.streams.audio[0].metadata["DIGITALSOURCETYPE"] == "x"
        theirs = sum(frame.samples for frame in file.decode(audio=0))
    assert abs(theirs - len(before)) < 2_048  # FFmpeg's own handling of the ends


@pytest.mark.parametrize("length", [200, 254, 255, 256, 65_025, 70_000, 300_000])
def test_comments_of_any_length(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    path.write_bytes(tags.embed(encoded(32_000, 1, 0.5), ".ogg", {"comment": "é" + "c" * length, "title": "t"}))
    found = tags.read(path)
    assert (found["comment"], found["title"]) == ("é" + "c" * length, "t")
    assert soundfile.info(path).frames == 16_000


def test_equal_clips_are_equal_files() -> None:
    """An encoder draws the number of the stream."""
    one, other = (ogg_pages.with_comments(encoded(32_000, 1, 0.5), {"title": "t"}) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "data", [b"", b"OggS", b"RIFF" * 20, encoded(8_000, 1, 0.1)[:60]], ids=["empty", "cut", "other", "first page"]
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="the Ogg file is"):
        ogg_pages.with_comments(data, {"title": "t"})
