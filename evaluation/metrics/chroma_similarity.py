"""Chroma cosine similarity: how well a generation keeps the melody of its reference (paper section 4.2, table 2).

Conventions: soft chroma [frames, 12] of `musicgen.chroma` (32 kHz, window 2^14, hop 2^12, full mix on both sides); its
largest bin as a one-hot; the first ceil(samples / 4096) frames of a clip; the mean over all frames of all clips. On
one-hots a frame's cosine is 1 where both have the same pitch class, else 0. Silent frames have pitch class C, and two
of them match, as in audiocraft: they are counted here, and the score without them stands beside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from musicgen.chroma import HOP, NUM_CHROMA
from musicgen.errors import InputError

VERSION = "1"


@dataclass(frozen=True)
class Agreement:
    """Counts of frames, which add up. matches: same pitch class; silent_reference, silent_generated: without any sound;
    sounding: with sound on both sides; sounding_matches: those of them with the same pitch class."""

    frames: int
    matches: int
    silent_reference: int
    silent_generated: int
    sounding: int
    sounding_matches: int

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.frames + other.frames,
            self.matches + other.matches,
            self.silent_reference + other.silent_reference,
            self.silent_generated + other.silent_generated,
            self.sounding + other.sounding,
            self.sounding_matches + other.sounding_matches,
        )

    @property
    def similarity(self) -> float:
        """In [0, 1]."""
        if self.frames == 0:
            raise InputError("a chroma similarity needs at least one frame")
        return self.matches / self.frames

    @property
    def sounding_similarity(self) -> float:
        """The same, over the frames that sound on both sides; 0 where none does."""
        return self.sounding_matches / self.sounding if self.sounding else 0.0


def frames_of(samples: int) -> int:
    """Frames that count of a clip of that many samples at 32 kHz."""
    if samples < 1:
        raise InputError(f"a clip of {samples} samples has no chroma")
    return -(-samples // HOP)


def validate(soft: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Soft chroma [frames, 12]."""
    array = np.asarray(soft, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != NUM_CHROMA or len(array) == 0:
        raise InputError(f"chroma must be [frames, {NUM_CHROMA}], not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError("chroma holds NaN or infinite values")
    return array


def agreement(reference: npt.ArrayLike, generated: npt.ArrayLike, samples: int) -> Agreement:
    """Of one clip's soft chroma. samples: of the reference at 32 kHz; what lies behind does not count."""
    ours, theirs = validate(reference), validate(generated)
    frames = min(frames_of(samples), len(ours), len(theirs))
    ours, theirs = ours[:frames], theirs[:frames]
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    # A frame that sounds is divided by its largest bin; one too quiet for that stays below 1.
    quiet, still = ours.max(axis=1) < 0.999, theirs.max(axis=1) < 0.999
    both = ~quiet & ~still
    return Agreement(
        frames, int(same.sum()), int(quiet.sum()), int(still.sum()), int(both.sum()), int((same & both).sum())
    )


def merge(parts: Iterable[Agreement]) -> Agreement:
    """Of the union."""
    return reduce(Agreement.__add__, parts, Agreement(0, 0, 0, 0, 0, 0))
