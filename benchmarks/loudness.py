"""python -m benchmarks.loudness: how close clips come to their target loudness, without the limiter and with it.

Clips of the embedded models, of the captions of held-out compositions. FFmpeg's filter ebur128 measures loudness and true peak.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import musicgen
from benchmarks import ebur128, machine
from benchmarks.store import command, publish
from musicgen.audio import TARGET_LUFS, Audio
from musicgen.limiter import CEILING, reach_loudness
from musicgen.options import LIMITERS
from musicgen.training.corpus import compose
from musicgen.training.quality import HELD_OUT_SEED, full_caption

NEAR = 0.5
"""LU from the target."""
DURATION = 10.0
"""Seconds."""
BATCH = 10


def measure(name: str, count: int) -> dict[str, Any]:
    """Loudness and true peak of a model's clips with each limiter."""
    model = musicgen.load(name)
    captions = [full_caption(compose(HELD_OUT_SEED + index, duration=DURATION)) for index in range(count)]
    clips: list[Audio] = []
    for start in range(0, count, BATCH):
        waves = model.generate(captions[start : start + BATCH], DURATION, seed=HELD_OUT_SEED + start)
        clips += [Audio(wave.cpu(), model.sample_rate) for wave in waves]
    rows = {}
    for limiter in LIMITERS:
        made = [reach_loudness(clip, TARGET_LUFS, limiter) for clip in clips]
        levels, peaks = np.array([ebur128.measure(one.audio) for one in made]).T
        reductions = np.array([one.reduction for one in made])
        rows[limiter] = {
            "near": int((abs(levels - TARGET_LUFS) <= NEAR).sum()),
            "lufs": [round(float(value), 2) for value in (levels.min(), np.median(levels), levels.max())],
            "highest_true_peak": round(float(peaks.max()), 2),
            "reduction": [round(float(value), 1) for value in (np.median(reductions), reductions.max())],
        }
    return {"model": name, "n": count, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loudness", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["mini", "mini-stereo-melody"])
    parser.add_argument("--count", type=int, default=50, help="clips of each model (default 50)")
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = {
        "target": TARGET_LUFS,
        "ceiling": CEILING,
        "near": NEAR,
        "seconds": DURATION,
        "models": [measure(name, options.count) for name in options.models],
        "machine": machine.describe("cpu", torch.get_num_threads()),
        "command": command("loudness"),
    }
    publish(made, options.json)


if __name__ == "__main__":
    main()
