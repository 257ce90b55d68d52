"""Whether a step late in a clip takes longer than an early one: 30 s in one window.

The bound is the ratio of the bytes that the two steps must read: all weights, and the keys and values of a clip and its null
condition up to there.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import FRAME_RATE, PROMPT, bytes_of_a_step
from musicgen.engine import memory

EARLY, LATE = 2, 28
"""Seconds of music."""


def measure(folder: Path, device: str, precision: str, threads: int) -> dict[str, Any]:
    """Median milliseconds of a step in the second around EARLY and around LATE."""
    torch.set_num_threads(threads)
    model = musicgen.load(folder, device=device, precision=precision)
    times: list[float] = []
    model.generate_codes([PROMPT], 30.0, seed=0, progress=lambda *_: times.append(time.perf_counter()))
    each = [1000 * (after - before) for before, after in itertools.pairwise(times)]

    def around(second: int) -> float:
        middle = second * FRAME_RATE
        return statistics.median(each[middle - FRAME_RATE // 2 : middle + FRAME_RATE // 2])

    def read(second: int) -> float:
        config, rows, place = model.lm.config, memory.ROWS_OF_A_SLOT, torch.device(device)
        cache = memory.cache_bytes(config, precision, rows, second * FRAME_RATE, place)
        return bytes_of_a_step(config, precision, device) + cache

    early, late = around(EARLY), around(LATE)
    return {
        "precision": precision,
        "early_ms": round(early, 2),
        "late_ms": round(late, 2),
        "ratio": round(late / early, 3),
        "bound": round(read(LATE) / read(EARLY), 3),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [f"| precision | step at {EARLY} s | step at {LATE} s | ratio | bound |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['precision']} | {row['early_ms']} ms | {row['late_ms']} ms | {row['ratio']} | {row['bound']} |"
        for row in rows
    ]
    return "\n".join(lines)
