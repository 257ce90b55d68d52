"""The melody conditioner: recording -> source separation -> quantised chroma -> learned projection (paper section 2.3)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from musicgen import audio, chroma, midi
from musicgen.audio import Audio
from musicgen.chords import ChordChart
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.registry import register
from musicgen.conditioners.separation import SAMPLE_RATE as SEPARATION_RATE
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.errors import CheckpointError, InputError
from musicgen.options import MAX_DURATION
from musicgen.recordings import AudioInput, check_audible, recording

MIN_SECONDS = 0.1
MAX_SECONDS = 600.0
MAX_CHANNELS = 2
RATES = (4_000, 192_000)
"""Hz. Lower rates lack the range of pitches; higher ones are more likely a wrong file header."""
SILENCE = 1e-4
"""A melody whose largest sample is below this is silent (-80 dBFS)."""
LOWEST_TONE = 20.0
"""Hz. What lies below is no tone: a recording of it alone (a constant voltage, say) has no melody."""
RESAMPLER_IMAGES = 5e-4
"""The largest amplitude of resampling images of a DC offset, as a share of it; measured at up to 2.6e-4."""

STEP = Fraction(chroma.HOP, chroma.SAMPLE_RATE)
"""Seconds from one chroma frame to the next."""
MelodyInput = AudioInput | torch.Tensor | np.ndarray | ChordChart
"""A recording, a MIDI file, chroma frames [frames, 12], or chords."""


@dataclass(frozen=True)
class Melody:
    """A validated melody.

    Attributes:
        wave: float32 [samples], mono at 32 kHz; or None where frames are given.
        frames: Chroma [frames, 12] of zeros and ones, or None: several ones in a frame are a chord.
    """

    wave: torch.Tensor | None = None
    frames: torch.Tensor | None = None

    def chroma(self, length: int) -> torch.Tensor:
        """Quantised chroma [length, 12], repeated if shorter and cut if longer."""
        frames = chroma.quantise(chroma.chroma(self.wave)) if self.wave is not None else self.frames
        assert frames is not None
        return chroma.fit(frames, length)

    def shift(self, start: float) -> Melody:
        """The melody rotated so that it begins at `start` seconds; below 0 with its end."""
        if self.wave is not None:
            return Melody(wave=self.wave.roll(-round(start * chroma.SAMPLE_RATE)))
        assert self.frames is not None
        return Melody(frames=self.frames.roll(-round(start * chroma.SAMPLE_RATE / chroma.HOP), dims=0))

    def window(self, start: float, duration: float) -> Melody:
        """The melody of a window: `duration` seconds from `start` seconds on; after its end it is repeated."""
        if self.wave is not None:
            index = int(start * chroma.SAMPLE_RATE) + torch.arange(int(duration * chroma.SAMPLE_RATE))
            return Melody(wave=self.wave[index % self.wave.shape[0]])
        assert self.frames is not None
        shift = round(start * chroma.SAMPLE_RATE / chroma.HOP)
        return Melody(frames=self.frames.roll(-shift, dims=0))


@register("chroma")
class MelodyConditioner(Conditioner):
    """Quantised chroma and the learned projection to the language model's width.

    A clip without a melody gets the null melody: bin 0 in every frame, projected, as in the reference implementation.

    Attributes:
        length: Chroma frames of the model's training segment (235 for 30 s).
        separated: Whether drums and bass were removed from the melodies in training, as for the published models.
    """

    def __init__(
        self,
        projection: nn.Module,
        length: int,
        separator: DemucsSeparator | None = None,
        *,
        separated: bool = True,
    ) -> None:
        super().__init__()
        self.projection = projection
        self.length = length
        self.separated = separated
        self.separator = separator if separator is not None else DemucsSeparator()

    @property
    def max_length(self) -> int:
        return self.length

    @property
    def min_length(self) -> int:
        return self.length

    def check(self, source: str) -> None:
        if not 0 < self.length <= chroma.num_frames(round(MAX_DURATION * chroma.SAMPLE_RATE)):
            raise CheckpointError(f"{source}: a melody of {self.length} chroma frames")

    def place(self, device: torch.device) -> None:
        self.separator.device = device

    def config(self) -> dict[str, Any]:
        return {"length": self.length, "separated": self.separated}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], dim: int) -> Self:
        return cls(nn.Linear(chroma.NUM_CHROMA, dim), **config)

    def prepare(self, value: MelodyInput, *, separate: bool | None = None, **options: Any) -> Melody:  # noqa: ARG002
        """Read, validate and separate a melody.

        Args:
            value: A file, audio, a MIDI file, chords, or chroma frames; or what this method returned. Frames of zeros and
                ones are followed as they are, others by their largest bin.
            separate: Whether Demucs removes drums and bass; False for clean or hummed melodies. None does as the model's
                training did.
            **options: Not used.

        Raises:
            InputError: The melody is unreadable, too short or long, silent, or has NaN samples or too many channels.
        """
        if isinstance(value, Melody):
            return value
        if isinstance(value, ChordChart):
            # Whole progressions, so that what is repeated behind them, or stands before the beginning, is in time.
            whole = value.seconds * max(1, int(MAX_DURATION / value.seconds))
            return Melody(frames=_multi_hot(value.at([index * STEP for index in range(max(1, round(whole / STEP)))])))
        if midi.is_midi(value):
            return Melody(frames=_multi_hot(midi.pitch_classes_at(value, STEP)))  # type: ignore[arg-type]
        if isinstance(value, (torch.Tensor, np.ndarray)):
            return Melody(frames=_checked_frames(torch.as_tensor(value)))
        separate = self.separated if separate is None else separate
        heard = recording(value, "the melody", partial(_read, separate=separate))
        _check_recording(heard, str(value) if isinstance(value, (str, os.PathLike)) else "the melody")
        if separate:
            heard = self.separator(heard)
        return Melody(wave=heard.mono().resampled(chroma.SAMPLE_RATE).wave[0])

    def window(self, prepared: Melody, start: float, duration: float) -> Melody:
        """The melody from `start` seconds on; after its end it is repeated."""
        return prepared.window(start, duration)

    def shift(self, prepared: Melody, start: float) -> Melody:
        """The whole melody, rotated so that it begins at `start` seconds."""
        return prepared.shift(start)

    def forward(self, melodies: Sequence[Melody | None]) -> Condition:
        """The condition of B melodies, of L = length vectors; None gives the null melody."""
        return self.project(self.frames(melodies))

    def null(self, batch: int, like: Condition | None = None) -> Condition:  # noqa: ARG002
        """The null melody, the same for every clip."""
        one = self.project(_null(self.length)[None])
        return Condition(one.values.expand(batch, -1, -1), one.mask.expand(batch, -1))

    def frames(self, melodies: Sequence[Melody | None]) -> torch.Tensor:
        """Quantised chroma [B, length, 12] of a batch; None gives the null melody."""
        return torch.stack([_null(self.length) if m is None else m.chroma(self.length) for m in melodies])

    def project(self, frames: torch.Tensor) -> Condition:
        """Project chroma frames [B, length, 12] to a condition of L = length vectors."""
        weight = next(self.projection.parameters(), None)
        values = self.projection(frames if weight is None else frames.to(weight))
        return Condition(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


def _null(length: int) -> torch.Tensor:
    return nn.functional.one_hot(torch.zeros(length, dtype=torch.int64), chroma.NUM_CHROMA).float()


def _checked_frames(frames: torch.Tensor) -> torch.Tensor:
    if frames.dim() != 2 or frames.shape[1] != chroma.NUM_CHROMA or frames.shape[0] == 0:
        raise InputError(
            f"chroma frames are [frames, {chroma.NUM_CHROMA}], not {list(frames.shape)}; a recording is (samples, rate)"
        )
    if not bool(torch.isfinite(frames.float()).all()):
        raise InputError("the chroma frames hold NaN or infinite values")
    frames = frames.float()
    binary = bool(((frames == 0) | (frames == 1)).all())
    # A frame without a pitch class is what silence is in training, and quantised like it.
    return (
        torch.where(frames.any(dim=1, keepdim=True), frames, _null(len(frames))) if binary else chroma.quantise(frames)
    )


def _multi_hot(frames: Sequence[frozenset[int]]) -> torch.Tensor:
    """Pitch classes of each frame -> chroma [frames, 12]."""
    hot = torch.zeros(len(frames), chroma.NUM_CHROMA)
    for index, pitch_classes in enumerate(frames):
        hot[index, list(pitch_classes)] = 1.0
    return _checked_frames(hot)


def _read(file: str | os.PathLike[str], separate: bool) -> Audio:
    """A file, brought while it is read to what its next reader takes: Demucs' rate, or mono at the chromagram's."""
    channels, rate = (None, SEPARATION_RATE) if separate else (1, chroma.SAMPLE_RATE)
    return audio.read(file, MAX_SECONDS, channels=channels, rate=rate, most_channels=MAX_CHANNELS, rates=RATES)


def _check_recording(recording: Audio, name: str) -> None:
    channels = recording.wave.shape[0]
    if channels > MAX_CHANNELS:
        raise InputError(f"{name} has {channels} channels: mono or stereo only, so mix it down first")
    if not RATES[0] <= recording.rate <= RATES[1]:
        raise InputError(f"{name} has a rate of {recording.rate} Hz: it must lie between {RATES[0]} and {RATES[1]} Hz")
    if recording.duration < MIN_SECONDS:
        raise InputError(f"{name} is {recording.duration:.3f} s long: a melody needs {MIN_SECONDS} s at least")
    check_audible(recording, name, "melody", MAX_SECONDS, SILENCE)
    if not _has_tones(recording.mono().wave[0], recording.rate):
        raise InputError(
            f"{name} holds nothing above {LOWEST_TONE:.0f} Hz (a constant offset?): there is no melody to follow"
        )


def _has_tones(wave: torch.Tensor, rate: int) -> bool:
    """Whether anything in mono audio [T] lies above LOWEST_TONE, in seconds under a Hann window (an offset stays in its first
    two bins)."""
    size = min(len(wave), rate)
    # Whole windows only: an end filled with zeros would be a click. The last one ends with the recording.
    pieces = [*wave[: len(wave) // size * size].split(size), wave[-size:]]
    window = torch.hann_window(size).to(wave)
    first = max(2, math.ceil(LOWEST_TONE * size / rate))
    for piece in pieces:
        spectrum = torch.fft.rfft(piece * window).abs() / size
        below, above = (float(part.square().sum().sqrt()) for part in (spectrum[:first], spectrum[first:]))
        if above > max(SILENCE / 100, RESAMPLER_IMAGES * below):
            return True
    return False
