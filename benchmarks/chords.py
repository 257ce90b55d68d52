"""python -m benchmarks.chords: how well a melody model follows chords, compared with the chords of another clip.

One clip is generated for each of several random progressions of diatonic triads. Two shares are measured on the chroma frames:
frames whose strongest pitch class is in the chord, and the share of the three strongest pitch classes that are (1 for a
complete triad). Frames around a change of chord are counted like all others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

import musicgen
from benchmarks import machine
from benchmarks.store import command, publish, rounded
from musicgen import chroma
from musicgen.chords import ChordChart
from musicgen.chroma import PITCH_CLASSES
from musicgen.statistics import ratio_interval

DEGREES = ((0, ""), (2, "m"), (4, "m"), (5, ""), (7, ""), (9, "m"))
"""Semitones above the tonic, and quality, of a major key's triads."""
PROMPTS = (
    "slow calm piano music",
    "a pop song with guitar",
    "an electronic track with synth pads",
    "strings, classical",
)
BARS = 4
BPM = 120.0
DURATION = 8.0
"""Seconds: each bar once."""
BATCH = 10


def progression(rng: np.random.Generator) -> str:
    """Four triads of a major key, no two neighbours equal."""
    tonic, degrees = int(rng.integers(12)), [int(rng.integers(len(DEGREES)))]
    while len(degrees) < BARS:
        degrees.append(int(rng.choice([i for i in range(len(DEGREES)) if i != degrees[-1]])))
    return " ".join(f"{PITCH_CLASSES[(tonic + DEGREES[i][0]) % 12]}{DEGREES[i][1]}" for i in degrees)


def shares(heard: torch.Tensor, chords: torch.Tensor) -> tuple[float, float]:
    """Chroma [frames, 12] of a clip and of a chart -> the share of strongest pitch classes in the chord, and of the three
    strongest."""
    inside = chords.gather(1, heard.topk(3, dim=1).indices)
    return float(inside[:, 0].mean()), float(inside.mean())


def measure(name: str, count: int, seed: int) -> dict[str, Any]:
    """Both shares with the clip's own chords and with the next clip's, and their difference, with intervals."""
    rng = np.random.default_rng(seed)
    charts = [ChordChart(progression(rng), BPM) for _ in range(count)]
    model = musicgen.load(name)
    if model.melody is None:
        raise SystemExit(f"error: {name} follows no melody, so no chords")
    heard: list[torch.Tensor] = []
    for start in range(0, count, BATCH):
        batch = charts[start : start + BATCH]
        prompts = [PROMPTS[(start + i) % len(PROMPTS)] for i in range(len(batch))]
        waves = model.generate(prompts, DURATION, seed=seed + start, melody=batch)
        heard += [chroma.chroma(wave.mean(dim=0)) for wave in waves]
    wanted = [model.melody.prepare(chart).chroma(len(one)) for chart, one in zip(charts, heard, strict=True)]
    own = np.array([shares(one, chords) for one, chords in zip(heard, wanted, strict=True)])
    other = np.array([shares(one, chords) for one, chords in zip(heard, wanted[1:] + wanted[:1], strict=True)])
    rows = {}
    for column, what in enumerate(("strongest", "three strongest")):
        pair = np.stack([own[:, column], other[:, column]], axis=1)
        rows[what] = {
            "own": rounded(ratio_interval(pair[:, 0], np.ones(count), rng)),
            "other": rounded(ratio_interval(pair[:, 1], np.ones(count), rng)),
            "difference": rounded(ratio_interval(pair, np.ones((count, 2)), rng)),
        }
    return {"model": name, "n": count, "seconds": DURATION, "bpm": BPM, "seed": seed, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chords", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini-melody")
    parser.add_argument("--count", type=int, default=100, help="progressions, at least 5 (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = measure(options.model, options.count, options.seed)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = command("chords")
    publish(made, options.json)


if __name__ == "__main__":
    main()
