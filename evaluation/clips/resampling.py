"""Resampling of each view of a clip, as specified by the definitions of the metrics.

A filter changes an embedding by a per cent or two, so a published metric uses the filter of its definition:

    paper, paper_whole   julius's windowed sinc, as audiocraft's `convert_audio`
    toolkit              resampy's kaiser_best, as frechet-audio-distance (`resampy_compat`)
    fadtk                torchaudio's sinc with a Kaiser window, as fadtk and kadtk
    raw                  `Audio.resampled`, this project's default: torchaudio's sinc with a Hann window, as audiobox_aesthetics
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
import torchaudio

from musicgen.audio import Audio
from musicgen.resampler import has_kernel

from . import resampy_compat

View = Literal["paper", "paper_whole", "raw", "toolkit", "fadtk"]

KAISER: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
"""fadtk's filter: the kaiser_best of resampy before 0.4."""


def resample(wave: torch.Tensor, rate: int, target: int, view: View = "raw") -> torch.Tensor:
    """Resample one channel.

    Args:
        wave: [samples], at least one.
        rate: Hz of `wave`.
        target: Hz of the result.
        view: whose resampler it is.

    Returns:
        [samples at `target` Hz].
    """
    return wave if rate == target else _RESAMPLERS[view](wave, rate, target)


def _by_torchaudio(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    return Audio(wave[None], rate).resampled(target).wave[0]


def _by_julius(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """julius's kernel would need gigabytes for rates without a common divisor, which audiocraft cannot resample either."""
    if not has_kernel(rate, target):
        return _by_torchaudio(wave, rate, target)
    return _julius(rate, target)(wave[None])[0]


def _by_kaiser(wave: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    if not has_kernel(rate, target):
        return _by_torchaudio(wave, rate, target)
    return torchaudio.functional.resample(wave, rate, target, **KAISER)


@lru_cache(maxsize=16)
def _julius(rate: int, target: int) -> torch.nn.Module:
    from julius.resample import ResampleFrac

    return ResampleFrac(rate, target)


_RESAMPLERS: dict[View, Callable[[torch.Tensor, int, int], torch.Tensor]] = {
    "paper": _by_julius,
    "paper_whole": _by_julius,
    "raw": _by_torchaudio,
    "toolkit": resampy_compat.resample,
    "fadtk": _by_kaiser,
}
