"""How much longer a late decoding step takes than an early one, in a window of 30 s.

The bound is the ratio of the bytes that the two steps must read: all weights, and the KV cache of a clip and its null row up to
that position.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks.systems import FRAME_RATE, PROMPT
from musicgen.engine import memory

EARLY, LATE = 2, 28
"""Seconds of music."""


def measure(folder: Path, device: str, precisions: list[str], threads: int, runs: int) -> list[dict[str, Any]]:
    """Median milliseconds of a step in the second around EARLY and around LATE, medians of `runs` clips; the precisions take
    turns."""
    torch.set_num_threads(threads)
    models = {precision: musicgen.load(folder, device=device, precision=precision) for precision in precisions}
    pairs: dict[str, list[tuple[float, float]]] = {precision: [] for precision in precisions}
    for _ in range(runs):
        for precision, model in models.items():
            pairs[precision].append(_early_and_late(model))
    rows = []
    for precision, model in models.items():
        early, late = (statistics.median(times) for times in zip(*pairs[precision], strict=True))
        rows.append(
            {
                "precision": precision,
                "early_ms": round(early, 2),
                "late_ms": round(late, 2),
                "ratio": round(late / early, 3),
                "bound": round(_read(model, precision, LATE) / _read(model, precision, EARLY), 3),
                "runs": [[round(one, 2) for one in pair] for pair in pairs[precision]],
            }
        )
    return rows


def _early_and_late(model: musicgen.MusicGen) -> tuple[float, float]:
    """Of one clip."""
    times: list[float] = []
    model.generate_codes([PROMPT], 30.0, seed=0, progress=lambda *_: times.append(time.perf_counter()))
    each = [1000 * (after - before) for before, after in itertools.pairwise(times)]

    def around(second: int) -> float:
        middle = second * FRAME_RATE
        return statistics.median(each[middle - FRAME_RATE // 2 : middle + FRAME_RATE // 2])

    return around(EARLY), around(LATE)


def _read(model: musicgen.MusicGen, precision: str, second: int) -> float:
    """Bytes of a step there."""
    config, rows = model.lm.config, memory.ROWS_PER_SLOT
    cache = memory.cache_bytes_read(config, precision, rows, second * FRAME_RATE, model.device)
    return memory.weight_bytes_read(config, precision, model.device) + cache


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [f"| precision | step at {EARLY} s | step at {LATE} s | ratio | bound |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['precision']} | {row['early_ms']} ms | {row['late_ms']} ms | {row['ratio']} | {row['bound']} |"
        for row in rows
    ]
    return "\n".join(lines)
