"""An OpenVINO graph of a PyTorch module, and when there is one.

It is made when it is first asked for, and again when the module's tensors have changed. It is no part of a copy or a pickle
of its owner, and goes with it.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    import openvino

Settings = dict[str, str]


class Compiled:
    """build: module -> graph and settings for the CPU, beside those that all share."""

    _process: int | None = None
    """Where OpenVINO's threads live. A fork of that process lacks them, and would wait for them for ever."""

    def __init__(self, module: nn.Module, build: Callable[[Any], tuple[openvino.Model, Settings]]) -> None:
        self.module, self._build = module, build
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[tuple[int, ...], openvino.CompiledModel] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "_build": self._build}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._forget()

    @staticmethod
    def serves(device: torch.device) -> bool:
        """Whether graphs are compiled for this device, and this process may run them."""
        return supports(device) and Compiled._process in (None, os.getpid())

    def get(self) -> openvino.CompiledModel:
        import openvino

        tensors = (*self.module.parameters(), *self.module.buffers())
        stamp = (torch.get_num_threads(), *(part for t in tensors for part in (t.data_ptr(), t._version)))
        with self._lock:
            if self._made is None or self._made[0] != stamp:
                Compiled._process = os.getpid()
                self._made = None
                model, settings = self._build(self.module)
                shared = {"INFERENCE_NUM_THREADS": str(torch.get_num_threads()), "NUM_STREAMS": "1"}
                shared |= {"ENABLE_CPU_PINNING": "NO"}  # other threads have work too
                self._made = stamp, openvino.Core().compile_model(model, "CPU", shared | settings)
            return self._made[1]


def supports(device: torch.device) -> bool:
    """Whether graphs are compiled for this device."""
    return device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
