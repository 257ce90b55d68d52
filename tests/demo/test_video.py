"""Clips as videos: what FFmpeg reads back."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from demo import derived_files, video
from demo.plots import ACCENT
from musicgen import audio, provenance
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.serving import clip_metadata
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest


def burst(channels: int) -> Audio:
    """Three and a half seconds: silent but for a tone from 2 s to 3 s."""
    time = torch.arange(int(3.5 * 32_000)) / 32_000
    wave = 0.6 * torch.sin(2 * torch.pi * 440 * time) * ((time > 2) & (time < 3))
    return Audio(wave.expand(channels, -1).clone(), 32_000)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_video_shows_and_plays_the_clip(channels: int, tmp_path: Path) -> None:
    store, request = ClipStore(tmp_path, hours=1), ClipRequest("drums “x”", "mini", 3.5, precision="float32")
    clip, sound = store.new_path("drums-1.flac"), burst(channels)
    store.write(clip, sound, provenance.tags(clip_metadata.make_comment(request, 7)))
    file = derived_files.video(store, clip)
    assert derived_files.video(store, clip) == file
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in sorted(clip.parent.iterdir())] == ["drums-1.flac", "drums-1.mp4"]
    restored, _ = clip_metadata.read_file(file, file.name, ModelCatalog())
    assert (restored.prompt, restored.seed) == ("drums “x”", 7)
    found = audio.read_tags(file)
    assert provenance.of_tags(found) == provenance.of_tags(audio.read_tags(clip))
    assert (found["title"], found["aisystemused"]) == ("drums “x”", "MusicGen mini")
    assert file.read_bytes().count(provenance.TRAINED_ALGORITHMIC_MEDIA.encode()) == 1
    with av.open(str(file)) as container:
        picture, track = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec.name, track.codec.name) == ("h264", "aac")
        assert (picture.width, picture.height, track.rate, track.channels) == (960, 540, 32_000, channels)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(picture)]
    assert len(frames) == pytest.approx(3.5 * video.FRAME_RATE, abs=1)
    with av.open(str(file)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(heard.shape[1] - sound.wave.shape[1]) <= 2_048
    expected = sound.wave.numpy()
    length = min(heard.shape[1], expected.shape[1])
    assert np.corrcoef(heard[0, :length], expected[0, :length])[0, 1] > 0.99
    # The tone is from 2/3.5 to 3/3.5 of the width; it gets its colour when it has been played.
    inner = 960 - 2 * video.MARGIN

    def column(frame: np.ndarray, seconds: float) -> np.ndarray:
        return frame[250, round(video.MARGIN + inner * seconds / 3.5)].astype(int)

    early, late = frames[int(1.0 * video.FRAME_RATE)], frames[-1]
    assert np.abs(column(early, 2.5) - video.UNPLAYED).max() < 30
    assert np.abs(column(late, 2.5) - ACCENT).max() < 30
    for frame in (early, late):
        assert np.abs(column(frame, 1.5) - video.BACKGROUND).max() < 30
    clip.unlink()
    file.unlink()
    with pytest.raises(InputError, match="the clip has expired"):
        derived_files.video(store, clip)
    store.close()


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"^mine\.mp4: not readable as audio"):
        clip_metadata.read_file(tmp_path / "x.mp4", "mine.mp4", ModelCatalog())
    with pytest.raises(InputError, match="the video cannot be written"):
        video.write(tmp_path / "no folder" / "x.mp4", burst(1), {})
