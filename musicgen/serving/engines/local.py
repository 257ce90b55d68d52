"""The engine in this process: models loaded on demand, the clips of one model in one batch.

PyTorch is imported when the first clip or melody needs it, so that a server starts without delay.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path

from musicgen.cancellation import Cancellation
from musicgen.serving import downloads
from musicgen.serving.engines.base import AudioChunk, Report
from musicgen.serving.engines.files import check_files
from musicgen.serving.model_cache import ModelCache
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest

_MODULES = ("musicgen.checkpoint.loading", "musicgen.serving.generation")


class LocalEngine:
    """Generates in this process; the methods are those of `EngineClient`.

    Args:
        catalog: the models that can be loaded.
        device: a PyTorch device, or "auto".
        max_models: number of models kept loaded.
        slots: clips that one model generates in one batch; fewer where memory is short.
        queue: clips that may wait for a slot; as many as slots if None.
    """

    def __init__(
        self,
        catalog: ModelCatalog,
        device: str = "auto",
        *,
        max_models: int = 3,
        slots: int = 1,
        queue: int | None = None,
    ) -> None:
        self.catalog, self.device, self.max_replicas = catalog, device, 1
        self.model_cache = ModelCache(catalog, device, max_models=max_models, slots=slots, queue=queue)
        self._import_lock = threading.Lock()

    def prepare(self) -> None:
        """Import the modules that depend on PyTorch, one thread at a time.

        While one thread imports transformers, its lazily loaded names are missing for the others.
        """
        with self._import_lock:
            for name in _MODULES:
                importlib.import_module(name)

    def check(self, request: ClipRequest) -> None:
        """Check what this machine tells of a request, as `EngineClient.check` says."""
        if request.precision != "auto":
            self.model_cache.resolve_precision(request.model, request.precision)
        check_files(self.catalog, request)

    def stream(
        self,
        request: ClipRequest,
        seed: int,
        report: Report,
        cancellation: Cancellation,
        key: str = "",  # noqa: ARG002
    ) -> Iterator[AudioChunk]:
        """Generate a clip, as `EngineClient.stream` says."""
        from musicgen.serving import generation

        with self.model_cache.use(request.model, request.precision, request.adapters, request.decoder) as scheduler:

            def progress(done: int, total: int) -> None:
                report(done / total, "generating")

            model = scheduler.model
            unknown = max(model.unknown(entry.prompt) for entry in request.prompt_schedule)
            for samples in generation.stream(scheduler, request, seed, progress, cancellation):
                yield AudioChunk(samples.cpu().numpy(), model.sample_rate, model.precision, unknown)

    def extract_melody(self, recording: Path, separate: bool) -> tuple[int, ...]:
        """The melody of a recording, as `EngineClient.extract_melody` says."""
        with self._import_lock:
            from musicgen.serving import melody
        return melody.extract(recording, separate)

    def resolve_precision(self, model: str, precision: str) -> str | None:
        """The precision in which a model runs on this machine, as `EngineClient.resolve_precision` says."""
        if precision != "auto":
            return precision
        resolved = self.model_cache.resolve_precision(model, precision)
        return None if resolved == "auto" else resolved

    def is_downloaded(self, model: str) -> bool:
        """Whether a model's files are on this machine: in the hub's cache, for a published one."""
        return downloads.is_downloaded(self.catalog.get(model))

    def can_download(self) -> bool:
        """Whether the hub may be asked."""
        return downloads.can_download()

    def has_multi_band_diffusion(self) -> bool:
        """Whether the decoder's file is in the hub's cache."""
        return downloads.has_multi_band_diffusion()

    def step_bytes(self, model: str, precision: str) -> int | None:
        """Bytes of the weights that a step of a model reads."""
        from musicgen import checkpoint

        return checkpoint.step_bytes(self.catalog.get(model).source, self.device, precision)

    def bandwidth(self) -> float:
        """Bytes a second that the device's memory gives."""
        from musicgen import checkpoint
        from musicgen.engine.bandwidth import bandwidth

        device = checkpoint.pick_device(self.device).type
        return bandwidth(device, 2**26 if device == "cuda" else 2**25, passes=4)

    def download(self, model: str) -> None:
        """Download a model's files from the hub if necessary."""
        from musicgen import checkpoint

        checkpoint.find(self.catalog.get(model).source)

    def replicas(self) -> int:
        """One."""
        return 1

    def loaded(self) -> list[tuple[str, str]]:
        """Name and precision of the models in memory."""
        return self.model_cache.loaded()

    def close(self) -> None:
        """Unload the models."""
        self.model_cache.close()
