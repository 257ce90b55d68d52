"""Callbacks for the events of a generation service's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen.serving.service import GenerationJob
    from musicgen.serving.stored_clip import StoredClip


class Observer:
    """Does nothing; subclasses override the callbacks that they need. They are called in worker threads, and in the thread that
    stops a job, and must not block."""

    def started(self, job: GenerationJob) -> None:
        """A job has left the queue and starts."""

    def first_audio(self, job: GenerationJob) -> None:
        """The first audio chunk of a job is ready; its followers have not received it yet."""

    def clip_stored(self, job: GenerationJob, clip: StoredClip) -> None:
        """A clip of a job is stored; its followers have not been notified yet."""

    def ended(self, job: GenerationJob) -> None:
        """A job is done, has failed, or was stopped or cancelled; its followers have not been notified yet."""
