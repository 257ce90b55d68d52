"""Audio files and waveforms: read, write, resample, loudness.

Conventions: a waveform is float32 [C, T] in [-1, 1] with its sample rate in Hz; loudness is in LUFS (ITU-R BS.1770-4). Settings
are stored in the comment tag of a file, and its origin in further tags. This module does not depend on models.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import soundfile
import torch

from musicgen import decoding
from musicgen import tags as file_tags
from musicgen.byte_budget import BudgetInUse, ByteBudget, Reservation
from musicgen.errors import InputError
from musicgen.loudness import BLOCK_SECONDS, MAX_CHANNELS, integrated
from musicgen.resampler import Resampler
from musicgen.text_format import counted

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
}
"""File extension -> libsndfile's format and subtype."""

TARGET_LUFS = -14.0
"""The loudness of everything the paper played to listeners (section 3.3)."""

MEMORY = ByteBudget(2 << 30)
"""The memory budget of all reads in progress, each until it returns; and so the most that one recording may take."""

MIN_LOUDNESS_SECONDS = BLOCK_SECONDS
"""One BS.1770 gating block: shorter audio has no integrated loudness."""

QUIET_RMS = 2e-3
"""RMS below which audio is not normalised, as in audiocraft's normalize_loudness: a gain of 40 dB would only amplify noise."""

_PEAK_CEILING = 10 ** (-1 / 20)
_MAX_DENSITY = 2 * 192_000
"""Samples a second of a file whose length is limited."""
_WORKING_BYTES = 96 << 20
"""Memory for reading in addition to the result: blocks that are decoded, mixed and resampled."""
_GROWING = 2.5
"""How many times its length a waveform takes that grows by half, while it is copied."""
_LONGER = 1.0
"""Seconds by which a file may be longer than its header says, at the cost of memory that is reserved for it."""
_WAIT_SECONDS = 300.0
"""How long a file waits for the memory that others take."""
_WAIT_MORE_SECONDS = 10.0
"""The same for a file that already holds memory, and is longer than its header says."""
_TAG_COPIES = 4
"""How often what a tag holds is in memory: FFmpeg's copies, PyAV's and ours."""
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class Audio:
    """A waveform and its rate. wave: float32 [C, T], made of a NumPy array or of float64 where it is one; rate: Hz."""

    wave: torch.Tensor
    rate: int

    def __post_init__(self) -> None:
        if isinstance(self.wave, np.ndarray):
            object.__setattr__(self, "wave", torch.as_tensor(self.wave))
        if not isinstance(self.wave, torch.Tensor):
            raise InputError(f"a waveform is a float tensor [channels, samples], not {type(self.wave).__name__}")
        if self.wave.dim() != 2 or not self.wave.dtype.is_floating_point:
            raise InputError(
                f"a waveform is a float tensor [channels, samples], not {list(self.wave.shape)} {self.wave.dtype}"
            )
        if self.wave.dtype == torch.float64:
            object.__setattr__(self, "wave", self.wave.float())
        if isinstance(self.rate, bool) or not isinstance(self.rate, Real) or self.rate != int(self.rate):
            raise InputError(f"sample rate is {self.rate!r}: it must be a whole number of Hz")
        object.__setattr__(self, "rate", int(self.rate))
        if self.rate <= 0:
            raise InputError(f"sample rate is {self.rate}: it must be above 0 Hz")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.wave.shape[1] / self.rate

    def mono(self) -> Audio:
        """The mean of the channels, [1, T]."""
        return Audio(self.wave.mean(dim=0, keepdim=True), self.rate)

    def resampled(self, rate: int) -> Audio:
        """The audio at another rate (windowed-sinc interpolation)."""
        if rate == self.rate:
            return self
        return Audio(Resampler(self.rate, rate).push(self.wave, last=True), rate)

    def with_channels(self, channels: int) -> Audio:
        """Mono for 1; for 2, mono is doubled and more than two channels are mixed down first."""
        if self.wave.shape[0] == channels:
            return self
        return Audio(self.mono().wave.expand(channels, -1).contiguous(), self.rate)


@dataclass(frozen=True)
class AudioInfo:
    """The length of a file, measured by reading it to its end. duration: seconds; rate: Hz."""

    duration: float
    rate: int
    channels: int


