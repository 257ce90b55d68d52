"""On which devices and in which processes compiled CPU code (OpenVINO, Numba) can run."""

from __future__ import annotations

import os
import platform

import torch

_process: int | None = None
"""Id of the process in which compiled code has started its threads. A fork of it has no such threads and would wait for them
forever."""


def claim_process() -> None:
    """Record that compiled code is about to start its threads in this process."""
    global _process
    _process = os.getpid()


def is_supported(device: torch.device) -> bool:
    """Whether there is compiled code for a device: an x86-64 CPU."""
    return device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")


def is_usable(device: torch.device) -> bool:
    """Whether there is compiled code for a device and this process can run it."""
    return is_supported(device) and _process in (None, os.getpid())
