"""A clip, decoded once and prepared for every network: mixed down, resampled, made equally loud, cut.

Four views of a clip, after audiocraft's evaluation (paper section 3.3):

    paper         32 kHz mono; a generation is brought to −14 LUFS and clamped, the reference is left as it is; a
                  generation is cut to its reference's length; then the network's own rate
    paper_whole   the same without the cut: what the CLAP score and the chroma extractor get
    raw           mono at the network's rate, straight from the file: what the field's toolkits do
    toolkit       the same, resampled as by resampy, which frechet-audio-distance uses: its filter shows in a FAD

Other resampling is julius's windowed sinc, as in audiocraft. Lengths are samples at 32 kHz.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.resampler import has_kernel

from . import toolkit_resampler
from .metrics import diagnostics

RATE = 32_000
"""Hz, of the paper's views."""
MIN_SECONDS = 1.0
"""Shorter clips count nowhere, as in the paper."""
MAX_SECONDS = 1800.0
"""Longer clips are excluded, with this as the reason: half an hour in stereo is 700 MB."""
VERSION = "1"
"""Of the preparation: a part of every cache key."""

Role = Literal["reference", "generated"]
View = Literal["paper", "paper_whole", "raw", "toolkit"]
AS_IT_IS: tuple[View, ...] = ("raw", "toolkit")
"""The views that take the file as it is."""


@dataclass(frozen=True)
class Source:
    """A clip on disk. sha256: of the file; length: of the reference that a generation is cut to, None for a reference."""

    id: str
    file: Path
    sha256: str
    role: Role
    length: int | None = None

    def preparation(self, view: View) -> str:
        """What a view makes of this file, in words: a part of the cache key."""
        if view in AS_IT_IS:
            return f"{view}:{VERSION}"
        cut = f":{self.length}" if view == "paper" and self.length is not None else ""
        return f"{view}:{VERSION}:{self.role}{cut}"


class Clip:
    """A decoded clip. Whatever several networks need of it is computed once."""

    def __init__(self, source: Source, decoded: Audio | None = None) -> None:
        self.source = source
        self.audio = decoded if decoded is not None else audio.read(source.file, MAX_SECONDS)
        self._paper: torch.Tensor | None = None
        self._views: dict[tuple[str, int], torch.Tensor] = {}

    def view(self, view: View, rate: int) -> torch.Tensor:
        """The waveform [samples] at `rate` Hz."""
        if (view, rate) not in self._views:
            self._views[view, rate] = self._make(view, rate)
        return self._views[view, rate]

    def _make(self, view: View, rate: int) -> torch.Tensor:
        if view in AS_IT_IS:
            resample = toolkit_resampler.resampled if view == "toolkit" else resampled
            return resample(self.audio.wave.mean(dim=0), self.audio.rate, rate)
        if self._paper is None:
            self._paper = resampled(self.audio.wave.mean(dim=0), self.audio.rate, RATE)
            if self.source.role == "generated":
                self._paper = as_loud_as_the_paper(self._paper)
        wave = self._paper
        if view == "paper" and self.source.length is not None:
            wave = wave[: self.source.length]
        return resampled(wave, RATE, rate)


@dataclass(frozen=True)
class Inspection:
    """What decoding a file showed. samples: its length at 32 kHz; sound: hash of its samples."""

    samples: int
    sound: str
    diagnosis: diagnostics.Diagnosis

    def to_array(self) -> npt.NDArray[np.uint8]:
        """As the cache keeps it."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), dtype=np.uint8)

    @staticmethod
    def from_array(array: npt.NDArray[np.uint8]) -> Inspection:
        entry = json.loads(array.tobytes())
        return Inspection(entry["samples"], entry["sound"], diagnostics.Diagnosis(**entry["diagnosis"]))

    def fault(self) -> str | None:
        """Why the clip cannot count; None where it can. A silent clip counts: silence is what its system made."""
        if self.diagnosis.duration < MIN_SECONDS:
            return f"{self.diagnosis.duration:.2f} s long: at least {MIN_SECONDS:.0f} s are needed"
        return None


def inspect(clip: Clip) -> Inspection:
    """Length, hash and faults of a decoded clip."""
    sound = hashlib.sha256(np.ascontiguousarray(clip.audio.wave.numpy()).tobytes())
    sound.update(str((clip.audio.rate, tuple(clip.audio.wave.shape))).encode())
    samples = clip.view("raw", RATE).shape[0]  # loudness alters no length
    return Inspection(samples, sound.hexdigest(), diagnostics.diagnose(clip.audio))


def as_loud_as_the_paper(wave: torch.Tensor) -> torch.Tensor:
    """[samples] at 32 kHz at −14 LUFS, samples beyond ±1 clamped, as audiocraft's evaluation does; silence, and what is
    too short for a loudness, is only clamped."""
    level = audio.loudness(Audio(wave[None], RATE))
    gain = 10 ** ((audio.TARGET_LUFS - level) / 20) if np.isfinite(level) else 1.0
    return (wave * gain).clamp(-1, 1)


def resampled(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """[samples] at another rate (julius: windowed sinc; soxr, where julius' kernel would need gigabytes)."""
    if rate == target:
        return wave
    if wave.shape[0] == 0:
        raise InputError("an empty clip cannot be resampled")
    if not has_kernel(rate, target):
        return Audio(wave[None], rate).resampled(target).wave[0]
    return _resampler(rate, target)(wave[None])[0]


@lru_cache(maxsize=16)
def _resampler(rate: int, target: int) -> torch.nn.Module:
    from julius.resample import ResampleFrac

    return ResampleFrac(rate, target)
