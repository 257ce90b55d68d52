"""python -m benchmarks.memory: peak memory of embedding and scoring 500 clips, and 5,000.

Each size runs in a separate process: clips of noise with a reference each, an empty cache, and all metrics of the `synth` suite
except KAD, whose kernel sums grow with the square of the number of clips.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks import machine, store
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.pipeline import scoring
from evaluation.suites.items import Item
from evaluation.suites.suite import load_suite
from musicgen import samples

METRICS = ("fad_mini", "kl_mini", "clap_mini", "chroma")
RATE = 32_000


def write_clips(folder: Path, clips: int, seconds: float) -> list[Item]:
    """A samples folder `ours`, and the items of `references`."""
    items, lines = [], []
    for place in ("references", "ours"):
        (folder / place).mkdir()
        for number in range(clips):
            rng = np.random.default_rng([place == "ours", number])
            file = folder / place / f"{number:04d}.wav"
            soundfile.write(file, 0.1 * rng.normal(size=int(seconds * RATE)), RATE)
            if place == "references":
                items.append(Item(file.stem, f"caption {number}", file))
            else:
                line = {"id": file.stem, "prompt": "", "system": "ours", "audio": file.name}
                lines.append(json.dumps({**line, "sha256": samples.file_sha256(file)}))
    (folder / "ours" / samples.MANIFEST).write_text("\n".join(lines) + "\n")
    return items


def measure(clips: int, seconds: float, threads: int) -> dict[str, float]:
    """In this process: score one system, report the peak."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        items = write_clips(folder, clips, seconds)
        start = time.perf_counter()
        scoring.score(
            load_suite("synth"), items, [folder / "ours"], Embedders(), Cache(folder / "cache"),
            scoring.ScoringOptions(progress=False), METRICS,
        )  # fmt: skip
        spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"clips": clips, "seconds": spent, "peak_memory_mb": peak}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--seconds", type=float, default=1.0, help="of a clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if len(options.clips) == 1:
        print(json.dumps(measure(options.clips[0], options.seconds, options.threads)))
        return 0
    rows = []
    for clips in options.clips:
        command = [sys.executable, "-m", "benchmarks.memory", "--clips", str(clips), "--seconds", str(options.seconds),
                   "--threads", str(options.threads)]  # fmt: skip
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    report = {
        "command": store.command("memory"),
        "machine": machine.describe("cpu", options.threads),
        "seconds_of_a_clip": options.seconds,
        "runs": rows,
    }
    store.publish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
