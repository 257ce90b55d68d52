"""Checkpoints: loading models from the hub, and from and to the transformers and audiocraft layouts.

The names below are imported on first use, because the layouts take seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicgen.lazy import attributes

if TYPE_CHECKING:
    from musicgen.checkpoint.loading import find, load, pick_device, resolve_precision, step_bytes
    from musicgen.checkpoint.saving import save

__all__ = ["find", "load", "pick_device", "resolve_precision", "save", "step_bytes"]

__getattr__ = attributes(
    __name__,
    {
        "find": "musicgen.checkpoint.loading",
        "load": "musicgen.checkpoint.loading",
        "pick_device": "musicgen.checkpoint.loading",
        "resolve_precision": "musicgen.checkpoint.loading",
        "save": "musicgen.checkpoint.saving",
        "step_bytes": "musicgen.checkpoint.loading",
    },
)
