"""Windows: how clips longer than the context of the model are generated.

Each window starts `stride` frames after the previous one and is prompted with the frames that both share. All values are
integer numbers of frames, because durations in floating-point seconds do not add up to whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.errors import InputError


@dataclass(frozen=True)
class Window:
    """Frames [start, start + length) of the clip; the first `known` of them are the prompt."""

    start: int
    length: int
    known: int


def plan(total: int, known: int, context: int, stride: int) -> list[Window]:
    """The windows that complete a clip.

    Args:
        total: Frames of the clip.
        known: Frames of the audio prompt; of one longer than the context, the last `context - stride` frames are used.
        context: Most frames of a window.
        stride: Frames from one window's start to the next one's.

    Raises:
        InputError: The stride does not fit the context, or nothing is left to generate.
    """
    if not 0 < stride <= context:
        raise InputError(f"a stride of {stride} frames does not fit windows of {context} frames")
    if not 0 <= known < total:
        raise InputError(f"{known} frames are given of a clip of {total}: nothing is left to generate")
    windows = []
    start = 0 if known < context else known - (context - stride)
    while known < total:
        end = min(start + context, total)
        windows.append(Window(start, end - start, known - start))
        known = end
        start += stride
    return windows
