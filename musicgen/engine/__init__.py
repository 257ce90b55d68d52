"""Fast inference: lower precisions, memory planning, and continuous batching over interchangeable back ends."""

from musicgen.cancellation import Cancelled
from musicgen.engine.handle import GenerationHandle, QueueFull
from musicgen.engine.scheduler import Scheduler

__all__ = ["Cancelled", "GenerationHandle", "QueueFull", "Scheduler"]
