"""Audio files -> blocks of samples. All decoding is done here.

libsndfile reads WAV, AIFF, FLAC and similar formats, and ordinary Ogg. FFmpeg's libraries (PyAV) read all other formats (MP3,
M4A/AAC, WebM, MP4, WMA, AMR …), and files that libsndfile would truncate: it trusts the length in a header, so the packets of
Ogg and FLAC files are counted first, without decoding them. MP3 is not read by libsndfile, which drops everything after a
damaged frame and writes to stderr; for undamaged files both give the same samples. A file that ends early is read to its end,
with a warning that gives both lengths. A file of which only a part could be read is refused.

A block is float32 [C, n]; only one block is in memory at a time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile

from musicgen import containers, file_warnings
from musicgen.errors import InputError, one_line

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer

EXTENSIONS = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".mp4", ".aac", ".webm", ".weba", ".mka", ".mkv",
    ".mov", ".3gp", ".aif", ".aiff", ".aifc", ".wma", ".amr", ".caf", ".au", ".snd", ".w64", ".rf64", ".mp2", ".ac3", ".ape",
    ".wv", ".tta", ".spx",
)  # fmt: skip
"""Extensions by which audio is found in a folder. A file that is named explicitly is detected by its content."""

MAX_CHANNELS = 32
RATES = (1_000, 768_000)
"""Hz, lowest and highest: beyond, a header is wrong."""

_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,"
    "mpegts,ogg,tta,w64,wav,wv"
)
"""FFmpeg's names. Never its play lists (hls, concat, dash, sdp): these open other files and addresses."""
_ESTIMATED = ("mp3", "aac")
"""FFmpeg's containers without a length of their own: what it gives may be a guess from the first packets' size."""
_PADDING = 3 * 1152
"""Samples that an encoder puts around a file's sound, at most; packets count them."""
_SLACK = 0.1
"""Seconds by which a length may differ from its header's."""
_BLOCK = 1 << 20
"""Samples of a block, all channels together."""
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""FFmpeg's types of samples, packed -> NumPy's."""
_ENDLESS = 1 << 60
"""libsndfile's number of frames where the header has none."""


@dataclass(frozen=True)
class Source:
    """An open file. rate: Hz; declared: seconds, by its header, None where it has none or guesses; blocks: float32 [C, n]
    each."""

    rate: int
    channels: int
    declared: float | None
    blocks: Iterator[np.ndarray]


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open an audio file to read its blocks once. Raises InputError, which names the file and the cause."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    if not path.stat().st_size:
        raise InputError(f"{path}: is empty (0 bytes): was it copied whole?")
    second = containers.joined_at(path)
    if second is not None:
        raise InputError(
            f"{path}: a second recording begins at byte {second} of {path.stat().st_size}, and only the first would be read: "
            "join them with an audio editor, not byte by byte"
        )
    problem = ""
    # libsndfile takes everything that is named so for an MP3.
    if not containers.is_mpeg(path) and path.suffix.lower() != ".mp3":
        file, problem = _libsndfile(path)
        if file is not None:
            with file:
                declared = file.frames / file.samplerate if file.frames < _ENDLESS else None
                blocks = _whole(path, _read_libsndfile(path, file), file.samplerate, declared)
                yield Source(file.samplerate, file.channels, declared, blocks)
            return
    import av

    try:
        container = _ffmpeg(path)
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, problem or str(getattr(error, "strerror", None) or error)) from error
    with container:
        yield _ffmpeg_source(path, container)


def tags(path: Path) -> dict[str, str]:
    """An audio file's tags by name, in lower case. Raises InputError as `opened`."""
    import av

    try:
        with _ffmpeg(path) as container:
            found = container.metadata | container.streams.audio[0].metadata
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, str(getattr(error, "strerror", None) or error)) from error
    return {name.lower(): text for name, text in reversed(found.items())}


