"""Fast inference: lower precisions, memory planning, and continuous batching over interchangeable back ends."""

from musicgen.engine.handle import Cancelled, GenerationHandle, QueueFull
from musicgen.engine.scheduler import Scheduler

__all__ = ["Cancelled", "GenerationHandle", "QueueFull", "Scheduler"]
