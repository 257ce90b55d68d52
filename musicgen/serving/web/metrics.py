"""Prometheus metrics: queue, speed, memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from musicgen.serving.observer import Observer
from musicgen.serving.service import GenerationJob, GenerationService
from musicgen.serving.stored_clip import StoredClip

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
_RATIOS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1, 1.25, 2, 5, 10)


class _ServiceCollector(Collector):
    """Reads the state of a service when it is asked."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        service = self._service
        waiting, running, seconds = service.job_queue.load()
        for name, text, value in (
            ("musicgen_queue_length", "Generations that wait.", waiting),
            ("musicgen_generations_running", "Generations that run.", running),
            ("musicgen_queue_audio_seconds", "Seconds of sound that wait or are being made.", seconds),
            ("musicgen_slots", "Generations that can run at the same time.", service.job_queue.workers),
            ("musicgen_replicas", "Engines that answer.", service.engine.replicas()),
            ("musicgen_disk_bytes", "Bytes of clips and uploads.", service.clip_store.used_bytes()),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        loaded = GaugeMetricFamily("musicgen_model_loaded", "Models in memory.", labels=["model", "precision"])
        for model, precision in sorted(set(service.engine.loaded())):
            loaded.add_metric([model, precision], 1.0)
        yield loaded


class Metrics(Observer):
    """The metrics of a service.

    Args:
        service: that is observed.
    """

    def __init__(self, service: GenerationService) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_ServiceCollector(service))
        self._ends = Counter("musicgen_generations", "Generations by their end.", ["end"], registry=registry)
        self._audio = Counter(
            "musicgen_audio_seconds", "Seconds of sound that were made.", ["model"], registry=registry
        )
        self._first = Histogram(
            "musicgen_time_to_first_audio_seconds", "From the request to the first sound.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._ratio = Histogram(
            "musicgen_real_time_factor", "Seconds from the first sound to the end of a generation, for each second of sound.",
            buckets=_RATIOS, registry=registry,
        )  # fmt: skip
        self._first_audio_at: WeakKeyDictionary[GenerationJob, float] = WeakKeyDictionary()
        service.observers.append(self)

    def first_audio(self, job: GenerationJob) -> None:
        """Observe the time to the first sound."""
        self._first_audio_at[job] = time.monotonic()
        self._first.observe(self._first_audio_at[job] - job.submitted)

    def clip_stored(self, job: GenerationJob, clip: StoredClip) -> None:  # noqa: ARG002
        """Count the sound of a clip."""
        self._audio.labels(clip.request.model).inc(clip.seconds)

    def ended(self, job: GenerationJob) -> None:
        """Count the end of a generation."""
        end = "failed" if job.error is not None else "cancelled" if job.cancellation.cancelled else "done"
        self._ends.labels(end).inc()
        first_audio = self._first_audio_at.pop(job, None)
        if end == "done" and first_audio is not None:
            self._ratio.observe((time.monotonic() - first_audio) / job.seconds)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