def _whole(
    path: Path, blocks: Iterator[np.ndarray], rate: int, declared: float | None, slack: float = _SLACK
) -> Iterator[np.ndarray]:
    """The same blocks; after the last one, the length is compared with the header's. slack: tolerance in seconds."""
    chunk = containers.sound_chunk(path)
    count = 0
    for block in blocks:
        count += block.shape[1]
        yield block
    seconds = count / rate
    if chunk is not None and chunk.held:
        behind = seconds * chunk.behind / chunk.held
        if behind > _SLACK:
            raise InputError(
                f"{path}: declares {seconds:.2f} s of sound and holds {seconds + behind:.2f} s: its header is damaged, so "
                "import it as raw data in an audio editor"
            )
        declared = seconds * chunk.declared / chunk.held
    if declared is not None and 0 < seconds < declared - slack:
        _warn(f"{path}: declares {declared:.2f} s of sound and holds {seconds:.2f} s: was it cut off on its way here?")


def _warn(text: str) -> None:
    file_warnings.warn(one_line(text))


def _libsndfile(path: Path) -> tuple[soundfile.SoundFile | None, str]:
    """The file as libsndfile opens it; None, and why, where that would fail or cut it short."""
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        return None, error.error_string.strip()
    except TypeError:  # soundfile's answer to a name that ends in .raw
        return None, "samples without a header, which do not tell their rate: convert it to WAV"
    if (
        file.format == "RAW"
    ):  # without a header, and decoded as its extension says (.vox, .gsm, .au): text would be noise
        file.close()
        return None, "its contents are no audio that is known, whatever its name says"
    if file.frames == 0 or _holds_more(path, file):
        file.close()
        return None, ""
    return file, ""


