"""The tempo grid: tempi that align with the frames of the tokeniser.

A bar is a whole number of frames, so that repetitions give the same codes; and a beat is about one period of one of the model's
position sinusoids (Vaswani et al. 2017, section 3.5), so that the position in the beat is a linear function of the position
embedding once the tempo is known. Neighbouring tempi are 10 % apart: any other one is within 6 % of one of them.
"""

from __future__ import annotations

import math

FRAME_RATE = 50
"""Frames a second of the tokeniser."""
_WIDTH = 192
"""The width of the model, which determines its position sinusoids."""
_SLOWEST, _FASTEST = 40, 240
"""bpm."""


def nearest(bpm: float, beats: int) -> float:
    """The tempo nearest to `bpm` among those for bars of `beats` beats, exact."""
    tempi = [60 * FRAME_RATE * beats / round(period * beats) for period in _periods()]
    return min(tempi, key=lambda tempo: abs(math.log(tempo / bpm)))


def _periods() -> list[float]:
    """Frames of a beat: of the sinusoids between the slowest and the fastest tempo."""
    last = _WIDTH // 2 - 1
    periods = [2 * math.pi * 10_000 ** (i / last) for i in range(last + 1)]
    return [period for period in periods if _SLOWEST * 0.95 <= 60 * FRAME_RATE / period <= _FASTEST * 1.05]
