"""The same result, fast: precisions, memory, and one running batch for many listeners."""

from musicgen.engine.scheduler import Scheduler
from musicgen.engine.ticket import Cancelled, QueueFull, Ticket

__all__ = ["Cancelled", "QueueFull", "Scheduler", "Ticket"]
