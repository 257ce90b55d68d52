"""Waveform -> chroma: which of the 12 pitch classes sounds, frame by frame (paper sections 2.3 and 3.1).

Shared by the melody conditioner and by the chroma metric. Window 2^14 and hop 2^12 at 32 kHz: so long a window keeps the
model from recovering details of the reference. Row 0 is C. Conventions of the reference implementation, checked against its
numbers: power spectrogram divided by the window's energy, librosa's chroma filters without tuning estimation, every frame
divided by its largest value, the largest bin as a one-hot; silence, where all bins are equal, counts as C.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from musicgen import numba_cache
from musicgen.audio import Audio
from musicgen.errors import InputError

SAMPLE_RATE = 32_000
"""Hz."""
WINDOW = 2**14
"""Samples."""
HOP = 2**12
"""Samples."""
NUM_CHROMA = 12
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def num_frames(num_samples: int) -> int:
    """Chroma frames of that many samples at 32 kHz; shorter than a window counts as one window."""
    return max(num_samples, WINDOW) // HOP + 1


def chroma(wave: torch.Tensor) -> torch.Tensor:
    """Soft chroma of mono audio at 32 kHz: float32 [..., T samples] -> [..., frames, 12], the largest bin of a frame 1
    (all 0 in silence)."""
    if wave.shape[-1] < WINDOW:
        missing = WINDOW - wave.shape[-1]
        wave = torch.nn.functional.pad(wave, (missing // 2, missing - missing // 2))
    window = torch.hann_window(WINDOW, device=wave.device)
    flat = wave.reshape(-1, wave.shape[-1])
    spectrum = torch.stft(flat, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    bins = _bins(spectrum.transpose(-1, -2), window)
    return bins.reshape(*wave.shape[:-1], *bins.shape[1:])


def chroma_at(wave: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Soft chroma of mono audio at 32 kHz around any samples: wave [T], centres int64 [n] -> [n, 12]. At the multiples of the
    hop this is `chroma`."""
    half = WINDOW // 2
    if wave.shape[0] <= half:
        wave = torch.nn.functional.pad(wave, (0, half + 1 - wave.shape[0]))
    padded = torch.nn.functional.pad(wave[None, None], (half, half), mode="reflect")[0, 0]
    window = torch.hann_window(WINDOW, device=wave.device)
    windows = padded.unfold(0, WINDOW, 1)
    pieces = [_bins(torch.fft.rfft(windows[part] * window), window) for part in centres.split(256)]
    return torch.cat(pieces)


def _bins(spectrum: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Spectra [..., WINDOW / 2 + 1] -> pitch classes [..., 12], the largest 1."""
    power = spectrum.abs().square() / window.square().sum()
    bins = power @ _filters().to(power).T
    return bins / bins.amax(dim=-1, keepdim=True).clamp(min=1e-6)


def quantise(soft: torch.Tensor) -> torch.Tensor:
    """Soft chroma [..., frames, 12] -> the same shape, one-hot at the largest bin (the first one at a tie)."""
    return torch.nn.functional.one_hot(soft.argmax(dim=-1), NUM_CHROMA).to(soft.dtype)


def of_audio(audio: Audio) -> torch.Tensor:
    """Quantised chroma [frames, 12] of any audio: mixed down, at 32 kHz."""
    return quantise(chroma(audio.mono().resampled(SAMPLE_RATE).wave[0]))


def fit(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Chroma [frames, 12] -> [length, 12]: repeated when shorter, cut when longer."""
    if frames.shape[0] == 0:
        raise InputError("the melody has no chroma frames")
    repeats = -(-length // frames.shape[0])
    return frames.repeat(repeats, 1)[:length]


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    """[12, WINDOW / 2 + 1] float32."""
    numba_cache.provide()
    from librosa.filters import chroma as chroma_filters  # here: it takes a second, and only the melody needs it

    return torch.from_numpy(chroma_filters(sr=SAMPLE_RATE, n_fft=WINDOW, tuning=0, n_chroma=NUM_CHROMA))
