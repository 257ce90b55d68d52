"""Chroma cosine similarity: how closely a generation follows the melody of its reference (paper section 4.2, table 2).

Conventions: soft chroma [frames, 12] of `musicgen.chroma` (32 kHz, window 2^14, hop 2^12, full mix on both sides); its
argmax as a one-hot; the first ceil(samples / 4096) frames of a clip; the mean over all frames of all clips. The cosine of two
one-hot frames is 1 for equal pitch classes, else 0. Silent frames have pitch class C, and two of them match, as in audiocraft;
their counts and the score without them are in the details.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from musicgen.chroma import HOP, NUM_CHROMA
from musicgen.errors import InputError

from .base import ClipResult, Metric, MetricInputs

VERSION = "1"


@dataclass(frozen=True)
class Agreement:
    """Counts of frames; those of several clips can be added.

    Attributes:
        frames: all.
        matches: with the same pitch class.
        silent_reference: silent in the reference.
        silent_generated: silent in the generation.
        sounding: silent in neither.
        sounding_matches: silent in neither and with the same pitch class.
    """

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
        """Share of frames that match, in [0, 1]. Raises InputError if there is no frame."""
        if self.frames == 0:
            raise InputError("a chroma similarity needs at least one frame")
        return self.matches / self.frames

    @property
    def sounding_similarity(self) -> float:
        """Share of the frames that are silent on neither side, in [0, 1]; 0 if there are none."""
        return self.sounding_matches / self.sounding if self.sounding else 0.0


def frame_count(samples: int) -> int:
    """Scored frames of a clip of `samples` at 32 kHz. Raises InputError for an empty clip."""
    if samples < 1:
        raise InputError(f"a clip of {samples} samples has no chroma")
    return -(-samples // HOP)


def validate(soft: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Soft chroma [frames, 12] as float64. Raises InputError for other shapes and NaN."""
    array = np.asarray(soft, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != NUM_CHROMA or len(array) == 0:
        raise InputError(f"chroma must be [frames, {NUM_CHROMA}], not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError("chroma holds NaN or infinite values")
    return array


def agreement(reference: npt.ArrayLike, generated: npt.ArrayLike, samples: int) -> Agreement:
    """Compare one clip with its reference.

    Args:
        reference: soft chroma [frames, 12].
        generated: soft chroma [frames, 12].
        samples: length of the reference at 32 kHz; later frames are not scored.
    """
    r, g = validate(reference), validate(generated)
    frames = min(frame_count(samples), len(r), len(g))
    r, g = r[:frames], g[:frames]
    same = r.argmax(axis=1) == g.argmax(axis=1)
    # Chroma is divided by its largest bin, except in frames too quiet for that, where it stays below 1.
    silent_r, silent_g = r.max(axis=1) < 0.999, g.max(axis=1) < 0.999
    both = ~silent_r & ~silent_g
    return Agreement(
        frames, int(same.sum()), int(silent_r.sum()), int(silent_g.sum()), int(both.sum()), int((same & both).sum())
    )


def merge(parts: Iterable[Agreement]) -> Agreement:
    """The sum over clips."""
    return reduce(Agreement.__add__, parts, Agreement(0, 0, 0, 0, 0, 0))


def _compute(inputs: MetricInputs) -> ClipResult:
    pairs, excluded = inputs.full_length_pairs()
    clips = {
        pair.id: agreement(
            inputs.embedding("chroma", pair.reference), inputs.embedding("chroma", pair.generated), pair.samples
        )
        for pair in pairs
    }
    total = merge(clips.values())
    details = {
        "frames": float(total.frames),
        "silent_reference": total.silent_reference / total.frames,
        "silent_generated": total.silent_generated / total.frames,
        "sounding": total.sounding_similarity,
    }
    return ClipResult(
        total.similarity,
        {name: each.similarity for name, each in clips.items()},
        [each.matches for each in clips.values()],
        [each.frames for each in clips.values()],
        details,
        excluded,
    )


METRICS = (Metric("chroma", "Chroma", "paired", ("chroma",), "higher", VERSION, _compute, 0.0, 1.0),)
