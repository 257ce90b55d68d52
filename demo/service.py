"""What the page asks for, done: models loaded on demand, clips generated, written with their settings inside.

It knows nothing of widgets. Imports of PyTorch wait for the first clip, so that the page answers at once.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import __version__, catalog
from musicgen.errors import InputError, MusicGenError
from musicgen.options import GenerationOptions

if TYPE_CHECKING:
    from musicgen.model import MusicGen

FALLBACK_MODEL = "facebook/musicgen-small"
MAX_DURATION = 120.0
"""Seconds that the page offers."""
MAX_PROMPT = 2_000
"""Characters."""


@dataclass(frozen=True)
class Request:
    """One clip as a visitor asks for it. melody: a file that the server itself stored; seed None: a new one."""

    prompt: str
    model: str
    duration: float = 10.0
    melody: Path | None = None
    separate: bool = True
    seed: int | None = None
    options: GenerationOptions = field(default_factory=GenerationOptions)


@dataclass(frozen=True)
class Clip:
    """A finished clip: its file, and what the page says about it."""

    path: Path
    seed: int
    summary: str


class Cancelled(MusicGenError):
    """The visitor stopped the generation or left."""


class Service:
    """Keeps the last model that was used; one clip is made at a time."""

    def __init__(self, folder: Path | None = None, device: str = "auto") -> None:
        self.folder = folder if folder is not None else Path(tempfile.mkdtemp(prefix="musicgen-demo-"))
        self.device = device
        self._model: MusicGen | None = None
        self._lock = threading.Lock()

    def generate(self, request: Request, progress: Callable[[str, float], None], cancel: threading.Event) -> Clip:
        """Make a clip. `progress(what, share done)` is called as it goes; setting `cancel` ends it within a step."""
        check(request)
        with self._lock:
            _stop_if(cancel)
            progress(f"loading {request.model}", 0.0)
            model = self._loaded(request.model)

            def step(done: int, total: int) -> None:
                _stop_if(cancel)
                progress(f"step {done} of {total}", done / total)

            seed = request.seed if request.seed is not None else secrets.randbelow(2**31)
            wave = model.generate(
                [request.prompt],
                request.duration,
                seed=seed,
                melody=request.melody,
                separate=request.separate,
                options=request.options,
                progress=step,
            )[0]
            return self._write(request, model, wave, seed)

    def _loaded(self, name: str) -> MusicGen:
        if self._model is None or self._model.name != name:
            from musicgen import checkpoint

            self._model = None  # freed before the next one needs its memory
            self._model = checkpoint.load(name, self.device)
        return self._model

    def _write(self, request: Request, model: MusicGen, wave, seed: int) -> Clip:  # type: ignore[no-untyped-def]
        from musicgen import audio
        from musicgen.audio import Audio
        from musicgen.settings import Settings, SourceFile

        clip = audio.normalise_loudness(Audio(wave.cpu(), model.sample_rate))
        settings = Settings(
            version=__version__,
            model=request.model,
            prompt=request.prompt,
            duration=request.duration,
            seed=seed,
            options=request.options,
            melody=SourceFile.of(request.melody) if request.melody else None,
            separate=request.separate,
        )
        path = self.folder / f"{secrets.token_hex(8)}.flac"
        audio.write(path, clip, settings.comment())
        channels = "stereo" if clip.wave.shape[0] == 2 else "mono"
        summary = f"{clip.duration:.2f} s, {channels}, {clip.rate} Hz, {audio.loudness(clip):.1f} LUFS, seed {seed}"
        return Clip(path, seed, summary)


def choices() -> list[tuple[str, str]]:
    """(label, name) of the models that the page offers, embedded ones first."""
    embedded = [(f"{name} (embedded)", name) for name in catalog.embedded()]
    published = [
        (f"{entry.name} - {entry.follows}, {entry.channels}, {entry.download_bytes / 1e9:.1f} GB", entry.name)
        for entry in catalog.PUBLISHED
    ]
    return embedded + published


def default_model() -> str:
    embedded = catalog.embedded()
    return embedded[0] if embedded else FALLBACK_MODEL


def check(request: Request) -> None:
    """Refuse what no model should be loaded for."""
    if request.model not in catalog.names():
        raise InputError(f"unknown model {request.model[:100]!r}: {catalog.did_you_mean(request.model[:100])}")
    if len(request.prompt) > MAX_PROMPT:
        raise InputError(f"the description has {len(request.prompt)} characters: {MAX_PROMPT} at most")
    if not 0 < request.duration <= MAX_DURATION:
        raise InputError(f"duration is {request.duration:g} s: it must be above 0 and at most {MAX_DURATION:g} s")


def _stop_if(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled("stopped")
