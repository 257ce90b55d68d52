"""An inaudible watermark: AudioSeal (San Roman et al. 2024), which survives most conversions, unlike tags.

The watermark has a message of 16 bits, the first bits of the settings' hash in the file's tags. AudioSeal's networks work at 16
kHz: the watermark is computed from the mono mix at that rate, resampled to the clip's rate, and added to all channels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from musicgen.audio import Audio
from musicgen.errors import InputError

RATE = 16_000
"""Hz, of the published networks."""
BITS = 16
FOUND = 0.5
"""Share of a clip's samples that the detector takes for marked, from which on the clip is."""
SHORTEST = 0.1
"""Seconds of sound that the networks can read."""


@dataclass(frozen=True)
class Detection:
    """share: of the samples that carry a mark, 0 to 1; message: its 16 bits as a number."""

    share: float
    message: int

    @property
    def found(self) -> bool:
        """Whether the sound is marked."""
        return self.share >= FOUND


@dataclass(frozen=True)
class Watermark:
    """AudioSeal's networks, `audioseal.models.AudioSealWM` and `AudioSealDetector`."""

    generator: Any
    detector: Any

    @torch.no_grad()
    def embed(self, clip: Audio, message: int) -> Audio:
        """A clip with the mark.

        Args:
            clip: float32 [C, T].
            message: the 16 bits.

        Raises:
            InputError: the clip is too short.
        """
        _check(clip)
        mono = clip.mono().resampled(RATE).wave[None]
        bits = torch.tensor([[message >> (BITS - 1 - place) & 1 for place in range(BITS)]])
        with _uncompiled():
            mark = Audio(self.generator.get_watermark(mono, message=bits)[0], RATE).resampled(clip.rate).wave
        length = clip.wave.shape[1]
        mark = torch.nn.functional.pad(mark, (0, max(0, length - mark.shape[1])))[:, :length]
        return Audio(clip.wave.cpu() + mark, clip.rate)

    def marker(self, settings_sha256: str) -> Callable[[Audio], Audio]:
        """A function that adds the watermark to a clip, given the hash of its settings in hexadecimal."""
        return partial(self.embed, message=message_of(settings_sha256))

    @torch.no_grad()
    def detect(self, clip: Audio) -> Detection:
        """The detector's result for a clip, float32 [C, T]. Raises InputError if the clip is too short."""
        _check(clip)
        with _uncompiled():
            share, bits = self.detector.detect_watermark(clip.mono().resampled(RATE).wave[None])
        return Detection(float(share[0]), int("".join(str(int(bit)) for bit in bits[0]), 2))


def message_of(settings_sha256: str) -> int:
    """The 16 bits that the mark of a clip carries, by the hash of its settings in hexadecimal."""
    return int(settings_sha256[: BITS // 4], 16)


def _uncompiled() -> AbstractContextManager[None]:
    """The package compiles its layers at the first call, for a minute and more on two cores."""
    from audioseal.libs.moshi.utils.compile import no_compile

    return no_compile()


def _check(clip: Audio) -> None:
    if clip.duration < SHORTEST:
        raise InputError(f"the clip is {clip.duration:.3f} s long: a mark needs {SHORTEST:g} s")
