"""What the page and the API ask for, done: a line of visitors, models loaded on demand, clips with their settings inside.

It knows nothing of widgets. PyTorch is imported when the first clip or melody needs it, so that the page answers at once.
`submit` gives a ticket; its events come as `Sound` while the music is made and as one `Clip` a variation.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.errors import InputError, MusicGenError
from musicgen.options import MAX_DURATION, GenerationOptions

from . import files, measure, stored, zero_gpu
from .configuration import Configuration
from .engines import Engines
from .line import Busy, Line, Stopped, Ticket
from .models import Shelf
from .request import MAX_SEED, Request, Section, check, clean, format_timeline, parse_timeline, whole

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    import numpy as np

__all__ = [
    "Busy", "Clip", "Progress", "Request", "Section", "Service", "Sound", "Stopped", "clean", "format_timeline",
    "parse_timeline", "whole",
]  # fmt: skip

log = logging.getLogger(__name__)

REHEARSAL = 1.0
"""Seconds of the clip that the warm-up makes."""


@dataclass(frozen=True)
class Progress:
    """Where a clip is: what is done, the share of all variations, seconds left (None while nobody knows)."""

    what: str
    share: float
    left: float | None = None


@dataclass(frozen=True)
class Sound:
    """The next part of the first variation, as decoded: int16 [T, C] at `rate` Hz."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class Clip:
    """A finished clip. path: FLAC with the settings inside; request: with the precision that "auto" became; frames: its chroma,
    to compare with the request's, which are those of the melody that it was to follow; unknown: the share of the description
    that the model does not know, 0 to 1."""

    path: Path
    request: Request
    seed: int
    seconds: float
    channels: int
    rate: int
    loudness: float
    complete: bool
    frames: tuple[int, ...]
    unknown: float = 0.0

    @property
    def summary(self) -> str:
        channels = "stereo" if self.channels == 2 else "mono"
        level = f", {self.loudness:.1f} LUFS" if math.isfinite(self.loudness) else ""
        kept = "" if self.complete else ", stopped early"
        unknown = f"; the model does not know {self.unknown:.0%} of the description" if self.unknown else ""
        sound = f"{self.seconds:.2f} s, {channels}, {self.rate} Hz{level}"
        return f"{sound}, {self.request.precision}, seed {self.seed}{kept}{unknown}"


Event = Sound | Clip
Job = Ticket[Request, Event | Progress]


