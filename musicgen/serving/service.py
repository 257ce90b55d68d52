"""The generation service of a server: a job queue, an engine, and files that contain their settings.

`submit` returns a job. Its events are a `PlaybackChunk` for each chunk of the first variation's audio and a `StoredClip` for
each variation.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from musicgen import provenance
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.catalog import DECODERS
from musicgen.errors import InputError
from musicgen.file_names import words
from musicgen.midi import is_midi
from musicgen.serving import capabilities, clip_metadata
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.engines.base import WARM_UP_SECONDS, AudioChunk, EngineClient, Stream
from musicgen.serving.job_queue import Check, Job, JobQueue
from musicgen.serving.limits import Limits
from musicgen.serving.notifier import Notifier
from musicgen.serving.observer import Observer
from musicgen.serving.progress import Progress, VariationsProgress
from musicgen.serving.request import MAX_SEED, ClipRequest, validate
from musicgen.serving.speeds import Speeds, StepClock
from musicgen.serving.stored_clip import StoredClip

if TYPE_CHECKING:
    import numpy as np

    from musicgen.watermark import Watermark

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlaybackChunk:
    """The next audio of the first variation.

    Attributes:
        samples: int16 [T, C], for playback during the generation: their peaks are limited, with a delay of the limiter's
            look-ahead.
        rate: Hz.
        chunk: the chunk of the engine.
    """

    samples: np.ndarray
    rate: int
    chunk: AudioChunk


@dataclass(frozen=True)
class Variation:
    """The audio of one variation: its chunks so far, and whether they are all. request: with the precision that was used."""

    request: ClipRequest
    seed: int
    chunks: list[AudioChunk]
    complete: bool


Event = PlaybackChunk | StoredClip
GenerationJob = Job[ClipRequest, Event | Progress]


class GenerationService:
    """Generates clips for one server.

    Args:
        engine: generates.
        limits: of a request and of the queue.
        clip_store: where the clips are written.
        workers: jobs that run at the same time.
        downloads: whether clients may start the download of a published model.
        watermark: the inaudible mark that is mixed into every clip; None for none.
    """

    def __init__(
        self,
        engine: EngineClient,
        limits: Limits,
        clip_store: ClipStore,
        *,
        workers: int,
        downloads: bool = True,
        watermark: Watermark | None = None,
    ) -> None:
        self.engine, self.limits, self.clip_store, self.downloads = engine, limits, clip_store, downloads
        self.catalog = engine.catalog
        self._watermark = watermark
        self.job_queue: JobQueue[ClipRequest, Event | Progress] = JobQueue(
            self._run_job,
            workers=workers,
            max_waiting=limits.queue,
            max_per_visitor=limits.per_visitor,
            max_per_address=limits.per_address,
            max_seconds=limits.queue_seconds,
            on_end=self._ended,
            admit=self._admit,
        )
        self.observers: list[Observer] = []
        self.warmed_up = False
        """Whether the warm-up has ended; `changes` is notified when it does."""
        self.changes = Notifier()
        self._warm_up_thread: threading.Thread | None = None
        self._closing = Cancellation()
        self.speeds = Speeds(engine.step_bytes)
        self._stream: Stream = engine.stream
        self._at_once = True
        """Whether the variations of a job are generated at the same time, and not one after the other."""

    def warm_up(self) -> threading.Thread:
        """Start a thread that imports PyTorch, loads the default model and generates a short clip, which is deleted.

        The first clip compiles kernels and fills caches.

        Returns:
            The thread. `warmed_up` is true at its end.
        """

        def work() -> None:
            try:
                self.engine.prepare()
                name = self._warm_up_model()
                if name is not None:
                    request = ClipRequest("", name, WARM_UP_SECONDS)
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

    def _warm_up_model(self) -> str | None:
        """The model that the warm-up loads, None for none."""
        return self.catalog.warm_up_model()

    def _generate_warm_up_clip(self, request: ClipRequest) -> None:
        chunks = list(self.engine.stream(request, 0, lambda fraction, message: None, self._closing))  # noqa: ARG005
        clip = self._store(dataclasses.replace(request, precision=chunks[0].precision), chunks, 0, True)
        self.clip_store.delete(clip.path)

    def _calibrate(self, request: ClipRequest) -> None:
        """Measure the model, whose first clip has compiled all that it needs, and the machine."""
        clock = StepClock()
        chunks = list(self.engine.stream(request, 0, lambda fraction, _: clock.report(fraction), self._closing))
        seconds = clock.seconds_of_all()
        if seconds is not None:
            self.speeds.bandwidth = self.engine.bandwidth()
            self.speeds.calibrate(request.model, chunks[0].precision, seconds / request.duration)

    def submit(
        self,
        visitor: str,
        request: ClipRequest,
        network: str = "",
        *,
        admitted: bool = False,
        identifier: str | None = None,
    ) -> GenerationJob:
        """Append a job to the queue.

        Args:
            visitor: the token of the page's visit, or the identity of an API client.
            request: what to generate.
            network: the visitor's network, from `networks.network_of`; "" is not limited.
            admitted: whether the job was already admitted by the queue of a server that has ended.
            identifier: the job's in that server; None for a new job.

        Raises:
            InputError: as of `check`.
            QueueFull: when the queue is full, or the visitor or the network has reached a limit.
        """
        self.check(visitor, request, network)
        seconds = request.duration * request.variations
        return self.job_queue.submit(visitor, request, network, seconds, admitted=admitted, identifier=identifier)

    def _admit(self, job: GenerationJob, check: Check) -> None:  # noqa: ARG002
        """Check a job, as of `JobQueue`. A server that shares its limits with others overrides it."""
        check(())

    def check(self, visitor: str, request: ClipRequest, network: str = "") -> None:
        """Check a request before it is queued.

        Raises:
            MusicGenError: for an invalid request, one that its model does not support, a model that would have to be downloaded
                if only the operator may do so or it is not possible, and a full disk.
        """
        validate(request, self.limits, self.catalog)
        capabilities.check(request, self.catalog.get(request.model))
        self.catalog.adapters.check_allowed(request.adapters, visitor)
        self.clip_store.check_space(network)
        self._check_downloaded(request)
        self.engine.check(request)

    @property
    def closing(self) -> bool:
        """Whether `close` has been called, which interrupts running jobs."""
        return self._closing.cancelled

    def _check_downloaded(self, request: ClipRequest) -> None:
        if self.downloads and self.engine.can_download():
            return
        absent = {}
        if not self.engine.is_downloaded(request.model):
            absent[request.model] = "choose another model"
        if request.decoder == "mbd" and not self.engine.has_multi_band_diffusion():
            absent["multi-band diffusion"] = "choose the model's own decoder"
        for name, remedy in absent.items():
            if self.downloads:
                raise InputError(
                    f"{name} is not on this machine, and nothing is downloaded here (HF_HUB_OFFLINE is set): {remedy}"
                )
            raise InputError(
                f"{name} is not on this machine, and visitors may not start its download: {remedy}, or ask the operator, who "
                "starts the server with --downloads or downloads it"
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

    def measured_seconds(self, model: str, precision: str, duration: float, clips: int = 1) -> float | None:
        """Time to generate the clips of a job, estimated from the speed of earlier ones.

        Args:
            model: the model's name.
            precision: the requested precision.
            duration: of one clip, seconds.
            clips: their number.

        Returns:
            Seconds, None before the first clip of the model.
        """
        ratio = self.speeds.measured(model, self.resolve_precision(model, precision) or precision, clips)
        return None if ratio is None else duration * ratio

    def expected_seconds(self, model: str, precision: str, duration: float, clips: int = 1) -> float | None:
        """Time to generate the clips of a job; before the model's first clip, estimated from the speed of another model.

        Args:
            model: the model's name.
            precision: the requested precision.
            duration: of one clip, seconds.
            clips: their number.

        Returns:
            Seconds; None if it is not known: before the warm-up has ended, on another machine before the model's first clip,
            and for models that do not generate step by step.
        """
        resolved = self.resolve_precision(model, precision)
        ratio = None if resolved is None else self.speeds.expected(model, resolved)
        measured = self.measured_seconds(model, precision, duration, clips)
        return measured if measured is not None or ratio is None else duration * ratio * clips

    def resolve_precision(self, model: str, precision: str) -> str | None:
        """The precision in which a model runs.

        Returns:
            For "auto" the model's precision, None where only loading the model tells and before the warm-up has ended; any
            other precision unchanged.
        """
        if precision != "auto":
            return precision
        return self.engine.resolve_precision(model, precision) if self.warmed_up else None

    @property
    def is_warming_up(self) -> bool:
        """Whether the warm-up's thread is still running."""
        return self._warm_up_thread is not None and self._warm_up_thread.is_alive()

    def close(self, warm_up_timeout: float = 20.0) -> None:
        """Cancel all jobs, and unload the models.

        Args:
            warm_up_timeout: seconds to wait for the warm-up, which cannot be interrupted while libraries are being imported.
        """
        self._closing.cancel()
        self.job_queue.close()
        if self._warm_up_thread is not None:
            self._warm_up_thread.join(warm_up_timeout)
        self.engine.close()
        self.clip_store.close()

    def _run_job(self, job: GenerationJob) -> None:
        for observer in self.observers:
            observer.started(job)
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
        self.engine.prepare()
        recording = request.melody
        if recording is not None and not is_midi(recording):
            separate = request.separate
            if separate is None:
                separate = self.catalog.get(request.model).separated
            request = dataclasses.replace(request, separate=separate)
            if request.frames is None:
                job.report(Progress("extracting the melody", 0.0))
                request = dataclasses.replace(request, frames=self.engine.extract_melody(recording, separate))
        job.report(Progress(f"loading {request.model}", 0.0))
        seed = request.seed if request.seed is not None else secrets.randbelow(MAX_SEED - self.limits.max_variations)
        count, generation = request.variations, job.identifier
        at_once = count > 1 and self._at_once
        progress = VariationsProgress(job.report, count, at_once=at_once)
        make = partial(self._generate_variation, job, request, seed, progress)
        if not at_once:
            self._keep_all(job, (partial(make, index) for index in range(count)), generation)
            return
        heard = threading.Event()
        with ThreadPoolExecutor(count, thread_name_prefix="variation") as pool:
            first = pool.submit(make, 0, heard)
            first.add_done_callback(lambda _: heard.set())
            # The others begin after the first audio chunk of the first variation, for which a listener is waiting.
            heard.wait()
            variations = [first, *(pool.submit(make, index) for index in range(1, count))]
            for made in variations:
                made.add_done_callback(lambda made: job.stop() if made.exception() is not None else None)
            self._keep_all(job, [made.result for made in variations], generation)

    def _keep_all(self, job: GenerationJob, variations: Iterable[Callable[[], Variation]], generation: str) -> None:
        """Store variations in the order of their seeds, each when it is finished. If one fails, the others end too."""
        for made in variations:
            try:
                self._keep(job, made(), generation)
            except Exception:
                job.stop()
                raise

    def _generate_variation(
        self,
        job: GenerationJob,
        request: ClipRequest,
        seed: int,
        progress: VariationsProgress,
        index: int,
        heard: threading.Event | None = None,
    ) -> Variation:
        from musicgen.limiter import TruePeakLimiter

        seed += index
        chunks: list[AudioChunk] = []
        complete = False
        live: TruePeakLimiter | None = None
        try:
            key = f"{job.identifier}-{seed}"
            for chunk in self._stream(request, seed, partial(progress.report, index), job.cancellation, key):
                if index == 0:
                    if live is None:
                        live = TruePeakLimiter(chunk.rate)
                        for observer in self.observers:
                            observer.first_audio(job)
                    job.put_event(_playback(live.push(chunk.samples), chunk))
                if heard is not None:
                    heard.set()
                chunks.append(chunk)
            complete = True
            if live is not None:
                rest = chunks[-1]._replace(samples=chunks[-1].samples[:, :0])
                job.put_event(_playback(live.push(rest.samples, last=True), rest))
        except Cancelled:
            pass
        if job.discarded or not chunks:
            raise Cancelled("stopped before there was any sound")
        seconds = progress.clocks[index].seconds_of_all()
        if complete and seconds is not None and request.decoder == DECODERS[0] and request.span is None:
            for precision in (request.precision, chunks[0].precision):
                self.speeds.measure(request.model, precision, seconds / request.duration, progress.at_once)
        progress.report(index, 1.0, "writing")
        return Variation(dataclasses.replace(request, precision=chunks[0].precision), seed, chunks, complete)

    def _keep(self, job: GenerationJob, made: Variation, generation: str) -> None:
        clip = self._store(made.request, made.chunks, made.seed, made.complete, job.address)
        clip = dataclasses.replace(clip, generation=generation)
        for observer in self.observers:
            observer.clip_stored(job, clip)
        job.put_event(clip)

    def _ended(self, job: GenerationJob) -> None:
        for observer in self.observers:
            observer.ended(job)

    def _store(
        self, request: ClipRequest, chunks: list[AudioChunk], seed: int, complete: bool, network: str = ""
    ) -> StoredClip:
        import numpy as np
        import torch

        from musicgen import audio
        from musicgen.audio import Audio
        from musicgen.loops import beats_of
        from musicgen.postprocessing import postprocess
        from musicgen.serving import melody

        clip = Audio(torch.from_numpy(np.concatenate([chunk.samples for chunk in chunks], axis=1)), chunks[0].rate)
        # A clip of which a part was made anew keeps its loudness: all else in it stays what it was.
        loudness = audio.TARGET_LUFS if request.span is None else None
        path = self.clip_store.new_path(f"{words(request.prompt)}-{seed}.flac", network)
        comment = partial(self.comment, request, seed, complete=complete)
        mark = None
        if self._watermark is not None:
            mark = self._watermark.marker(provenance.tags(comment())["settingssha256"])
        finished = postprocess(
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

    def comment(
        self, request: ClipRequest, seed: int, *, complete: bool, measured: Mapping[str, Any] | None = None
    ) -> str:
        """The text of a clip's comment tag: its settings.

        Args:
            request: of the clip; its precision is not "auto".
            seed: of the clip.
            complete: whether the generation was not stopped early.
            measured: as of `Settings.comment`.
        """
        return clip_metadata.make_comment(
            request,
            seed,
            local_model=self.catalog.get(request.model).origin == "folder",
            complete=complete,
            adapter_hashes={name: self.catalog.adapters.sha256(name) for name, _ in request.adapters},
            watermark=self._watermark is not None,
            measured=measured,
        )

    def _marks(self) -> tuple[str, ...]:
        """The marks of a clip as generated, in words."""
        given = {
            "tags": True,
            "a signed C2PA manifest": self.clip_store.signer is not None,
            "an inaudible mark": self._watermark is not None,
        }
        return tuple(name for name, is_there in given.items() if is_there)


def _playback(samples: np.ndarray, chunk: AudioChunk) -> PlaybackChunk:
    """The 16-bit samples for playback in a browser, from float32 samples [C, T] within [-1, 1]."""
    return PlaybackChunk((samples * 32767).round().astype("int16").T.copy(), chunk.rate, chunk)
