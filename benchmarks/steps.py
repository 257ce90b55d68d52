"""Whether a step late in a clip takes longer than an early one: 30 s in one window."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import FRAME_RATE, PROMPT

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

    early, late = around(EARLY), around(LATE)
    return {
        "precision": precision,
        "early_ms": round(early, 2),
        "late_ms": round(late, 2),
        "ratio": round(late / early, 3),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [f"| precision | step at {EARLY} s | step at {LATE} s | ratio |", "|---|---|---|---|"]
    lines += [f"| {row['precision']} | {row['early_ms']} ms | {row['late_ms']} ms | {row['ratio']} |" for row in rows]
    return "\n".join(lines)
