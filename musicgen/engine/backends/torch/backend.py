"""Plain PyTorch: every device and precision."""

from __future__ import annotations

from musicgen.engine.backends.base import Backend
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.slot_pool import SlotPool


class TorchBackend(Backend):
    """See `Backend`."""

    name = "torch"
    adds = True

    def supports(self, rows: int) -> bool:  # noqa: ARG002
        return True

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        return TorchPool(self.lm, rows, capacity, text_capacity)
