"""Reconstruction losses between waves [B, 1, T samples]; 0 for equal inputs.

Spectra are magnitudes of Hann-windowed short-time Fourier transforms, scaled so that a full-scale sine has about 1.
Sources: multi-scale mel, Défossez et al. 2022 (section 3.4) and Kumar et al. 2023 (section 3.5); spectral convergence and log
magnitudes, Yamamoto et al. 2020 (equations 5 and 6).
"""

from __future__ import annotations

import torch
import torchaudio
from torch import nn
from torch.nn import functional as F

FLOOR = 1e-5
"""Magnitude added inside logarithms, -100 dB."""
BAND_SAMPLES = 16
"""Samples of a window for each of its mel bands."""


def magnitudes(waves: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """[B, T] -> [B, window / 2 + 1, frames], with a hop of a quarter window."""
    size = window.shape[0]
    spectrum = torch.stft(
        waves, size, size // 4, window=window, center=True, pad_mode="reflect", return_complex=True
    ) * (2 / window.sum())
    # Not abs(), whose gradient at 0 is NaN in some backends.
    return (spectrum.real.square() + spectrum.imag.square() + 1e-14).sqrt()


def mel_filters(sample_rate: int, window: int, bands: int) -> torch.Tensor:
    """[bands, window / 2 + 1]: triangles of height 1, Slaney's scale, up to half the sample rate."""
    return torchaudio.functional.melscale_fbanks(
        window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm=None, mel_scale="slaney"
    ).t()


class SpectralLosses(nn.Module):
    """Mel and STFT losses over several windows, which share the spectra."""

    def __init__(self, sample_rate: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = windows
        for size in windows:
            self.register_buffer(f"window{size}", torch.hann_window(size))
            self.register_buffer(f"filters{size}", mel_filters(sample_rate, size, size // BAND_SAMPLES))

    def forward(self, made: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(mel, stft), the mean over the windows of

        mel   L1 of log mel magnitudes
        stft  spectral convergence |S - S'| / |S|, a crop, and L1 of log magnitudes
        """
        made, target = made.squeeze(1), target.squeeze(1)
        mel, stft = made.new_zeros(()), made.new_zeros(())
        for size in self.windows:
            window, filters = self.get_buffer(f"window{size}"), self.get_buffer(f"filters{size}")
            theirs = magnitudes(made, window)
            with torch.no_grad():
                wanted = magnitudes(target, window)
            mel = mel + F.l1_loss(_log(filters @ theirs), _log(filters @ wanted))
            # The norm of silence is 0: the divisor is at least that of -60 dB.
            norm = wanted.flatten(1).norm(dim=1).clamp(min=1e-3 * wanted[0].numel() ** 0.5)
            stft = stft + ((theirs - wanted).flatten(1).norm(dim=1) / norm).mean()
            stft = stft + F.l1_loss(_log(theirs), _log(wanted))
        return mel / len(self.windows), stft / len(self.windows)


def _log(magnitude: torch.Tensor) -> torch.Tensor:
    return (magnitude + FLOOR).log()
