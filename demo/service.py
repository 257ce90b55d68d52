"""Generates music for the page and the API: a job queue, models loaded on demand, and clips that contain their settings.

The module does not depend on Gradio. PyTorch is imported when the first clip or melody needs it, so that the page is served at
once. `submit` returns a job. Its events are a `PlaybackChunk` for each chunk of the first variation's audio and a
`StoredClip` for each variation.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import provenance
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.catalog import DECODERS
from musicgen.commands import marks
from musicgen.errors import InputError, MusicGenError
from musicgen.file_names import words
from musicgen.midi import is_midi
from musicgen.options import MAX_DURATION, GenerationOptions

from . import clip_metadata, clip_scores, clip_store, zero_gpu
from .configuration import Configuration
from .followers import Followers
from .job_queue import Job, JobQueue
from .model_cache import ModelCache
from .models import ModelCatalog
from .notifier import Notifier
from .request import MAX_SEED, PageRequest, validate
from .speeds import Speeds, StepClock
from .stored_clip import StoredClip
from .visits import Visit, Visits

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    import numpy as np

    from musicgen.watermark import Watermark

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""Time after which the jobs of a visitor without a connection are cancelled. Until then a page that is reloaded finds them."""
MAX_TAKE_SCORES = 10_000
"""Scores of takes that are kept."""
WARM_UP_SECONDS = 1.0
"""Length of the clip that the warm-up generates."""


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        message: what is being done.
        fraction: of all variations, 0 to 1.
        seconds_left: an estimate, None while there is none.
    """

    message: str
    fraction: float
    seconds_left: float | None = None


@dataclass(frozen=True)
class PlaybackChunk:
    """The next audio of the first variation, for playback during generation: int16 [T, C] at `rate` Hz."""

    samples: np.ndarray
    rate: int


Event = PlaybackChunk | StoredClip
GenerationJob = Job[PageRequest, Event | Progress]


class Service:
    """Generates clips for one page.

    Args:
        configuration: the operator's configuration; the defaults if None.
        folder: the folder of clips; if None, a temporary one, which `close` deletes.
    """

    def __init__(self, configuration: Configuration | None = None, folder: Path | None = None) -> None:
        self.configuration = configuration if configuration is not None else Configuration()
        self.limits = self.configuration.limits
        self.downloads = self.configuration.downloads is not False
        """Whether visitors may start the download of a published model; the page that is launched decides where the operator
        has not."""
        self.catalog = ModelCatalog(
            self.configuration.model_folder, self.configuration.models, self.configuration.adapter_folder
        )
        self.model_cache = ModelCache(
            self.catalog,
            self.configuration.device,
            max_models=self.configuration.max_loaded_models,
            slots=self.configuration.workers,
        )
        self._temporary_folder: TemporaryDirectory[str] | None = None
        if folder is None:
            self._temporary_folder = clip_store.private_folder(self.configuration.temporary_folder)
            folder = Path(self._temporary_folder.name)
        # What the operator asks for and cannot be had is said before the page is served.
        signer = marks.signer(self.configuration.c2pa_certificate, self.configuration.c2pa_key)
        self._watermark: Watermark | None = None
        if self.configuration.watermark:
            from musicgen.checkpoint import audioseal

            self._watermark = audioseal.load()
        self.clip_store = clip_store.ClipStore(folder, self.limits.keep_hours, self.limits.disk_gb * 1e9, signer)
        self.job_queue: JobQueue[PageRequest, Event | Progress] = JobQueue(
            self._run_job,
            workers=self.configuration.workers,
            max_waiting=self.limits.queue,
            max_per_visitor=self.limits.per_visitor,
            max_per_address=self.limits.per_address,
            max_seconds=self.limits.queue_seconds,
        )
        self.visits = Visits(self.limits.history, self.limits.keep_hours * 3600)
        self.followers = Followers(self.leave, GRACE_SECONDS)
        self.when_gone: list[Callable[[str], object]] = []
        """Called with a session that is gone."""
        self.warmed_up = False
        """Whether the warm-up has ended; `changes` is notified when it does."""
        self.changes = Notifier()
        self._warm_up_thread: threading.Thread | None = None
        self._closing = Cancellation()
        self._import_lock = threading.Lock()
        self.speeds = Speeds(self._step_bytes)
        self._separator: Any = None
        self._separator_lock = threading.Lock()
        self._scorer = clip_scores.ClipScorer()
        self._take_scores: OrderedDict[str, clip_scores.Score | None] = OrderedDict()
        self._take_scores_lock = threading.Lock()
        self._stream = (
            zero_gpu.wrap(self._stream_here, self._download, self.estimate_gpu_time)
            if zero_gpu.is_active()
            else self._stream_here
        )

    def warm_up(self) -> threading.Thread:
        """Start a thread that imports PyTorch, loads the default model and generates a short clip, which is deleted.

        The first clip compiles kernels and fills caches. A default model that would have to be downloaded is not loaded.

        Returns:
            The thread. `warmed_up` is true at its end.
        """

        def work() -> None:
            try:
                self._import_pytorch()
                name = self.catalog.default()
                if self.catalog.get(name).origin != "published" and not zero_gpu.is_active():
                    request = PageRequest("", name, WARM_UP_SECONDS)
                    self._generate_warm_up_clip(request)
                    self._calibrate(request)
            except Cancelled:
                pass
            except Exception as error:
                log.warning("the warm-up failed: %s", error)
            finally:
                self.warmed_up = True
                self.changes.notify()

        self._warm_up_thread = threading.Thread(target=work, daemon=True, name="warm-up")
        self._warm_up_thread.start()
        return self._warm_up_thread

    def preload(self) -> None:
        """On ZeroGPU: put the weights of the downloaded models on the GPU.

        `spaces` requires that this is done in the main thread before the page is served.
        """
        self._import_pytorch()
        free_bytes = zero_gpu.MAX_PRELOADED_BYTES
        for info in self.catalog:
            if (info.origin == "published" and not self.is_downloaded(info.name)) or info.size > free_bytes:
                continue
            try:
                self.model_cache.preload(info.name, "auto")
                free_bytes -= info.size
            except MusicGenError as error:
                log.warning("%s could not be preloaded: %s", info.name, error)

    def _generate_warm_up_clip(self, request: PageRequest) -> None:
        chunks = list(self._stream_here(request, 0, lambda fraction, message: None, self._closing))  # noqa: ARG005
        clip = self._store(dataclasses.replace(request, precision=chunks[0].precision), chunks, 0, True)
        self.clip_store.delete(clip.path)

    def _calibrate(self, request: PageRequest) -> None:
        """Measure the model, whose first clip has compiled all that it needs, and the machine."""
        from musicgen import checkpoint
        from musicgen.engine.bandwidth import bandwidth

        clock = StepClock()
        chunks = list(self._stream_here(request, 0, lambda fraction, _: clock.report(fraction), self._closing))
        seconds = clock.seconds_of_all()
        if seconds is not None:
            device = checkpoint.pick_device(self.configuration.device).type
            self.speeds.bandwidth = bandwidth(device, 2**26 if device == "cuda" else 2**25, passes=4)
            self.speeds.calibrate(request.model, chunks[0].precision, seconds / request.duration)

    def _step_bytes(self, model: str, precision: str) -> int | None:
        from musicgen import checkpoint

        return checkpoint.step_bytes(self.catalog.get(model).source, self.configuration.device, precision)

    def _import_pytorch(self) -> None:
        """Import the modules that depend on PyTorch, one thread at a time.

        While one thread imports transformers, its lazily loaded names are missing for the others.
        """
        with self._import_lock:
            for name in ("musicgen.checkpoint.loading", f"{__package__}.generation"):
                importlib.import_module(name)

    def submit(self, visitor: str, request: PageRequest, network: str = "") -> GenerationJob:
        """Append a job to the queue.

        Args:
            visitor: the token of the page's visit, or the session of an API client.
            request: what to generate.
            network: the visitor's, of `shares.network_of`; "" is not limited.

        Raises:
            InputError: for an invalid request, a model that would have to be downloaded where that is the operator's, and a
                disk without space.
            QueueFull: when the queue is full, or the visitor or the network has reached a limit.
        """
        validate(request, self.limits, self.catalog)
        self.clip_store.check_space(network)
        self._check_downloaded(request)
        return self.job_queue.submit(visitor, request, network, request.duration * request.variations)

    def _check_downloaded(self, request: PageRequest) -> None:
        if self.downloads:
            return
        model, absent = request.model, {}
        if self.catalog.get(model).origin == "published" and not self.is_downloaded(model):
            absent[model] = "choose another model"
        if request.decoder == "mbd" and not self.has_multi_band_diffusion():
            absent["multi-band diffusion"] = "choose the model's own decoder"
        for name, remedy in absent.items():
            raise InputError(
                f"{name} is not on this machine, and visitors may not start its download: {remedy}, or ask the operator, who "
                "starts the page with --downloads or downloads it"
            )

    def stop(self, visitor: str) -> int:
        """Stop a visitor's jobs. Audio generated so far is kept.

        Returns:
            The number of jobs.
        """
        jobs = self.job_queue.jobs_of(visitor)
        for job in jobs:
            job.stop()
        return len(jobs)

    def cancel(self, visitor: str) -> None:
        """Cancel a visitor's jobs. Audio generated so far is discarded."""
        for job in self.job_queue.jobs_of(visitor):
            job.cancel()

    def leave(self, session: str) -> None:
        """Cancel the jobs that nobody follows any more when a session is gone: an API client's, or those of its visit."""
        for call in self.when_gone:
            call(session)
        visit = self.visits.find(session)
        if visit is None:
            self.cancel(session)
        elif not any(self.followers.is_present(one) for one in visit.sessions):
            self.cancel(visit.token)

    def delete_clip(self, visit: Visit, clip: StoredClip) -> None:
        """Delete a clip of a visit, its file in all formats."""
        self.visits.remove(visit, clip.id)
        self.clip_store.delete(clip.path)

    def measured_seconds(self, model: str, precision: str, duration: float) -> float | None:
        """Time to generate a clip, according to the speed of earlier clips.

        Args:
            model: the model's name.
            precision: the requested precision.
            duration: of the clip, seconds.

        Returns:
            Seconds, None before the first clip of the model.
        """
        ratio = self.speeds.measured(model, self.resolve_precision(model, precision) or precision)
        return None if ratio is None else duration * ratio

    def expected_seconds(self, model: str, precision: str, duration: float) -> float | None:
        """Time to generate a clip, before the model's first one as the speed of another model suggests.

        Args:
            model: the model's name.
            precision: the requested precision.
            duration: of the clip, seconds.

        Returns:
            Seconds, None where nothing is known: before the warm-up has ended, on ZeroGPU before the model's first clip, for
            models that do not generate step by step.
        """
        resolved = self.resolve_precision(model, precision)
        ratio = None if resolved is None else self.speeds.expected(model, resolved)
        return self.measured_seconds(model, precision, duration) if ratio is None else duration * ratio

    def resolve_precision(self, model: str, precision: str) -> str | None:
        """The precision in which a model runs on this machine.

        Returns:
            For "auto" the model's precision, None where only loading the model tells; any other precision unchanged.
        """
        if precision != "auto":
            return precision
        if zero_gpu.is_active() or not self.warmed_up:  # the GPU is not in this process; PyTorch is not imported
            return None
        resolved = self.model_cache.resolve_precision(model, precision)
        return None if resolved == "auto" else resolved

    def estimate_gpu_time(self, request: PageRequest) -> zero_gpu.Estimate:
        """GPU time of a clip on ZeroGPU."""
        info = self.catalog.get(request.model)
        measured = self.measured_seconds(request.model, request.precision, request.duration)
        plain = not request.adapters and request.decoder == DECODERS[0]
        preloaded = plain and self.model_cache.is_preloaded(request.model, request.precision)
        return zero_gpu.estimate(request, info.size, measured, preloaded)

    def describe_gpu_quota(
        self, model: str, precision: str, duration: float, variations: float, own_guidance: bool
    ) -> str:
        """The GPU quota that clips reserve on ZeroGPU, as text for the page; "" elsewhere.

        Args:
            model: the model's name.
            precision: the requested precision.
            duration: of one clip, seconds.
            variations: number of clips.
            own_guidance: whether melody or style has a guidance scale of its own.
        """
        if not zero_gpu.is_active():
            return ""
        options = GenerationOptions(melody_guidance_scale=1.0 if own_guidance else None)
        request = PageRequest("", model, duration, options=options, precision=precision)
        return self.estimate_gpu_time(request).describe(round(variations))

    def has_multi_band_diffusion(self) -> bool:
        """Whether the decoder's file is in the hub's cache."""
        from musicgen import catalog
        from musicgen.checkpoint import hub

        return hub.cached(catalog.MULTI_BAND.name, catalog.MULTI_BAND.file) is not None

    def is_downloaded(self, model: str) -> bool:
        """Whether a published model's files are in the hub's cache."""
        from musicgen.checkpoint import hub

        return hub.cached(self.catalog.get(model).source, "config.json") is not None

    def extract_melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The melody of a recording, as a model is conditioned on it.

        Args:
            recording: an audio file.
            separate: whether to remove drums and bass with Demucs first.

        Returns:
            The pitch class of each chroma frame.

        Raises:
            InputError: for a file without a melody.
        """
        from musicgen.conditioners.separation import DemucsSeparator

        from . import melody

        with self._separator_lock:  # one Demucs at a time: it takes much memory
            if self._separator is None:
                self._separator = DemucsSeparator()
            return melody.extract(recording, separate, self._separator)

    def score(self, clip: StoredClip) -> list[clip_scores.Score]:
        """CLAP score and chroma similarity of a clip."""
        from . import melody

        frames = clip.request.frames
        return self._scorer.score(
            clip.path, clip.request.prompt, melody.similarity(frames, clip.frames) if frames else None
        )

    def take_score(self, clip: StoredClip) -> clip_scores.Score | None:
        """What takes are ordered by, as by `musicgen.generate_takes`: the CLAP score of a clip with a description, else how far
        it follows its melody.

        Returns:
            The score, computed once for each clip; None where there is nothing to compare with, or nothing to compute it.
        """
        if not clip_scores.is_available():
            return None
        with self._take_scores_lock:
            if clip.id not in self._take_scores:
                embedded = self.catalog.get(clip.request.model).origin == "embedded"
                self._take_scores[clip.id] = clip_scores.deciding(self.score(clip), embedded)
                while len(self._take_scores) > MAX_TAKE_SCORES:
                    self._take_scores.popitem(last=False)
            return self._take_scores[clip.id]

    def duration_of(self, recording: Path) -> float:
        """Duration of an audio file in seconds.

        Raises:
            InputError: for a file that is not readable as audio.
        """
        from musicgen import audio

        return audio.measure(recording, MAX_DURATION).duration

    def close(self, warm_up_timeout: float = 20.0) -> None:
        """Cancel all jobs, unload the models, and delete the temporary folder.

        Args:
            warm_up_timeout: seconds to wait for the warm-up, which cannot be interrupted while libraries are being imported.
        """
        self._closing.cancel()
        self.job_queue.close()
        if self._warm_up_thread is not None:
            self._warm_up_thread.join(warm_up_timeout)
        self.model_cache.close()
        self.clip_store.close()
        if self._temporary_folder is not None:
            self._temporary_folder.cleanup()

    @property
    def is_warming_up(self) -> bool:
        """Whether the warm-up's thread is still running."""
        return self._warm_up_thread is not None and self._warm_up_thread.is_alive()

    def _run_job(self, job: GenerationJob) -> None:
        try:
            self._generate(job)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "out of memory" not in str(error):
                raise
            raise InputError(
                f"the machine has not enough memory for {job.payload.duration:g} s with {job.payload.model}: choose a "
                "smaller model, a shorter clip or another precision"
            ) from error

    def _generate(self, job: GenerationJob) -> None:
        request = job.payload
        self._import_pytorch()
        recording = request.melody
        if recording is not None and not is_midi(recording):
            separate = request.separate
            if separate is None:
                separate = self.catalog.get(request.model).separated
            request = dataclasses.replace(request, separate=separate)
            if request.frames is None:
                job.report(Progress("extracting the melody", 0.0))
                request = dataclasses.replace(request, frames=self.extract_melody(recording, separate))
        job.report(Progress(f"loading {request.model}", 0.0))
        seed = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED - self.limits.max_variations)
        generation = secrets.token_hex(8) if request.variations > 1 else ""
        for index in range(request.variations):
            job.cancellation.raise_if_cancelled()
            self._generate_variation(job, request, seed + index, index, generation)

    def _generate_variation(
        self, job: GenerationJob, request: PageRequest, seed: int, index: int, generation: str
    ) -> None:
        from musicgen.limiter import TruePeakLimiter

        chunks: list[zero_gpu.AudioChunk] = []
        complete = False
        live: TruePeakLimiter | None = None
        clock = StepClock()
        variations = request.variations

        def report(fraction: float, message: str) -> None:
            clock.report(fraction)
            seconds_per_clip = clock.seconds_per_clip()
            seconds_left = None
            if seconds_per_clip is not None:
                seconds_left = seconds_per_clip * (1 - fraction + variations - 1 - index)
            prefix = f"variation {index + 1} of {variations}, " if variations > 1 else ""
            job.report(Progress(f"{prefix}{message}", (index + fraction) / variations, seconds_left))

        try:
            for chunk in self._stream(request, seed, report, job.cancellation):
                if index == 0:
                    live = live or TruePeakLimiter(chunk.rate)
                    job.put_event(_playback(live.push(chunk.samples), chunk.rate))
                chunks.append(chunk)
            complete = True
            if live is not None:
                job.put_event(_playback(live.push(chunks[-1].samples[:, :0], last=True), chunks[-1].rate))
        except Cancelled:
            pass
        if job.discarded or not chunks:
            raise Cancelled("stopped before there was any sound")
        requested_precision = request.precision
        request = dataclasses.replace(request, precision=chunks[0].precision)
        seconds = clock.seconds_of_all()
        if complete and seconds is not None and request.decoder == DECODERS[0] and request.span is None:
            for precision in (requested_precision, request.precision):
                self.speeds.measure(request.model, precision, seconds / request.duration)
        job.report(Progress("writing", (index + 1) / variations))
        clip = self._store(request, chunks, seed, complete, job.address)
        clip = dataclasses.replace(clip, generation=generation)
        self.visits.add(job.visitor, clip)  # before the event, whose follower looks there
        job.put_event(clip)

    def _stream_here(
        self, request: PageRequest, seed: int, report: Callable[[float, str], None], cancellation: Cancellation
    ) -> Iterator[zero_gpu.AudioChunk]:
        """Generate a clip in this process.

        Args:
            request: what to generate.
            seed: of the clip.
            report: called with the fraction done, 0 to 1, and a message.
            cancellation: ends the generation.
        """
        from . import generation

        with self.model_cache.use(request.model, request.precision, request.adapters, request.decoder) as scheduler:

            def progress(done: int, total: int) -> None:
                report(done / total, "generating")

            model = scheduler.model
            unknown = max(model.unknown(entry.prompt) for entry in request.prompt_schedule)
            for samples in generation.stream(scheduler, request, seed, progress, cancellation):
                yield zero_gpu.AudioChunk(samples.cpu().numpy(), model.sample_rate, model.precision, unknown)

    def _download(self, model: str) -> None:
        """Download a model's files from the hub if necessary."""
        from musicgen import checkpoint

        checkpoint.find(self.catalog.get(model).source)

    def _store(
        self, request: PageRequest, chunks: list[zero_gpu.AudioChunk], seed: int, complete: bool, network: str = ""
    ) -> StoredClip:
        import numpy as np
        import torch

        from musicgen import audio
        from musicgen.audio import Audio
        from musicgen.finishing import finish
        from musicgen.loops import beats_of

        from . import melody

        clip = Audio(torch.from_numpy(np.concatenate([chunk.samples for chunk in chunks], axis=1)), chunks[0].rate)
        # A clip of which a part was made anew keeps its loudness: all else in it stays what it was.
        loudness = audio.TARGET_LUFS if request.span is None else None
        path = self.clip_store.new_path(f"{words(request.prompt)}-{seed}.flac", network)
        local_model = self.catalog.get(request.model).origin == "folder"
        hashes = {name: self.catalog.adapters.sha256(name) for name, _ in request.adapters}
        comment = partial(
            clip_metadata.make_comment, request, seed, local_model=local_model, complete=complete,
            adapter_hashes=hashes, watermark=self._watermark is not None,
        )  # fmt: skip
        mark = None
        if self._watermark is not None:
            mark = self._watermark.marker(provenance.tags(comment())["settingssha256"])
        finished = finish(
            clip, loop=request.loop and complete, loudness=loudness, limiter=request.limiter, mark=mark,
            loop_cut=request.loop_cut, beats_per_bar=beats_of(request.chords),
        )  # fmt: skip
        clip = finished.audio
        self.clip_store.write(path, clip, provenance.tags(comment(measured=finished.measured)))
        return StoredClip(
            path=path,
            request=request,
            seed=seed,
            seconds=clip.duration,
            channels=clip.wave.shape[0],
            rate=clip.rate,
            loudness=audio.loudness(clip),
            complete=complete,
            frames=melody.from_audio(clip),
            unknown=chunks[0].unknown,
            limiter_reduction=finished.limited.reduction,
            marks=self._marks(),
            loop=finished.loop.text if finished.loop is not None else "",
        )

    def _marks(self) -> tuple[str, ...]:
        """What marks a clip as made by a model, in words."""
        given = {
            "tags": True,
            "a signed C2PA manifest": self.clip_store.signer is not None,
            "an inaudible mark": self._watermark is not None,
        }
        return tuple(name for name, is_there in given.items() if is_there)


def _playback(samples: np.ndarray, rate: int) -> PlaybackChunk:
    """What a browser plays of float32 samples [C, T] within [-1, 1]."""
    return PlaybackChunk((samples * 32767).round().astype("int16").T.copy(), rate)
