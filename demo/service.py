"""The service behind the page: generation, visits, scores, and the GPU of a ZeroGPU Space. The module does not depend on
Gradio."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import extras
from musicgen.catalog import DECODERS
from musicgen.commands import marks
from musicgen.errors import InputError, MusicGenError
from musicgen.options import MAX_DURATION, GenerationOptions
from musicgen.serving import private_folder
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.engines.base import EngineClient
from musicgen.serving.engines.local import LocalEngine
from musicgen.serving.index import Index
from musicgen.serving.job_queue import Check
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import MAX_SEED, ClipRequest
from musicgen.serving.servers import Servers
from musicgen.serving.service import GenerationJob, GenerationService
from musicgen.serving.stored_clip import StoredClip

from . import clip_scores, tempo_key, zero_gpu
from .configuration import Configuration
from .gradio_folders import GradioFolders
from .lru_cache import LRUCache
from .presence import SessionPresence
from .shared_jobs import SharedJobs
from .training.trainings import Trainings
from .visits import Visit, Visits
from .workers import Workers

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

log = logging.getLogger(__name__)

KEY_VARIABLE = "MUSICGEN_ENGINE_KEY"
"""The environment variable with the key for `--engine`."""
GRACE_SECONDS = 60.0
"""Time after which the jobs of a visitor without a connection are cancelled. Until then a page that is reloaded finds them."""
MAX_MEASURED = 10_000
"""Clips whose scores, and whose tempo and key, are kept."""


def _engine(configuration: Configuration, is_leaving: Callable[[], bool]) -> EngineClient:
    if configuration.engine:
        with extras.needed("serve", "--engine"):
            from musicgen.serving.engines.remote import RemoteEngine
        return RemoteEngine(configuration.engine, os.environ.get(KEY_VARIABLE, ""), is_leaving)
    catalog = ModelCatalog(configuration.model_folder, configuration.models, configuration.adapter_folder)
    most = configuration.limits.max_variations
    return LocalEngine(
        catalog,
        configuration.device,
        max_models=configuration.max_loaded_models,
        # A job's variations leave the other jobs their slots.
        slots=configuration.workers + most - 1,
        queue=configuration.workers * most,
    )


def _shared(folder: Path) -> tuple[Index, Servers]:
    """The state that the workers of a folder share besides the clips. Raises InputError for an unusable folder."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        servers = Servers(folder / "workers")
    except OSError as error:
        raise InputError(f"the folder of the state, {folder}, cannot be used ({error.strerror})") from error
    return Index(folder / "index.sqlite3"), servers


