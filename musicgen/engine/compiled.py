"""A PyTorch module as an OpenVINO graph, compiled for this CPU; and which process may run compiled code."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import openvino

# Where this module is found, importing OpenVINO reports it to Google Analytics, unasked; it goes without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Settings = dict[str, str]
_process: int | None = None
"""Where the threads of what was compiled live. A fork of that process lacks them, and would wait for them for ever."""


def compile_graph(model: openvino.Model, settings: Settings) -> openvino.CompiledModel:
    """settings: beside those that all graphs share."""
    import openvino

    claim()
    shared = {"INFERENCE_NUM_THREADS": str(torch.get_num_threads()), "NUM_STREAMS": "1"}
    shared |= {"ENABLE_CPU_PINNING": "NO"}  # other threads have work too
    return openvino.Core().compile_model(model, "CPU", shared | settings)


def claim() -> None:
    """Compiled code is about to start its threads in this process."""
    global _process
    _process = os.getpid()


def serves(device: torch.device) -> bool:
    """Whether graphs are compiled for this device, and this process may run them."""
    return supports(device) and _process in (None, os.getpid())


def supports(device: torch.device) -> bool:
    """Whether graphs are compiled for this device."""
    return device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
