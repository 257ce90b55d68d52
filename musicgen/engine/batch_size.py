"""The default batch size: how many clips are generated at the same time."""

from __future__ import annotations

from musicgen.engine import memory
from musicgen.engine.selection import Engine
from musicgen.model import MusicGen

MOST_ON_CPU = 16
"""Beyond some clips a step on a CPU takes longer by as much as it computes more (docs/performance.md, concurrent clips)."""
MOST_ON_GPU = 64
SHARE = 0.5
"""Of the free memory, what keys and values may take: the rest is for decoding, conditions and other programs."""


def automatic(model: MusicGen, clips: int) -> int:
    """The number of slots for a batch of clips.

    Args:
        model: The loaded model.
        clips: Number of clips that are to be generated.

    Returns:
        At most `clips`; as many as fit in `SHARE` of the free memory, and 1 at least. 1 for models that generate in passes over
        all frames, which compute one clip after the other.
    """
    if not model.generator.autoregressive:
        return 1
    engine = model.engine if isinstance(model.engine, Engine) else Engine.of(model)
    available = SHARE * memory.free(model.device)
    most = min(clips, MOST_ON_CPU if model.device.type == "cpu" else MOST_ON_GPU)
    fitting = (
        slots
        for slots in range(most, 1, -1)
        if memory.pool_bytes(model, engine, memory.pool_shape(model, slots)) <= available
    )
    return next(fitting, 1)
