"""Melodies as the page edits them: one pitch class a chroma frame, 0 for C to 11 for B.

recording --(Demucs)--> chroma.py --> frames --edited--> tensor [frames, 12] --> the model
result ------------------> frames, compared with what it was to follow
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from musicgen import chroma
from musicgen.audio import Audio
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.separation import DemucsSeparator

SECONDS_PER_FRAME = chroma.HOP / chroma.SAMPLE_RATE


def extract(recording: Path, separate: bool, separator: DemucsSeparator | None = None) -> tuple[int, ...]:
    """The frames that a model would follow. Raises InputError for what is no melody."""
    conditioner = MelodyConditioner(torch.nn.Identity(), 1, separator)
    melody = conditioner.prepare(recording, separate=separate)
    assert melody.wave is not None
    return of_wave(melody.wave)


def of_wave(wave: torch.Tensor) -> tuple[int, ...]:
    """Mono audio [T] at 32 kHz -> its frames."""
    return tuple(chroma.chroma(wave).argmax(dim=-1).tolist())


def of_audio(audio: Audio) -> tuple[int, ...]:
    return of_wave(audio.mono().resampled(chroma.SAMPLE_RATE).wave[0])


def as_tensor(frames: Sequence[int]) -> torch.Tensor:
    """[frames, 12] one-hot, what `MusicGen.generate` takes as a melody."""
    return torch.nn.functional.one_hot(torch.tensor(list(frames)), chroma.NUM_CHROMA).float()


def repeated(frames: Sequence[int], length: int) -> tuple[int, ...]:
    """As the model hears them: from the beginning again where they are shorter than the piece."""
    return tuple(frames[i % len(frames)] for i in range(length))


def similarity(reference: Sequence[int], result: Sequence[int]) -> float:
    """Share of the result's frames that have the reference's pitch class: the paper's cosine similarity, of one-hot frames."""
    expected = repeated(reference, len(result))
    return sum(a == b for a, b in zip(expected, result, strict=True)) / len(result)