class Service(GenerationService):
    """Serves one page.

    Args:
        configuration: the operator's configuration; the defaults if None.
        folder: the folder of clips; if None, that of `--state`, which workers share, or a temporary one, which `close` deletes.
    """

    def __init__(self, configuration: Configuration | None = None, folder: Path | None = None) -> None:
        self.configuration = configuration = configuration if configuration is not None else Configuration()
        limits = configuration.limits
        self._temporary_folder: TemporaryDirectory[str] | None = None
        shared = configuration.state_folder if folder is None else None
        index, servers = (Index(), Servers()) if shared is None else _shared(shared)
        if shared is not None:
            folder = shared / "clips"
        elif folder is None:
            self._temporary_folder = private_folder.create(configuration.temporary_folder)
            folder = Path(self._temporary_folder.name)
        # What the operator asks for and cannot be had is said before the page is served.
        signer = marks.signer(configuration.c2pa_certificate, configuration.c2pa_key)
        watermark = None
        if configuration.watermark:
            from musicgen.checkpoint import audioseal

            watermark = audioseal.load()
        self._gradio_folders = GradioFolders(folder)
        super().__init__(
            _engine(configuration, lambda: shared is not None and self.closing),
            limits,
            ClipStore(
                folder, limits.keep_hours, limits.disk_gb * 1e9, signer, self._gradio_folders.copies, index, servers
            ),
            workers=configuration.workers,
            # The page that is launched decides where the operator has not.
            downloads=configuration.downloads is not False,
            watermark=watermark,
        )
        self.visits = Visits(index, limits.history, limits.keep_hours * 3600)
        self._shared_jobs = SharedJobs(index, servers, limits.keep_hours * 3600, lambda: self.closing, self.visits.add)
        self.observers.append(self._shared_jobs)
        self._taking_up = threading.Lock()
        self.workers = None if shared is None else Workers(index, servers, limits.keep_hours * 3600)
        """The workers that share the folder; None for a page that shares nothing."""
        self.presence = SessionPresence(self.leave, GRACE_SECONDS)
        self.when_gone: list[Callable[[str], object]] = []
        """Called with a session that is gone."""
        self._scorer = clip_scores.ClipScorer()
        self._take_scores: LRUCache[clip_scores.Score | None] = LRUCache(MAX_MEASURED)
        self._tempo_key: LRUCache[str] = LRUCache(MAX_MEASURED)
        self.trainings: Trainings | None = None
        """None where visitors may not train adapters."""
        if configuration.training is not None:
            self.trainings = Trainings(
                limits,
                configuration.training,
                self.catalog,
                self.clip_store,
                configuration.device,
                configuration.trained_folder,
            )
        if zero_gpu.is_active() and isinstance(self.engine, LocalEngine):
            self._at_once = False  # each variation gets a GPU for its own time
            self._stream = zero_gpu.wrap(self.engine.stream, self.engine.download, self.estimate_gpu_time)

    def preload(self) -> None:
        """On ZeroGPU: put the weights of the downloaded models on the GPU.

        `spaces` requires that this is done in the main thread before the page is served.
        """
        assert isinstance(self.engine, LocalEngine)
        self.engine.prepare()
        free_bytes = zero_gpu.MAX_PRELOADED_BYTES
        for info in self.catalog:
            if not self.engine.is_downloaded(info.name) or info.size > free_bytes:
                continue
            try:
                self.engine.model_cache.preload(info.name, "auto")
                free_bytes -= info.size
            except MusicGenError as error:
                log.warning("%s could not be preloaded: %s", info.name, error)

    def submit(
        self,
        visitor: str,
        request: ClipRequest,
        network: str = "",
        *,
        admitted: bool = False,
        identifier: str | None = None,
    ) -> GenerationJob:
        """As `GenerationService.submit`; the seed is drawn here, so that another worker makes the same clip."""
        if request.seed is None:
            request = dataclasses.replace(request, seed=secrets.randbelow(MAX_SEED - self.limits.max_variations))
        return super().submit(visitor, request, network, admitted=admitted, identifier=identifier)

    def _admit(self, job: GenerationJob, check: Check) -> None:
        self._shared_jobs.admit(job, check)

    def jobs_of(self, visit: Visit) -> list[GenerationJob]:
        """A visit's jobs, the running ones first. Those of a worker that has ended are recovered by this one.

        Raises:
            MusicGenError: a job cannot be recovered, because its model or its files are not there any more.
        """
        with self._taking_up:
            for one in self._shared_jobs.recover(visit.token):
                try:
                    self.submit(one.visitor, one.request, one.address, admitted=True, identifier=one.identifier)
                except MusicGenError:
                    self._shared_jobs.forget(one.identifier)
                    raise
        return self.job_queue.jobs_of(visit.token)

    def leave(self, session: str) -> None:
        """Cancel the jobs that nobody follows any more when a session is gone: an API client's, or those of its visit. Called
        in the event loop."""
        for call in self.when_gone:
            call(session)
        asyncio.get_running_loop().run_in_executor(None, self._cancel_jobs_of, session)

    def _cancel_jobs_of(self, session: str) -> None:
        visit = self.visits.find(session)
        if visit is None:
            self.cancel(session)
        elif not any(self.presence.is_present(one) for one in visit.sessions):
            self.cancel(visit.token)

    def delete_clip(self, visit: Visit, clip: StoredClip) -> None:
        """Delete a clip of a visit, its file in all formats."""
        self.visits.remove(visit, clip.id)
        self.clip_store.delete(clip.path)

    def estimate_gpu_time(self, request: ClipRequest) -> zero_gpu.Estimate:
        """GPU time of a clip on ZeroGPU."""
        info = self.catalog.get(request.model)
        measured = self.measured_seconds(request.model, request.precision, request.duration)
        plain = not request.adapters and request.decoder == DECODERS[0]
        assert isinstance(self.engine, LocalEngine)
        preloaded = plain and self.engine.model_cache.is_preloaded(request.model, request.precision)
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
        request = ClipRequest("", model, duration, options=options, precision=precision)
        return self.estimate_gpu_time(request).describe(round(variations))

    def score(self, clip: StoredClip) -> list[clip_scores.Score]:
        """CLAP score and chroma similarity of a clip."""
        from musicgen.serving import melody

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
        embedded = self.catalog.get(clip.request.model).origin == "embedded"
        return self._take_scores.get(clip.id, lambda: clip_scores.ranking_score(self.score(clip), embedded))

    def tempo_and_key(self, clip: StoredClip) -> str:
        """Tempo and key of a clip as measured, as text; computed once for each clip."""
        from musicgen import audio, rhythm

        def measure() -> str:
            return ", ".join(tempo_key.tempo_and_key(audio.read(clip.path, channels=1, rate=rhythm.RATE), digits=1))

        return self._tempo_key.get(clip.id, measure)

    def duration_of(self, recording: Path) -> float:
        """Duration of an audio file in seconds.

        Raises:
            InputError: for a file that is not readable as audio.
        """
        from musicgen import audio

        return audio.measure(recording, MAX_DURATION).duration

    def resolve_precision(self, model: str, precision: str) -> str | None:
        """As `GenerationService.resolve_precision`; None for "auto" on ZeroGPU, whose GPU is not in this process."""
        if precision == "auto" and zero_gpu.is_active():
            return None
        return super().resolve_precision(model, precision)

    def close(self, warm_up_timeout: float = 20.0) -> None:
        """As `GenerationService.close`; deletes the temporary folder, too."""
        if self.trainings is not None:
            self.trainings.close()
        super().close(warm_up_timeout)
        self._gradio_folders.close()
        self.clip_store.servers.close()
        if self._temporary_folder is not None:
            self._temporary_folder.cleanup()

    def _warm_up_model(self) -> str | None:
        return None if zero_gpu.is_active() else super()._warm_up_model()
