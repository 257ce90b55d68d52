"""The description of the machine and software that a benchmark ran on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from musicgen.engine.bandwidth import bandwidth as memory_bandwidth


def describe(device: str, threads: int) -> dict[str, Any]:
    """Processor or accelerator, cores used, versions, and the memory bandwidth that a plain read reaches."""
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bandwidth_gb_s": round(bandwidth(device) / 1e9, 1),
    }
    if device == "cpu":
        facts["instructions"] = torch.backends.cpu.get_cpu_capability()
    return facts


def bandwidth(device: str) -> float:
    """Bytes a second of a plain read, the bound that results are compared with."""
    return memory_bandwidth(device, 2**28 if device == "cuda" else 2**26, passes=5)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in line]
        if cpuinfo.is_file()
        else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
