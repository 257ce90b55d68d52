"""What a figure was measured on."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch


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
    """Bytes a second of reading a large array, the best of several passes."""
    numbers = torch.ones(2**28 if device == "cuda" else 2**26, device=device)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum().item()
        best = max(best, numbers.numel() * 4 / (time.perf_counter() - start))
    return best


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in line]
        if cpuinfo.is_file()
        else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
