"""Numba kernels on x86-64 CPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicgen.engine.backends import x86
from musicgen.engine.backends.base import Backend
from musicgen.engine.cpu_support import claim_process, is_usable
from musicgen.engine.precision import precision_of
from musicgen.engine.slot_pool import SlotPool
from musicgen.lm import LanguageModel
from musicgen.weight_cache import WeightCache

if TYPE_CHECKING:
    from musicgen.engine.backends.x86.weights import WeightTable


class X86Backend(Backend):
    """See `Backend`. Float32 models must be exact in float16, and are run up to FLOAT32_MAX_ROWS rows."""

    name = "x86"

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__(lm)
        self.weights = WeightCache(lm, build_weight_table)
        """The weights for the kernels; None for a float32 model that is not exact in float16."""

    @property
    def batch_invariant(self) -> bool:
        """Every sum has one order, whatever the number of rows and threads (`gemv`, `gemm`, `gemv_fp16`, `attention`)."""
        return True

    def supports(self, rows: int) -> bool:
        precision = precision_of(self.lm)
        if not is_usable(self.lm.embedding.weight.device) or not x86.supports(self.lm.config, precision):
            return False
        faster = precision != "float32" or rows <= x86.FLOAT32_MAX_ROWS
        return faster and self.weights.get() is not None

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        from musicgen.engine.backends.x86.pool import X86Pool

        table = self.weights.get()
        assert table is not None  # as `supports` says
        return X86Pool(table, self.lm, rows, capacity, text_capacity)


def build_weight_table(lm: LanguageModel) -> WeightTable | None:
    """The weights of a language model for the kernels; None for a float32 model that is not exact in float16."""
    from musicgen.engine.backends.x86.weights import WeightTable, fp16_lossless

    if precision_of(lm) == "float32" and not fp16_lossless(lm):
        return None
    claim_process()
    return WeightTable(lm)
