"""The training data of a tokeniser: audio files -> random crops, held in memory.

All audio is one int16 tensor on the training device: a batch is one gather, without workers or copies between steps. Every
channel is a separate example, because MusicGen's stereo models use a mono tokeniser (Copet et al. 2023, section 4.3). Files
that cannot be read are listed.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from musicgen import audio
from musicgen.errors import InputError
from musicgen.training.manifest import find
from musicgen.training.tokenizer.config import Data

logger = logging.getLogger(__name__)

SCALE = 32_767
READERS = 4


@dataclass(frozen=True)
class AudioData:
    """The audio of a run.

    Attributes:
        pool: Training crops.
        held_out: (name, float32 [T]) for validation.
        failed: A line for each file that could not be used.
        left_out: Files beyond the memory limit.
    """

    pool: CropPool
    held_out: list[tuple[str, torch.Tensor]]
    failed: list[str]
    left_out: int


class CropPool:
    """Concatenated tracks, and crops at random positions: every possible crop is equally likely."""

    def __init__(self, tracks: list[torch.Tensor], crop: int) -> None:
        """tracks: int16 [T] each; those shorter than `crop` samples are padded with silence."""
        if not tracks:
            raise InputError("no audio to train on: every file is held out, unreadable or over the memory limit")
        tracks = [torch.nn.functional.pad(track, (0, max(0, crop - len(track)))) for track in tracks]
        lengths = torch.tensor([len(track) for track in tracks])
        self.crop = crop
        self.samples = torch.cat(tracks)
        self._begins = lengths.cumsum(0) - lengths
        # Cumulative number of possible crop positions.
        self._starts = (lengths - crop + 1).cumsum(0)
        self._offsets = torch.arange(crop)
        self.num_starts = int(self._starts[-1])

    def to(self, device: torch.device) -> CropPool:
        """The same pool, moved."""
        for name in ("samples", "_begins", "_starts", "_offsets"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def draw(self, batch: int, gain_db: float, generator: torch.Generator) -> torch.Tensor:
        """Random crops, float32 [batch, 1, crop], attenuated by 0 to `gain_db` dB. Does not synchronise with the device."""
        device = self.samples.device
        start = torch.randint(self.num_starts, (batch,), generator=generator, device=device)
        track = torch.searchsorted(self._starts, start, right=True)
        # The index among all positions minus those of earlier tracks.
        earlier = torch.where(track > 0, self._starts[track - 1], 0)
        place = self._begins[track] + start - earlier
        waves = self.samples[place[:, None] + self._offsets].float() / SCALE
        gain = 10 ** (-gain_db / 20 * torch.rand(batch, 1, generator=generator, device=device))
        return (waves * gain)[:, None]


def load(data: Data, sample_rate: int, crop: int, seed: int) -> AudioData:
    """Read the audio of `data.path`.

    Args:
        data: The recipe's data section.
        sample_rate: Hz.
        crop: Samples of a crop.
        seed: Chooses the files held out.

    Raises:
        InputError: Too few files can be used.
    """
    files = find(Path(data.path))
    random.Random(seed).shuffle(files)
    # By file, so that the channels of a recording are in one split.
    num_held_out = min(data.validation_files, len(files) // 4)
    if num_held_out == 0:
        raise InputError(f"{data.path}: {len(files)} audio files: at least 4 are needed, one of them for validation")
    limit = data.max_gigabytes * 1e9
    held_out: list[tuple[str, torch.Tensor]] = []
    tracks: list[torch.Tensor] = []
    failed: list[str] = []
    used = size = 0
    for path, result in _read_all(files, sample_rate):
        if isinstance(result, InputError):
            logger.warning("not used: %s", result)
            failed.append(str(result))
            continue
        if len(held_out) < num_held_out:
            held_out.append((path.name, _middle(result, round(data.validation_seconds * sample_rate))))
            continue
        size += sum(track.nbytes for track in result)
        if size > limit:
            break
        tracks += result
        used += 1
    left_out = len(files) - len(failed) - len(held_out) - used
    if left_out:
        logger.warning("%d files left out: data.max_gigabytes is %g", left_out, data.max_gigabytes)
    return AudioData(CropPool(tracks, crop), held_out, failed, left_out)


def _read_all(files: list[Path], sample_rate: int) -> Iterator[tuple[Path, list[torch.Tensor] | InputError]]:
    def one(path: Path) -> list[torch.Tensor] | InputError:
        try:
            return _tracks(audio.read(path, rate=sample_rate).wave)
        except InputError as error:
            return error

    with ThreadPoolExecutor(READERS) as executor:
        # In parts: readers may exceed the memory limit by a few files only.
        for start in range(0, len(files), 4 * READERS):
            part = files[start : start + 4 * READERS]
            yield from zip(part, executor.map(one, part), strict=True)


def _tracks(wave: torch.Tensor) -> list[torch.Tensor]:
    """float32 [C, T] -> int16 [T] for each channel that differs from those before it."""
    channels: list[torch.Tensor] = []
    for channel in (wave.clamp(-1, 1) * SCALE).round().to(torch.int16):
        if not any(torch.equal(channel, other) for other in channels):
            channels.append(channel)
    return channels


def _middle(tracks: list[torch.Tensor], length: int) -> torch.Tensor:
    """The middle `length` samples of the first channel, float32."""
    start = max(0, (len(tracks[0]) - length) // 2)
    return tracks[0][start : start + length].float() / SCALE
