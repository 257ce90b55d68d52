"""Triton kernels in a CUDA graph."""

from __future__ import annotations

from musicgen.engine.backends import triton
from musicgen.engine.backends.base import Backend
from musicgen.engine.backends.triton.selfcheck import matches_reference
from musicgen.engine.slot_pool import SlotPool
from musicgen.lm import LanguageModel
from musicgen.weight_cache import WeightCache


class TritonBackend(Backend):
    """See `Backend`. The kernels are compared with PyTorch before they are used."""

    name = "triton"

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__(lm)
        self._checked = WeightCache(lm, matches_reference)

    def supports(self, rows: int) -> bool:  # noqa: ARG002
        on_cuda = self.lm.embedding.weight.device.type == "cuda"
        return on_cuda and triton.supports(self.lm.config) and self._checked.get()

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        from musicgen.engine.backends.triton.pool import TritonPool

        return TritonPool(self.lm, rows, capacity, text_capacity)
