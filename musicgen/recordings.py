"""Conversion of what callers pass as a recording to `Audio`: a file, an `Audio`, or samples and their rate."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
import torch

from musicgen import audio
from musicgen.audio import Audio
from musicgen.errors import InputError

Samples = np.ndarray | torch.Tensor
AudioInput = str | os.PathLike[str] | Audio | tuple[Samples, int]
"""A file, an `Audio`, or (samples, rate) as soundfile and torchaudio give them: floats [T], [C, T] or [T, C], the shorter
side being the channels, and Hz."""


def is_pair(value: object) -> TypeGuard[tuple[Samples, int]]:
    """Whether `value` is (samples, rate), and not two recordings."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Real)


def recording(value: AudioInput, what: str, read: Callable[[str | os.PathLike[str]], Audio] = audio.read) -> Audio:
    """The recording that a caller passed.

    Args:
        value: a file, an `Audio`, or (samples, rate).
        what: the subject of an error's line: "the melody".
        read: reads a file, within the limits of what it is for.

    Raises:
        InputError: for anything else, and for a file that cannot be read.
    """
    if isinstance(value, Audio):
        return value
    if isinstance(value, (str, os.PathLike)):
        return read(value)
    if is_pair(value):
        return Audio(_channels_first(value[0], what), value[1])
    if isinstance(value, (np.ndarray, torch.Tensor)):
        raise InputError(f"{what} is an array without its sample rate: pass (samples, rate)")
    raise InputError(f"{what} is {_shown(value)}: it must be a file, a musicgen.Audio, or (samples, rate)")


def _channels_first(samples: Any, what: str) -> torch.Tensor:
    if not isinstance(samples, (np.ndarray, torch.Tensor)) or samples.ndim not in (1, 2):
        shape = f"of shape {list(samples.shape)}" if hasattr(samples, "shape") else _shown(samples)
        raise InputError(f"{what} has samples {shape}: they must be an array [T], [C, T] or [T, C]")
    wave = torch.as_tensor(samples)
    if wave.dim() == 1:
        return wave[None]
    return wave if wave.shape[0] <= wave.shape[1] else wave.T


def _shown(value: object) -> str:
    return f"{repr(value)[:60]} ({type(value).__name__})"


def check_audible(given: Audio, name: str, what: str, longest: float, silence: float) -> None:
    """Refuse a recording that nothing can follow.

    Args:
        given: The recording.
        name: What the message calls it.
        what: What is followed, "melody".
        longest: Most seconds.
        silence: A mono mix whose largest sample is below this is silent.

    Raises:
        InputError: It is too long, not finite, or silent.
    """
    if given.duration > longest:
        raise InputError(f"{name} is {given.duration:.0f} s long: a {what} may be {longest:.0f} s at most")
    if not bool(torch.isfinite(given.wave).all()):
        raise InputError(f"{name} holds NaN or infinite samples")
    if float(given.mono().wave.abs().max()) < silence:
        raise InputError(f"{name} is silent (or its channels cancel out): there is no {what} to follow")
