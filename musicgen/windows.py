"""How a piece longer than the model's context is cut into overlapping windows, in whole frames.

Each window after the first starts `stride` frames later and is prompted with the frames it shares with what exists already.
Integers throughout: durations in floating-point seconds do not add up to whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.errors import InputError


@dataclass(frozen=True)
class Window:
    """Frames [start, start + length) of the piece, the first `known` of which exist already."""

    start: int
    length: int
    known: int


def plan(total: int, known: int, context: int, stride: int) -> list[Window]:
    """Windows of at most `context` frames that complete a piece of `total` frames, `known` of which are given.

    Given audio longer than a window keeps its last `context - stride` frames as the first prompt.
    """
    if not 0 < stride <= context:
        raise InputError(f"a stride of {stride} frames does not fit windows of {context} frames")
    if not 0 <= known < total:
        raise InputError(f"{known} frames are given of a piece of {total}: nothing is left to generate")
    windows = []
    start = 0 if known < context else known - (context - stride)
    while known < total:
        end = min(start + context, total)
        windows.append(Window(start, end - start, known - start))
        known = end
        start += stride
    return windows
