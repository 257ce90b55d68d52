"""python -m benchmarks.tempo_key: accuracy of the tempo and key estimation on the synthetic corpus.

Held-out compositions with known tempo and key. A tempo is correct within 4 % (half and double tempo are errors), a key if tonic
and mode are correct.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import machine
from benchmarks.store import command, publish, rounded
from musicgen import rhythm, tonality
from musicgen.audio import Audio
from musicgen.statistics import ratio_interval
from musicgen.training.corpus import compose, render
from musicgen.training.corpus.renderer import SAMPLE_RATE
from musicgen.training.quality import HELD_OUT_SEED

TOLERANCE = 0.04
DURATION = 15.0
"""Seconds."""


def measure(count: int) -> dict[str, Any]:
    """The shares of right tempi and keys, with intervals over compositions."""
    right: dict[str, list[bool]] = {"tempo": [], "tempo, half or double": [], "key": []}
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        composition = compose(seed, duration=DURATION)
        clip = Audio(torch.from_numpy(render(composition)), SAMPLE_RATE)
        beats = rhythm.measure(clip)
        ratio = 0.0 if beats is None else beats.bpm / composition.bpm
        right["tempo"].append(abs(ratio - 1) < TOLERANCE)
        right["tempo, half or double"].append(any(abs(ratio * octave - 1) < TOLERANCE for octave in (0.5, 1, 2)))
        right["key"].append(tonality.measure(clip) == composition.key.name)
    rows = {}
    for name, values in right.items():
        interval = ratio_interval(np.array(values, float), np.ones(count), np.random.default_rng(0))
        rows[name] = rounded(interval)
    return {"n": count, "seconds": DURATION, "tolerance": TOLERANCE, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tempo_key", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="compositions (default 100)")
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = measure(options.count)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = command("tempo_key")
    publish(made, options.json)


if __name__ == "__main__":
    main()