def _holds_more(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether there is sound that the header's length does not account for. Packets are counted, not decoded."""
    if file.format == "OGG":
        return containers.ogg_links(path) > 1
    if file.format != "FLAC":
        return False
    import av

    try:
        return _packets(path).seconds > (file.frames + _PADDING) / file.samplerate
    except (av.FFmpegError, ValueError):
        return False  # libsndfile is the only one to read it


class _Packets(NamedTuple):
    """The packets of a file's audio, counted without decoding them."""

    number: int
    seconds: float


def _packets(path: Path) -> _Packets:
    with _ffmpeg(path) as container:
        stream = container.streams.audio[0]
        ticks = [packet.duration or 0 for packet in container.demux(stream) if packet.size]
        return _Packets(len(ticks), sum(ticks) * float(stream.time_base or 0))


def _read_libsndfile(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames, count = max(1, _BLOCK // file.channels), 0
    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            yield from _behind(path, count, file, error)
            return
        if not len(block):
            return
        count += len(block)
        yield block.T.copy()


def _behind(
    path: Path, count: int, file: soundfile.SoundFile, error: soundfile.LibsndfileError
) -> Iterator[np.ndarray]:
    """FFmpeg's samples after the first `count`, where libsndfile failed: FLAC without a length or truncated."""
    import av

    try:
        container = _ffmpeg(path)
    except (av.FFmpegError, ValueError):
        raise _unreadable(path, error.error_string.strip()) from error
    with container:
        yield from _without(
            count, _read_ffmpeg(path, _frames(path, container), file.samplerate, file.channels, trimmed=None)
        )


def _without(count: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks without their first `count` samples."""
    for block in blocks:
        if block.shape[1] > count:
            yield block[:, count:]
        count = max(0, count - block.shape[1])


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: not readable as audio ({reason}): if it is whole, save it as WAV, FLAC, MP3, OGG or M4A"
    )


def _ffmpeg(path: Path) -> InputContainer:
    """The file as FFmpeg opens it. ValueError where it holds no sound that can be decoded."""
    import av

    # "file:": a name with a colon is a name, no protocol.
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    # Tags of older programs are in the encoding of their machine.
    container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    if not container.streams.audio:
        container.close()
        raise ValueError("it holds no sound")
    context = container.streams.audio[0].codec_context
    if context is None or not context.sample_rate or not context.channels:
        container.close()
        raise ValueError("its sound has a codec that is not known, or is encrypted")
    return container


def _ffmpeg_source(path: Path, container: InputContainer) -> Source:
    import av

    stream = container.streams.audio[0]
    context = stream.codec_context
    declared = _declared(container, stream)
    exact = None if container.format.name in _ESTIMATED else declared
    begin, slack = 0, _SLACK
    if container.format.name == "mp3":
        told, held = containers.mpeg_frames(path), _packets(path)
        if told is not None and held.number > told + _PADDING // 1152:
            # Its header is wrong, or others follow it: FFmpeg, too, would take out what it says is padding, amid the sound.
            context.flags2 |= av.codec.context.Flags2.skip_manual
            begin = round(float((stream.start_time or 0) * (stream.time_base or 0)) * context.sample_rate)
        elif told is not None and held.number:
            exact = told * held.seconds / held.number
            slack += _PADDING / context.sample_rate
    frames = _frames(path, container)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path}: holds no samples")
    # HE-AAC's header names half of its rate, and one of two channels.
    rate, channels = first.sample_rate, first.layout.nb_channels
    # MP4 counts its last frame's padding out; FFmpeg does not.
    trimmed = round(declared * rate) if declared and "mp4" in container.format.name else None
    blocks = _read_ffmpeg(path, itertools.chain([first], frames), rate, channels, trimmed)
    if begin:
        blocks = _without(begin, blocks)
    return Source(rate, channels, exact, _whole(path, blocks, rate, exact, slack))


def _declared(container: InputContainer, stream: AudioStream) -> float | None:
    """Seconds; None where the header says nothing, or something impossible."""
    length = 0.0
    if stream.duration is not None and stream.time_base is not None:
        length = float(stream.duration * stream.time_base)
    elif container.duration and len(container.streams) == 1:
        # The container's length is that of its longest stream.
        length = container.duration / 1e6
    return length if length > 0 else None


def _read_ffmpeg(
    path: Path, frames: Iterable[av.AudioFrame], rate: int, channels: int, trimmed: int | None
) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    size = count = 0
    for frame in frames:
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise InputError(
                f"{path}: changes from {channels} channels at {rate} Hz to {frame.layout.nb_channels} channels at "
                f"{frame.sample_rate} Hz after {count / rate:.2f} s: save its parts apart"
            )
        # A block is given away when another frame follows: the last one may have to be trimmed.
        if size * channels >= _BLOCK:
            yield np.concatenate(waiting, axis=1)
            waiting, size = [], 0
        samples = _samples(frame, channels)
        waiting.append(samples)
        size += samples.shape[1]
        count += samples.shape[1]
    if waiting:
        last = np.concatenate(waiting, axis=1)
        surplus = 0 if trimmed is None else count - trimmed
        yield last[:, : last.shape[1] - surplus] if 0 < surplus < waiting[-1].shape[1] else last


def _frames(path: Path, container: InputContainer) -> Iterator[av.AudioFrame]:
    """All frames that can be decoded. A packet that cannot is left out, as players do, with a warning."""
    import av

    lost = 0
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                lost += 1
    except av.error.PatchWelcomeError as error:
        if container.format.name != "ogg":
            raise _unreadable(path, error.strerror or "its codec is not known") from error
        raise InputError(
            f"{path}: holds recordings of different rates or channels end to end: save them apart"
        ) from error
    except av.FFmpegError as error:
        _warn(f"{path}: breaks off ({error.strerror})")
    if lost:
        _warn(f"{path}: {lost} of its packets hold nothing that can be decoded, and are left out")


def _samples(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """float32 [C, n] in [-1, 1]."""
    from av.audio.plane import AudioPlane

    # Not frame.to_ndarray(): PyAV counts the planes up to a null pointer, which from 8 channels on is not behind them.
    kind = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    planes: list[Any] = [AudioPlane(frame, i) for i in range(channels if frame.format.is_planar else 1)]
    if frame.format.is_planar:
        samples = np.stack([np.frombuffer(plane, kind, frame.samples) for plane in planes])
    else:
        samples = np.frombuffer(planes[0], kind, frame.samples * channels).reshape(-1, channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
