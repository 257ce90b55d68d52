"""How many listeners one model serves in real time: clips requested at the same time, with continuous batching.

A clip keeps up if its listener, who starts playback at the first audio chunk, never has to wait again.
"""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import musicgen
from benchmarks.systems import PROMPT
from musicgen.engine import Scheduler

CHUNK = 0.5
"""Seconds of sound per chunk."""


def measure(
    folder: Path, device: str, precision: str, threads: int, duration: float, counts: list[int]
) -> list[dict[str, Any]]:
    """A row for each number of listeners."""
    torch.set_num_threads(threads)
    model = musicgen.load(folder, device=device, precision=precision)
    rows = []
    for count in tqdm(counts, desc="listeners"):
        with Scheduler(model, slots=count, queue=0, chunk=CHUNK) as scheduler:
            scheduler.submit(PROMPT, min(2.0, duration), seed=0).result()  # warms up
            rows.append({"listeners": count, "precision": precision} | _listen(scheduler, count, duration))
    return rows


def _listen(scheduler: Scheduler, count: int, duration: float) -> dict[str, Any]:
    rate = scheduler.model.sample_rate
    arrivals: list[list[tuple[float, float]]] = [[] for _ in range(count)]
    start = time.perf_counter()

    def listen(index: int) -> None:
        for part in scheduler.submit(PROMPT, duration, seed=index):
            arrivals[index].append((time.perf_counter() - start, part.shape[1] / rate))

    listeners = [threading.Thread(target=listen, args=(index,)) for index in range(count)]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join()
    seconds = max(parts[-1][0] for parts in arrivals)
    return {
        "keep_up": sum(keeps_up(parts) for parts in arrivals),
        "first_sound": round(statistics.median(parts[0][0] for parts in arrivals), 3),
        "seconds": round(seconds, 2),
        "rtf": round(seconds / duration / count, 4),
    }


def keeps_up(parts: list[tuple[float, float]]) -> bool:
    """Whether a listener who begins at the first of these (arrival, seconds of sound) never waits again."""
    first, heard = parts[0]
    for arrival, length in parts[1:]:
        if arrival - first > heard:
            return False
        heard += length
    return True


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| listeners | precision | keep up with real time | first sound (median) | seconds a second of music |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['listeners']} | {row['precision']} | {row['keep_up']} | {row['first_sound']} s | {row['rtf']} |"
        for row in rows
    ]
    return "\n".join(lines)
