"""The interface of systems, which generate clips for requests; all other parts read these clips from a samples folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from musicgen.audio import Audio

from ..clips.window import Window


@dataclass(frozen=True)
class Request:
    """One clip to generate.

    Attributes:
        id: id of the suite's item.
        prompt: the caption.
        seed: seed of the clip.
        duration: seconds.
        melody: an audio file whose melody to follow, None for none.
        melody_window: the part of it to follow, None for all.
    """

    id: str
    prompt: str
    seed: int
    duration: float
    melody: Path | None = None
    melody_window: Window | None = None

    def read_melody(self) -> Path | Audio | None:
        """The melody as models take it, None for none. Raises InputError if it is not readable as audio."""
        if self.melody is None or self.melody_window is None:
            return self.melody
        return self.melody_window.read(self.melody)


class System(Protocol):
    """A system that is loaded and can generate."""

    @property
    def name(self) -> str:
        """The name in samples folders and tables."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All other settings that determine the audio, for the manifest."""
        ...

    @property
    def batch(self) -> int:
        """Clips per call of `generate`."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """Generate one clip per request, in order. A clip must depend only on its own request."""
        ...


@dataclass(frozen=True)
class SystemOptions:
    """How a system is loaded.

    Attributes:
        device: PyTorch device; "auto" for CUDA if available.
        batch: clips per call, for systems that support batches.
        settings: options of the system, such as guidance or top_k.
    """

    device: str = "auto"
    batch: int = 4
    settings: Mapping[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """A copy of the settings."""
        return dict(self.settings or {})


SystemLoader = Callable[[str, SystemOptions], System]
"""Loads a registered system: (name in samples folders and tables, options)."""
SystemFactory = Callable[[], System]
"""Loads a system where it is needed, in this process or in a worker; picklable for Ray."""


def default_label(name: str) -> str:
    """The default name of a system in samples folders and tables: the last part of its name or path."""
    return name.rstrip("/").rsplit("/", 1)[-1] or name


def resolve_device(device: str) -> str:
    """PyTorch's name of a device; "auto" is CUDA if there is one, else the CPU.

    Raises:
        InputError: there is no such device here.
    """
    from musicgen.checkpoint import pick_device

    return str(pick_device(device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")))
