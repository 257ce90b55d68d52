"""An OpenVINO graph with paged attention on x86-64 CPUs."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from musicgen.engine.backends.base import Backend
from musicgen.engine.backends.openvino.lm import build_graph
from musicgen.engine.backends.openvino.pool import OpenVinoPool
from musicgen.engine.backends.openvino.runtime import compile_graph, has_bfloat16
from musicgen.engine.backends.x86 import QUANTIZED
from musicgen.engine.cpu_support import is_usable
from musicgen.engine.precision import precision_of
from musicgen.engine.slot_pool import SlotPool
from musicgen.lm import LanguageModel
from musicgen.weight_cache import WeightCache

if TYPE_CHECKING:
    import openvino


class OpenVinoBackend(Backend):
    """See `Backend`."""

    name = "openvino"

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__(lm)
        self.compiled = WeightCache(lm, compile_lm)
        """The compiled graph."""

    @property
    def batch_invariant(self) -> bool:
        """As the tests find on each machine on which they run. Not claimed for bfloat16 instructions, on which they have not
        been run."""
        return precision_of(self.lm) != "bfloat16" or not has_bfloat16()

    def supports(self, rows: int) -> bool:  # noqa: ARG002
        return is_usable(self.lm.embedding.weight.device) and importlib.util.find_spec("openvino") is not None

    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:  # noqa: ARG002 (any length fits)
        return OpenVinoPool(self.compiled.get(), self.lm, rows, capacity)


def compile_lm(lm: LanguageModel) -> openvino.CompiledModel:
    """Compile the OpenVINO graph of a language model in its precision."""
    precision = precision_of(lm)
    quantized = precision in QUANTIZED
    floating = "bf16" if precision == "bfloat16" and has_bfloat16() else "f32"
    return compile_graph(
        build_graph(lm),
        {
            "INFERENCE_PRECISION_HINT": floating,
            # With quantised weights the activations are quantised to int8, in groups of this size.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128" if quantized else "0",
            "KV_CACHE_PRECISION": "u8" if quantized else floating,
        },
    )
