"""Chromagrams: the strength of the 12 pitch classes in every frame (paper sections 2.3 and 3.1).

Used by the melody conditioner and the chroma metric. Window 2^14 and hop 2^12 at 32 kHz: the coarse time resolution is an
information bottleneck that keeps the model from reconstructing the reference. Bin 0 is C. As in the reference implementation,
whose numbers the tests check: the power spectrogram is divided by the window's energy, the chroma filters are librosa's
without tuning estimation, every frame is divided by its maximum, and quantisation is one-hot at the largest bin; silence,
where all bins are equal, becomes C.
"""

from __future__ import annotations

import threading
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

_filters_lock = threading.Lock()


def num_frames(num_samples: int) -> int:
    """The number of chroma frames of `num_samples` at 32 kHz; less than a window is padded to one."""
    return max(num_samples, WINDOW) // HOP + 1


def chroma(wave: torch.Tensor) -> torch.Tensor:
    """The chromagram before quantisation.

    Args:
        wave: Mono audio at 32 kHz, float32 [..., samples].

    Returns:
        float32 [..., frames, 12]; the largest bin of a frame is 1, in silence all are 0.
    """
    if wave.shape[-1] < WINDOW:
        missing = WINDOW - wave.shape[-1]
        wave = torch.nn.functional.pad(wave, (missing // 2, missing - missing // 2))
    window = torch.hann_window(WINDOW, device=wave.device)
    flat = wave.reshape(-1, wave.shape[-1])
    spectrum = torch.stft(flat, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True)
    bins = _bins(spectrum.transpose(-1, -2), window)
    return bins.reshape(*wave.shape[:-1], *bins.shape[1:])


def chroma_at(wave: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Chroma around any samples; at multiples of the hop it equals `chroma`.

    Args:
        wave: Mono audio at 32 kHz, float32 [samples].
        centres: int64 [n], sample indices.

    Returns:
        float32 [n, 12].
    """
    half = WINDOW // 2
    if wave.shape[0] <= half:
        wave = torch.nn.functional.pad(wave, (0, half + 1 - wave.shape[0]))
    padded = torch.nn.functional.pad(wave[None, None], (half, half), mode="reflect")[0, 0]
    window = torch.hann_window(WINDOW, device=wave.device)
    windows = padded.unfold(0, WINDOW, 1)
    pieces = [_bins(torch.fft.rfft(windows[part] * window), window) for part in centres.split(256)]
    return torch.cat(pieces)


def _bins(spectrum: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Spectra [..., WINDOW / 2 + 1] -> pitch classes [..., 12] with maximum 1."""
    power = spectrum.abs().square() / window.square().sum()
    bins = power @ _filters().to(power).T
    return bins / bins.amax(dim=-1, keepdim=True).clamp(min=1e-6)


def quantise(soft: torch.Tensor) -> torch.Tensor:
    """Chroma [..., frames, 12] -> one-hot at the largest bin of each frame, the first one at a tie."""
    return torch.nn.functional.one_hot(soft.argmax(dim=-1), NUM_CHROMA).to(soft.dtype)


def of_audio(audio: Audio) -> torch.Tensor:
    """Quantised chroma [frames, 12] of any audio, after downmix and resampling to 32 kHz."""
    return quantise(chroma(audio.mono().resampled(SAMPLE_RATE).wave[0]))


def fit(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Chroma [frames, 12] -> [length, 12], repeated if shorter and cut if longer; InputError for no frames."""
    if frames.shape[0] == 0:
        raise InputError("the melody has no chroma frames")
    repeats = -(-length // frames.shape[0])
    return frames.repeat(repeats, 1)[:length]


def _filters() -> torch.Tensor:
    """[12, WINDOW / 2 + 1] float32; a second thread waits while the first imports librosa."""
    with _filters_lock:
        return _compute_filters()


@lru_cache(maxsize=1)
def _compute_filters() -> torch.Tensor:
    numba_cache.provide()
    from librosa.filters import chroma as chroma_filters  # here: the import takes a second

    return torch.from_numpy(chroma_filters(sr=SAMPLE_RATE, n_fft=WINDOW, tuning=0, n_chroma=NUM_CHROMA))
