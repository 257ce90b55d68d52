"""Estimation of the key of a recording.

Source: Krumhansl and Kessler 1982 (key profiles); Krumhansl 1990, chapter 4 (the key whose profile correlates best).
"""

from __future__ import annotations

import numpy as np

from musicgen import chroma
from musicgen.audio import Audio

MAJOR_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
"""How a key on each pitch class is usually spelled."""

_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
"""Pitch classes from the tonic."""


def measure(clip: Audio) -> str | None:
    """The key of a recording: "F# minor".

    Args:
        clip: float32 [C, T].

    Returns:
        The major or minor key whose profile correlates best with the mean chroma; None for silence.
    """
    profile = chroma.chroma(clip.mono().resampled(chroma.SAMPLE_RATE).wave[0].cpu()).mean(dim=0).numpy()
    if not profile.any():
        return None
    keys = [(tonic, mode) for mode in _PROFILES for tonic in range(chroma.NUM_CHROMA)]
    tonic, mode = max(keys, key=lambda key: np.corrcoef(np.roll(_PROFILES[key[1]], key[0]), profile)[0, 1])
    return f"{(MAJOR_NAMES if mode == 'major' else MINOR_NAMES)[tonic]} {mode}"
