"""Compilation of OpenVINO graphs for this CPU."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import torch

from musicgen.engine.cpu_support import claim_process

if TYPE_CHECKING:
    import openvino

# If this module can be imported, OpenVINO sends telemetry to Google Analytics on import, without asking.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def compile_graph(model: openvino.Model, config: dict[str, str]) -> openvino.CompiledModel:
    """Compile a graph with as many threads as PyTorch uses.

    Args:
        model: The graph.
        config: OpenVINO properties, added to those that all graphs share.
    """
    import openvino

    claim_process()
    shared = {"INFERENCE_NUM_THREADS": str(torch.get_num_threads()), "NUM_STREAMS": "1"}
    shared |= {"ENABLE_CPU_PINNING": "NO"}  # PyTorch's threads use the same cores
    return openvino.Core().compile_model(model, "CPU", shared | config)


@functools.cache
def has_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions. Without them OpenVINO computes in float32 and refuses a bfloat16 KV cache."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
