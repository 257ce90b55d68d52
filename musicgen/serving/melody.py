"""Melodies as the page edits them: one pitch class per chroma frame, from 0 for C to 11 for B.

recording --(Demucs)--> chroma.py --> frames --(edits)--> tensor [frames, 12] --> model
generated clip -----------------> frames, which are compared with those of the melody
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from musicgen import chroma
from musicgen.audio import Audio
from musicgen.conditioners.melody import MelodyConditioner
from musicgen.conditioners.separation import DemucsSeparator

SECONDS_PER_FRAME = chroma.HOP / chroma.SAMPLE_RATE


_SEPARATOR = DemucsSeparator()
"""Of all that a process separates: Demucs, which is loaded at the first use, takes much memory."""
_one_at_a_time = threading.Lock()


def extract(recording: Path, separate: bool) -> tuple[int, ...]:
    """The melody of a recording, as a model is conditioned on it; of one recording at a time. Thread-safe.

    Args:
        recording: an audio file.
        separate: whether to remove drums and bass with Demucs first.

    Returns:
        The pitch class of each chroma frame.

    Raises:
        InputError: for a file without a melody.
    """
    with _one_at_a_time:
        melody = MelodyConditioner(torch.nn.Identity(), 1, _SEPARATOR).prepare(recording, separate=separate)
    assert melody.wave is not None
    return from_wave(melody.wave)


def from_wave(wave: torch.Tensor) -> tuple[int, ...]:
    """The pitch class of each chroma frame of mono audio [T] at 32 kHz."""
    return tuple(chroma.chroma(wave).argmax(dim=-1).tolist())


def from_audio(audio: Audio) -> tuple[int, ...]:
    """The pitch class of each chroma frame of audio at any rate."""
    return from_wave(audio.mono().resampled(chroma.SAMPLE_RATE).wave[0])


def to_one_hot(frames: Sequence[int]) -> torch.Tensor:
    """One-hot float32 [frames, 12], which `MusicGen.generate` takes as a melody."""
    return torch.nn.functional.one_hot(torch.tensor(list(frames)), chroma.NUM_CHROMA).float()


def tile(frames: Sequence[int], length: int) -> tuple[int, ...]:
    """Repeat or cut the frames to a length, as the model does with a melody that is shorter than the clip."""
    return tuple(frames[i % len(frames)] for i in range(length))


def similarity(reference: Sequence[int], result: Sequence[int]) -> float:
    """Chroma cosine similarity of one-hot frames: the share of the result's frames that have the reference's pitch class.

    Source: Copet et al., Simple and Controllable Music Generation (2023).
    """
    expected = tile(reference, len(result))
    return sum(a == b for a, b in zip(expected, result, strict=True)) / len(result)
