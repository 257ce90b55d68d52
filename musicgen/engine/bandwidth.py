"""Measurement of memory bandwidth, which limits the speed of a decoding step."""

from __future__ import annotations

import time

import torch


def bandwidth(device: str, numbers: int, passes: int) -> float:
    """Bytes a second of reading a large array, the best of several passes.

    Args:
        device: "cpu", "cuda" or "mps".
        numbers: Float32 numbers in the array: many more than caches hold.
        passes: How often it is read.
    """
    array = torch.ones(numbers, device=device)
    best = 0.0
    for _ in range(passes):
        start = time.perf_counter()
        array.sum().item()
        best = max(best, array.numel() * 4 / (time.perf_counter() - start))
    return best
