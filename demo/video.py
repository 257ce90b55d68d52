"""A clip as a video for sharing: its waveform, coloured up to the playback position.

H.264 and AAC in MP4, which phones and social networks accept. PyAV's encoders are those of FFmpeg.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from musicgen.errors import InputError
from musicgen.tags import embed

from . import plots

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from musicgen.audio import Audio
    from musicgen.content_credentials import Signer

EXTENSION = "mp4"
WIDTH, HEIGHT, MARGIN = 960, 540, 40
"""Pixels."""
FRAME_RATE = 12
"""Frames a second: the colour moves by a pixel or more from each to the next up to 70 s, and video frames are cheap."""
BACKGROUND, UNPLAYED = (17, 16, 32), (86, 82, 122)
"""RGB; what has been played has the colour of the page's plots."""
VIDEO_CODECS = ("libx264", "libopenh264", "mpeg4")
"""The first that PyAV's build has."""
AUDIO_BITS = 192_000
"""A second."""


def write(path: Path, recording: Audio, tags: Mapping[str, str], signer: Signer | None = None) -> None:
    """Write the video of a clip. The file appears whole or not at all.

    Args:
        path: the file, which ends in .mp4.
        recording: the clip.
        tags: of the file, by name.
        signer: what signs the file; None where nothing does.

    Raises:
        InputError: where the file cannot be written.
    """
    import av

    from musicgen.content_credentials import signed

    temporary = path.with_name(f".{path.name}")
    try:
        with av.open(str(temporary), "w", format=EXTENSION, options={"movflags": "faststart"}) as container:
            container.metadata.update({name: tags[name] for name in ("title", "comment") if name in tags})
            codec = next(name for name in VIDEO_CODECS if name in av.codecs_available)
            video = cast("VideoStream", container.add_stream(codec, rate=FRAME_RATE))
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            if codec == "libx264":
                video.options = {"preset": "veryfast", "crf": "23"}
            layout = "stereo" if recording.wave.shape[0] == 2 else "mono"
            sound = container.add_stream("aac", rate=recording.rate, layout=layout)
            sound.bit_rate = AUDIO_BITS
            pictures, seconds = _pictures(recording), _seconds(recording)
            for number, samples in zip(count(), seconds, strict=False):
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
                frame.rate, frame.pts, frame.time_base = (
                    recording.rate, number * recording.rate, Fraction(1, recording.rate),
                )  # fmt: skip
                container.mux(sound.encode(frame))
                for _, picture in zip(range(FRAME_RATE), pictures, strict=False):
                    container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(sound.encode(None))
            container.mux(video.encode(None))
        tagged = embed(temporary.read_bytes(), f".{EXTENSION}", tags)
        temporary.write_bytes(signed(tagged, f".{EXTENSION}", tags, signer))
        temporary.chmod(0o600)
        temporary.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"the video cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _seconds(recording: Audio) -> Iterator[np.ndarray]:
    """The samples, second by second: float32 [C, T]."""
    samples = recording.wave.detach().cpu().float().clamp(-1, 1).numpy()
    for start in range(0, samples.shape[1], recording.rate):
        yield np.ascontiguousarray(samples[:, start : start + recording.rate])


def _pictures(recording: Audio) -> Iterator[np.ndarray]:
    """uint8 [HEIGHT, WIDTH, 3], FRAME_RATE a second."""
    mono = recording.mono().wave.detach().cpu().float().numpy()
    inner = WIDTH - 2 * MARGIN
    shape = plots.waveform(mono, recording.rate).getchannel("A").resize((inner, HEIGHT - 2 * MARGIN))
    unplayed, played = (
        np.asarray(
            Image.composite(
                Image.new("RGB", shape.size, color), Image.new("RGB", shape.size, BACKGROUND), shape
            )
        )
        for color in (UNPLAYED, plots.ACCENT)
    )  # fmt: skip
    total = max(1, round(recording.duration * FRAME_RATE))
    for number in range(total):
        picture = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
        edge = round(inner * number / total)
        inside = picture[MARGIN : HEIGHT - MARGIN, MARGIN : WIDTH - MARGIN]
        inside[:, :edge], inside[:, edge:] = played[:, :edge], unplayed[:, edge:]
        yield picture
