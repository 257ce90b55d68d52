"""Who is told of what happens to the jobs of a generation service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen.serving.service import GenerationJob
    from musicgen.serving.stored_clip import StoredClip


class Observer:
    """Does nothing; a subclass overrides what it wants to hear of. Methods are called in the threads of the workers, and of
    whoever stops a job, and must not block."""

    def started(self, job: GenerationJob) -> None:
        """A job has had its turn in the queue."""

    def sounded(self, job: GenerationJob) -> None:
        """The first sound of a job is there, and about to be heard."""

    def made(self, job: GenerationJob, clip: StoredClip) -> None:
        """A clip of a job is stored. Its followers do not know of it yet."""

    def ended(self, job: GenerationJob) -> None:
        """A job is done, has failed, or was stopped or cancelled, and its followers do not know of it yet."""