def read(
    path: str | os.PathLike[str],
    longest: float = math.inf,
    *,
    channels: int | None = None,
    rate: int | None = None,
    most_channels: int = decoding.MAX_CHANNELS,
    rates: tuple[int, int] = decoding.RATES,
) -> Audio:
    """Read an audio file to the end of its data: WAV, FLAC, MP3, OGG, M4A, WebM, and the other formats of `musicgen.decoding`.

    Args:
        path: The file.
        longest: Seconds; longer files are refused (a megabyte of FLAC can be hours of silence).
        channels: 1 or 2 to mix while reading, as `with_channels` does; None keeps the file's channels.
        rate: Hz to resample to while reading, as `resampled` does; None keeps the file's rate.
        most_channels: A file with more is refused.
        rates: Lowest and highest rate of a file, in Hz.

    Returns:
        The audio, float32 [channels, T]. `read(file, channels=1, rate=32_000)` equals `read(file).mono().resampled(32_000)`,
        but has only its result and a block of the file in memory. All reads of a process share the budget `MEMORY`, and wait
        until their bytes are available.

    Raises:
        InputError: the file is not audio, has no samples, or is beyond a limit; the message names the file and the cause. Or
            other reads have used all of the memory for minutes.
    """
    path = Path(path)
    with decoding.opened(path) as source:
        _check_limits(path, source, longest, most_channels, rates)
        target, width = rate or source.rate, channels or source.channels
        fits = MEMORY.size / (4 * width * target)
        allowed = min(longest, fits)
        expected = round((source.declared or 0.0) * source.rate)
        if expected > allowed * source.rate:
            raise _too_long(path, longest, fits, width, target)
        second = 4 * width * target  # bytes
        most = _WORKING_BYTES + round(_GROWING * second * allowed)
        told = most if source.declared is None else _WORKING_BYTES + round(second * (source.declared + _LONGER))
        with _memory(path, told) as reservation:
            resampler = Resampler(source.rate, target)
            made, count = _WaveBuffer(width, -(-expected * target // source.rate)), 0
            for block in source.blocks:
                count += block.shape[1]
                if count > allowed * source.rate:
                    raise _too_long(path, longest, fits, width, target)
                if count > expected + _LONGER * source.rate:
                    reservation.grow(most, _WAIT_MORE_SECONDS)
                if not np.isfinite(block).all():
                    raise InputError(f"{path}: holds NaN or infinite samples")
                made.add(resampler.push(Audio(torch.from_numpy(block), source.rate).with_channels(width).wave))
            if count == 0:
                raise InputError(f"{path}: holds no samples")
            made.add(resampler.push(torch.zeros(width, 0), last=True))
            return Audio(made.whole(), target)


@contextmanager
def _memory(path: Path, amount: int) -> Iterator[Reservation]:
    """Bytes for reading a file, as soon as others leave them."""
    try:
        with MEMORY.reserved(amount, _WAIT_SECONDS) as reservation:
            yield reservation
    except BudgetInUse as error:
        raise InputError(
            f"{path}: cannot be read now: other recordings take the {MEMORY.size >> 20} MB that reading may take: read fewer "
            "at once, or try again"
        ) from error


class _WaveBuffer:
    """A waveform [C, T] that is filled part by part. Where T is what was expected it is never copied."""

    def __init__(self, channels: int, expected: int) -> None:
        self._wave = torch.empty(channels, expected)
        self._size = 0

    def add(self, part: torch.Tensor) -> None:
        size = self._size + part.shape[1]
        if size > self._wave.shape[1]:
            larger = torch.empty(self._wave.shape[0], max(size, self._wave.shape[1] * 3 // 2))
            larger[:, : self._size] = self._wave[:, : self._size]
            self._wave = larger
        self._wave[:, self._size : size] = part
        self._size = size

    def whole(self) -> torch.Tensor:
        return self._wave if self._size == self._wave.shape[1] else self._wave[:, : self._size].clone()


def measure(
    path: str | os.PathLike[str], longest: float = math.inf, *, most_channels: int = decoding.MAX_CHANNELS
) -> AudioInfo:
    """How much sound a file holds, read to its end and not kept. Refuses what `read` refuses, but for NaN and its memory."""
    path = Path(path)
    with decoding.opened(path) as source:
        _check_limits(path, source, longest, most_channels, decoding.RATES)
        count = 0
        with _memory(path, _WORKING_BYTES):
            for block in source.blocks:
                count += block.shape[1]
                if count > longest * source.rate:
                    raise InputError(f"{path} is longer than {longest:g} s: cut it first")
        if count == 0:
            raise InputError(f"{path}: holds no samples")
        return AudioInfo(count / source.rate, source.rate, source.channels)


def _check_limits(
    path: Path, source: decoding.Source, longest: float, most_channels: int, rates: tuple[int, int]
) -> None:
    if source.channels > most_channels:
        raise InputError(f"{path} has {source.channels} channels: {most_channels} at most, so mix it down first")
    if not rates[0] <= source.rate <= rates[1]:
        raise InputError(f"{path} has a rate of {source.rate} Hz: it must lie between {rates[0]} and {rates[1]} Hz")
    if math.isfinite(longest) and source.channels * source.rate > _MAX_DENSITY:
        raise InputError(f"{path} has {source.channels} channels at {source.rate} Hz: stereo at 192000 Hz at most")


def _too_long(path: Path, longest: float, fits: float, channels: int, rate: int) -> InputError:
    if longest <= fits:
        return InputError(f"{path} is longer than {longest:g} s: cut it first")
    return InputError(
        f"{path} is longer than {fits / 60:.0f} minutes, which is what {MEMORY.size >> 20} MB of memory hold of "
        f"{counted(channels, 'channel')} at {rate} Hz: cut it into pieces first"
    )


def check_format(path: str | os.PathLike[str]) -> str:
    """The lower-case extension of `path`, if it is one that `write` knows."""
    extension = Path(path).suffix.lower()
    if extension not in FORMATS:
        raise InputError(f"{path}: unknown audio format {extension or '(no extension)'!r}: one of {', '.join(FORMATS)}")
    return extension


def write(path: str | os.PathLike[str], audio: Audio, tags: str | Mapping[str, str] = "") -> None:
    """Write `audio` with its tags, in the format of the extension. The file appears whole or not at all. Arguments as of
    `encode`."""
    write_bytes(path, encode(audio, check_format(path), tags))


def encode(audio: Audio, extension: str, tags: str | Mapping[str, str] = "") -> bytes:
    """The bytes of an audio file. 16-bit for WAV and FLAC; samples beyond [-1, 1] are clipped.

    Args:
        audio: the sound.
        extension: of FORMATS.
        tags: text by name, in lower case (`musicgen.tags`); a text alone is the comment.

    Raises:
        InputError: the format lacks the rate.
    """
    named = {"comment": tags} if isinstance(tags, str) else tags
    container, subtype = FORMATS[extension]
    if container == "MP3" and audio.rate not in _MP3_RATES:
        raise InputError(f"MP3 has no sample rate of {audio.rate} Hz: use WAV, FLAC or OGG")
    samples = audio.wave.detach().cpu().float().clamp(-1, 1).numpy().T
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", audio.rate, samples.shape[1], subtype=subtype, format=container) as file:
        # libsndfile's Vorbis encoder keeps its whole input on the stack: minutes at once would overflow it.
        for start in range(0, len(samples), audio.rate):
            file.write(samples[start : start + audio.rate])
    return file_tags.embed(buffer.getvalue(), extension, {name: text for name, text in named.items() if text})


def read_comment(path: str | os.PathLike[str]) -> str:
    """The comment that `write` stored in a file, "" if there is none."""
    return read_tags(path).get("comment", "")


def read_tags(path: str | os.PathLike[str]) -> dict[str, str]:
    """The tags of a file by name, in lower case: those that `write` stored, and others.

    Raises:
        InputError: the file is missing, cannot be read, or is no audio.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        if file_tags.is_riff(path):
            return file_tags.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    with _memory(path, _TAG_COPIES * path.stat().st_size):  # a file may be nothing but a tag
        return file_tags.read(path)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically, also if the disk becomes full during writing."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"cannot write {path} ({len(data) / 1e6:.1f} MB): {error.strerror or error}") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS (BS.1770-4); -inf for silence and for audio shorter than one gating block."""
    if audio.duration < MIN_LOUDNESS_SECONDS or not bool(audio.wave.any()):
        return -math.inf
    if audio.wave.shape[0] > MAX_CHANNELS:
        raise InputError(
            f"{audio.wave.shape[0]} channels: loudness (BS.1770) is defined for {MAX_CHANNELS} at most, so mix them down first"
        )
    return integrated(audio.wave, audio.rate)


def loudness_gain(audio: Audio, target: float = TARGET_LUFS) -> float:
    """The factor that normalises `audio` to `target` LUFS; 1 for audio that is not normalised: silence, an RMS below QUIET_RMS,
    and audio too short to have a loudness."""
    level = loudness(audio)
    if not math.isfinite(level) or float(audio.wave.square().mean().sqrt()) < QUIET_RMS:
        return 1.0
    return float(10 ** ((target - level) / 20))


def normalise_loudness(audio: Audio, target: float = TARGET_LUFS) -> Audio:
    """Bring `audio` to `target` LUFS by `loudness_gain`. The gain stops where a sample would exceed -1 dBFS, so nothing clips:
    dense peaks leave the clip a little quieter."""
    gain = loudness_gain(audio, target)
    if gain == 1:
        return audio
    peak = float(audio.wave.abs().max())
    return Audio(audio.wave * min(gain, _PEAK_CEILING / peak), audio.rate)
