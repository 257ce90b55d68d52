"""MusicGen: music from a description, a melody, or both.

    import musicgen
    model = musicgen.load("facebook/musicgen-melody")
    wav = model.generate(["lofi slow bpm electro chill"], duration=10.0, seed=0, melody="bach.mp3")

Importing the package neither imports PyTorch nor uses the network; `load` does so where it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicgen.errors import CheckpointError, InputError, MusicGenError
from musicgen.lazy import attributes
from musicgen.options import GenerationOptions

if TYPE_CHECKING:
    from musicgen.audio import Audio
    from musicgen.checkpoint import load, save
    from musicgen.clip_repainting import repaint_clip
    from musicgen.model import MusicGen
    from musicgen.request import GenerationRequest
    from musicgen.takes import generate_takes

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "CheckpointError",
    "GenerationOptions",
    "GenerationRequest",
    "InputError",
    "MusicGen",
    "MusicGenError",
    "generate_takes",
    "load",
    "repaint_clip",
    "save",
]

__getattr__ = attributes(
    __name__,
    {
        "Audio": "musicgen.audio",
        "GenerationRequest": "musicgen.request",
        "MusicGen": "musicgen.model",
        "generate_takes": "musicgen.takes",
        "load": "musicgen.checkpoint",
        "repaint_clip": "musicgen.clip_repainting",
        "save": "musicgen.checkpoint",
    },
)
