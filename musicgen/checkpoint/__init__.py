"""Checkpoints: hub, transformers and audiocraft layouts <-> our modules.

The names below are imported on first use, because the layouts take seconds to import; `hub` alone is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicgen.checkpoint.loading import find, load, pick_device, resolve_precision, step_bytes
    from musicgen.checkpoint.saving import save

__all__ = ["find", "load", "pick_device", "resolve_precision", "save", "step_bytes"]

_LAZY = {
    "find": "musicgen.checkpoint.loading",
    "load": "musicgen.checkpoint.loading",
    "pick_device": "musicgen.checkpoint.loading",
    "resolve_precision": "musicgen.checkpoint.loading",
    "save": "musicgen.checkpoint.saving",
    "step_bytes": "musicgen.checkpoint.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'musicgen.checkpoint' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