class Service:
    """One for a page. folder: where clips are kept; when None, a new one, which goes with the service."""

    def __init__(self, configuration: Configuration | None = None, folder: Path | None = None) -> None:
        self.configuration = configuration if configuration is not None else Configuration()
        self.limits = self.configuration.limits
        self.shelf = Shelf(self.configuration.folder, self.configuration.models)
        self.engines = Engines(
            self.shelf,
            self.configuration.device,
            most=self.configuration.loaded,
            slots=self.configuration.workers,
        )
        self._temporary: TemporaryDirectory[str] | None = None
        if folder is None:
            self._temporary = files.private(self.configuration.temporary)
            folder = Path(self._temporary.name)
        self.files = files.Files(folder, self.limits.keep_hours)
        self.line: Line[Request, Event | Progress] = Line(
            self._work,
            workers=self.configuration.workers,
            length=self.limits.queue,
            per_visitor=self.limits.per_visitor,
        )
        self.warm = threading.Event()
        self._warming: threading.Thread | None = None
        self._closing = threading.Event()
        self._imports = threading.Lock()
        self._speeds: dict[tuple[str, str], float] = {}
        self._separator: Any = None
        self._separator_lock = threading.Lock()
        self._measuring = measure.Measuring()
        self._parts = zero_gpu.lent(self._sound, self._fetch, self.gpu_time) if zero_gpu.active() else self._sound

    def warm_up(self) -> threading.Thread:
        """Import PyTorch, load the default model and make a short clip that nobody hears, in the background: the first one
        compiles and reads what the later ones find ready. A model that is not here is left for later."""

        def work() -> None:
            try:
                self._import()
                name = self.shelf.default()
                if self.shelf.find(name).origin != "published" and not zero_gpu.active():
                    self._rehearse(Request("", name, REHEARSAL))
            except Stopped:
                pass
            except Exception as error:
                log.warning("not loaded at start: %s", error)
            finally:
                self.warm.set()

        self._warming = threading.Thread(target=work, daemon=True, name="warm-up")
        self._warming.start()
        return self._warming

    def preload(self) -> None:
        """On ZeroGPU: the weights of the models that are on this machine, on the GPU that each call will find. In the main
        thread, before the page is served: `spaces` looks for them there and then."""
        self._import()
        room = zero_gpu.MEMORY
        for offer in self.shelf:
            if (offer.origin == "published" and not self.here(offer.name)) or offer.size > room:
                continue
            try:
                self.engines.preload(offer.name, "auto")
                room -= offer.size
            except MusicGenError as error:
                log.warning("%s is not loaded at start: %s", offer.name, error)

    def _rehearse(self, request: Request) -> None:
        def report(share: float, what: str) -> None:  # noqa: ARG001
            if self._closing.is_set():
                raise Stopped("the service ends")

        parts = list(self._sound(request, 0, report))
        clip = self._write(dataclasses.replace(request, precision=parts[0].precision), parts, 0, True)
        clip.path.unlink()

    def _import(self) -> None:
        """What makes music. One thread at a time: transformers' names are missing for a second one while the first imports."""
        with self._imports:
            for name in ("musicgen.checkpoint.loading", f"{__package__}.making"):
                importlib.import_module(name)

    def submit(self, visitor: str, request: Request) -> Job:
        """A ticket in the line. Raises InputError for a request that cannot be met, Busy when the line is full."""
        check(request, self.limits, self.shelf)
        return self.line.join(visitor, request)

    def stop(self, visitor: str) -> int:
        """End a visitor's clips and keep what was made; how many there were."""
        tickets = self.line.of(visitor)
        for ticket in tickets:
            if self.line.place(ticket):
                self.line.forget(ticket)  # it only waits: nothing to keep
            else:
                ticket.stop()
        return len(tickets)

    def leave(self, visitor: str) -> None:
        """A visitor has gone: nothing of theirs goes on."""
        for ticket in self.line.of(visitor):
            self.line.forget(ticket)

    def cost(self, model: str, precision: str, seconds: float) -> float | None:
        """Seconds that a clip takes here, as far as this model was seen at work; None before."""
        speed = self._speeds.get((model, self.precision(model, precision) or precision))
        return None if speed is None else seconds / speed

    def precision(self, model: str, precision: str) -> str | None:
        """What "auto" is for a model on this machine, None where only its loading tells; any other is itself."""
        if precision != "auto":
            return precision
        if zero_gpu.active() or not self.warm.is_set():  # the GPU is elsewhere; PyTorch is not there yet
            return None
        found = self.engines.precision(model, precision)
        return None if found == "auto" else found

    def gpu_time(self, request: Request) -> zero_gpu.Estimate:
        """What a clip needs of a lent GPU."""
        offer = self.shelf.find(request.model)
        known = self.cost(request.model, request.precision, request.duration)
        ready = self.engines.preloaded(request.model, request.precision)
        return zero_gpu.estimate(request, offer.size, known, ready)

    def quota(self, model: str, precision: str, duration: float, variations: float, apart: bool) -> str:
        """What clips cost of a visitor's quota of a lent GPU, in words; nothing where the GPU is not lent."""
        if not zero_gpu.active():
            return ""
        options = GenerationOptions(melody_guidance_scale=1.0 if apart else None)
        request = Request("", model, duration, options=options, precision=precision)
        return self.gpu_time(request).told(round(variations))

    def here(self, model: str) -> bool:
        """Whether a published model's files have been fetched."""
        self._import()
        from musicgen.checkpoint import hub

        return hub.cached(self.shelf.find(model).source, "config.json") is not None

    def melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The chroma frames of a recording, as a model would follow them."""
        from musicgen.conditioners.separation import DemucsSeparator

        from . import melody

        with self._separator_lock:  # Demucs is large: one at a time
            if self._separator is None:
                self._separator = DemucsSeparator()
            return melody.extract(recording, separate, self._separator)

    def measure(self, clip: Clip) -> list[measure.Figure]:
        """How well a clip does what it was asked; nothing where the evaluation package is missing."""
        from . import melody

        frames = clip.request.frames
        return self._measuring.figures(
            clip.path, clip.request.prompt, melody.similarity(frames, clip.frames) if frames else None
        )

    def seconds_of(self, recording: Path) -> float:
        """How long a recording is. Raises InputError for what is none."""
        from musicgen import audio

        return audio.measure(recording, MAX_DURATION).duration

    def close(self) -> None:
        """End all work, and delete what was temporary."""
        self._closing.set()
        self.line.close()
        if self._warming is not None:
            self._warming.join(20)  # libraries that are being loaded do not survive the end of the process
        self.engines.close()
        self.files.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _work(self, ticket: Job) -> None:
        try:
            self._serve(ticket)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "out of memory" not in str(error):
                raise
            raise InputError(
                f"the machine has not enough memory for {ticket.job.duration:g} s with {ticket.job.model}: choose a "
                "smaller model, a shorter clip or another precision"
            ) from error

    def _serve(self, ticket: Job) -> None:
        request = ticket.job
        self._import()
        recording = request.melody
        if recording is not None:
            separate = request.separate
            if separate is None:
                separate = self.shelf.find(request.model).separated
            request = dataclasses.replace(request, separate=separate)
            if request.frames is None:
                ticket.latest = Progress("listening to the melody", 0.0)
                request = dataclasses.replace(request, frames=self.melody(recording, separate))
        ticket.latest = Progress(f"loading {request.model}", 0.0)
        first = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED - self.limits.max_variations)
        for index in range(request.variations):
            ticket.check()
            self._variation(ticket, request, first + index, index)

    def _variation(self, ticket: Job, request: Request, seed: int, index: int) -> None:
        parts: list[zero_gpu.Part] = []
        complete = False
        first: tuple[float, float] | None = None  # the time and the share of the first report: loading is over
        many = request.variations

        def report(share: float, what: str) -> None:
            nonlocal first
            ticket.check()
            now = time.monotonic()
            if share > 0:
                first = first or (now, share)
            left = None
            if first is not None and now - first[0] > 0.3 and share > first[1]:
                left = (now - first[0]) / (share - first[1]) * (1 - share + many - 1 - index)
            which = f"variation {index + 1} of {many}, " if many > 1 else ""
            ticket.latest = Progress(f"{which}{what}", (index + share) / many, left)

        began = time.monotonic()
        try:
            for part in self._parts(request, seed, report):
                parts.append(part)
                if index == 0:
                    samples = (part.samples.clip(-1, 1) * 32767).round().astype("int16").T.copy()
                    ticket.put(Sound(samples, part.rate))
                ticket.check()
            complete = True
        except Stopped:
            pass
        if ticket.left or not parts:
            raise Stopped("stopped before there was any sound")
        asked, request = request.precision, dataclasses.replace(request, precision=parts[0].precision)
        if complete and first is not None:
            since, before = first if first[1] < 1 else (began, 0.0)  # a short clip may be reported once, at its end
            speed = request.duration * (1 - before) / max(time.monotonic() - since, 1e-3)
            self._speeds[request.model, asked] = self._speeds[request.model, request.precision] = speed
        ticket.latest = Progress("writing", (index + 1) / many)
        ticket.put(self._write(request, parts, seed, complete))

    def _sound(self, request: Request, seed: int, report: Callable[[float, str], None]) -> Iterator[zero_gpu.Part]:
        """A clip in parts; `report(share, what)` as it goes on."""
        from . import making

        with self.engines.use(request.model, request.precision) as engine:

            def progress(done: int, total: int) -> None:
                report(done / total, f"step {done} of {total}")

            model = engine.model
            unknown = max(model.unknown(section.prompt) for section in request.sections)
            for part in making.stream(engine, request, seed, progress):
                yield zero_gpu.Part(part.cpu().numpy(), model.sample_rate, model.precision, unknown)

    def _fetch(self, model: str) -> None:
        """A model's files, from the hub if need be."""
        from musicgen import checkpoint

        checkpoint.find(self.shelf.find(model).source)

    def _write(self, request: Request, parts: list[zero_gpu.Part], seed: int, complete: bool) -> Clip:
        import numpy as np
        import torch

        from musicgen import audio
        from musicgen.audio import Audio

        from . import making, melody

        clip = Audio(torch.from_numpy(np.concatenate([part.samples for part in parts], axis=1)), parts[0].rate)
        if request.loop and complete:
            clip = making.seamless(clip)
        clip = audio.normalise_loudness(clip)
        path = self.files.new("flac")
        own = self.shelf.find(request.model).origin == "folder"
        self.files.write(path, clip, stored.comment(request, seed, own_model=own, complete=complete))
        return Clip(
            path=path,
            request=request,
            seed=seed,
            seconds=clip.duration,
            channels=clip.wave.shape[0],
            rate=clip.rate,
            loudness=audio.loudness(clip),
            complete=complete,
            frames=melody.of_audio(clip),
            unknown=parts[0].unknown,
        )
