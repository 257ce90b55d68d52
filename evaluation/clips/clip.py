"""A clip, decoded once and prepared for every network: mixed down, resampled, normalised in loudness, cut.

Five views of a clip, after audiocraft's evaluation (paper section 3.3):

    paper         32 kHz mono; a generation is normalised to −14 LUFS and clamped, the reference is left as it is; a
                  generation is cut to its reference's length; then resampled to the network's rate
    paper_whole   the same without the cut: for the CLAP score and the chroma extractor
    raw           mono at the network's rate, without further processing, as in common toolkits
    toolkit       the same, resampled as by frechet-audio-distance
    fadtk         the same, resampled as by fadtk and kadtk

`resampling` says how each is resampled. Lengths are samples at 32 kHz.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from musicgen import audio
from musicgen.audio import Audio

from . import diagnostics
from .resampling import View, resample
from .window import Window

RATE = 32_000
"""Hz, of the paper's views."""
MIN_SECONDS = 1.0
"""Shorter clips are excluded, as in the paper."""
MAX_SECONDS = 1800.0
"""Longer clips are excluded: half an hour in stereo is 700 MB."""
VERSIONS: dict[View, str] = {"paper": "2", "paper_whole": "2", "raw": "3", "toolkit": "2", "fadtk": "1"}
"""Of the preparation of each view: a part of every cache key."""

Role = Literal["reference", "generated"]
UNPROCESSED_VIEWS: tuple[View, ...] = ("raw", "toolkit", "fadtk")
"""The views without loudness normalisation and without a cut."""


@dataclass(frozen=True)
class Source:
    """An audio file of a clip.

    Attributes:
        id: of the suite's item.
        file: where it is.
        sha256: of the file's bytes.
        role: reference or generation.
        length: samples at 32 kHz of the reference that a generation is cut to; None for a reference.
        window: the part of the file that is scored, None for all of it.
    """

    id: str
    file: Path
    sha256: str
    role: Role
    length: int | None = None
    window: Window | None = None

    def preparation(self, view: View) -> str:
        """The preparation of this file in a view, as text: a part of the cache key."""
        window = f":{self.window}" if self.window is not None else ""
        if view in UNPROCESSED_VIEWS:
            return f"{view}:{VERSIONS[view]}{window}"
        cut = f":{self.length}" if view == "paper" and self.length is not None else ""
        return f"{view}:{VERSIONS[view]}:{self.role}{cut}{window}"


class Clip:
    """A decoded clip. What several networks need of it is computed once.

    Args:
        source: the file.
        decoded: its audio, if it is decoded already; the source's window is cut from it.

    Raises:
        InputError: the file is not readable as audio, or longer than MAX_SECONDS.
    """

    def __init__(self, source: Source, decoded: Audio | None = None) -> None:
        self.source = source
        whole = decoded if decoded is not None else audio.read(source.file, MAX_SECONDS)
        self.audio = whole if source.window is None else source.window.cut(whole)
        self._views: dict[tuple[str, int], torch.Tensor] = {}

    def view(self, view: View, rate: int) -> torch.Tensor:
        """The waveform [samples] of a view at `rate` Hz."""
        if (view, rate) not in self._views:
            self._views[view, rate] = self._compute_view(view, rate)
        return self._views[view, rate]

    def _compute_view(self, view: View, rate: int) -> torch.Tensor:
        if view in UNPROCESSED_VIEWS:
            return resample(self.audio.wave.mean(dim=0), self.audio.rate, rate, view)
        wave = self._paper
        if view == "paper" and self.source.length is not None:
            wave = wave[: self.source.length]
        return resample(wave, RATE, rate, view)

    @cached_property
    def _paper(self) -> torch.Tensor:
        return normalise_loudness(self.at_paper_rate) if self.source.role == "generated" else self.at_paper_rate

    @cached_property
    def at_paper_rate(self) -> torch.Tensor:
        """[samples] at 32 kHz, mono, as loud as the file."""
        return resample(self.audio.wave.mean(dim=0), self.audio.rate, RATE, "paper")


@dataclass(frozen=True)
class Inspection:
    """What decoding a file showed.

    Attributes:
        samples: length at 32 kHz.
        sound: hash of the decoded samples.
        diagnosis: of the decoded samples.
    """

    samples: int
    sound: str
    diagnosis: diagnostics.Diagnosis

    def to_array(self) -> npt.NDArray[np.uint8]:
        """JSON as bytes, the form in which the cache stores it."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), dtype=np.uint8)

    @staticmethod
    def from_array(array: npt.NDArray[np.uint8]) -> Inspection:
        """The inverse of `to_array`."""
        entry = json.loads(array.tobytes())
        return Inspection(entry["samples"], entry["sound"], diagnostics.Diagnosis(**entry["diagnosis"]))

    def exclusion(self) -> str | None:
        """Why the clip is excluded; None if it is not. A silent clip is scored: silence is its system's output."""
        if self.diagnosis.duration < MIN_SECONDS:
            return f"{self.diagnosis.duration:.2f} s long: at least {MIN_SECONDS:.0f} s are needed"
        return None


def inspect(clip: Clip) -> Inspection:
    """Length, hash and diagnosis of a decoded clip."""
    sound = hashlib.sha256(np.ascontiguousarray(clip.audio.wave.numpy()).tobytes())
    sound.update(str((clip.audio.rate, tuple(clip.audio.wave.shape))).encode())
    return Inspection(len(clip.at_paper_rate), sound.hexdigest(), diagnostics.diagnose(clip.audio))


def normalise_loudness(wave: torch.Tensor) -> torch.Tensor:
    """Normalise to −14 LUFS and clamp to ±1, as audiocraft's evaluation does.

    Args:
        wave: [samples] at 32 kHz. What `audio.loudness_gain` leaves alone is only clamped: silence and near-silence.

    Returns:
        [samples].
    """
    return (wave * audio.loudness_gain(Audio(wave[None], RATE))).clamp(-1, 1)
