"""python -m benchmarks.loading: memory and time of loading a model in each precision.

A random model of a published shape, stored in float16, is loaded in a process of its own. Its anonymous memory, which the
system cannot take back as it can a mapped file, is sampled every millisecond; what is imported before does not count. Needs
Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks import machine
from benchmarks.systems import SHAPES, write_weights

PRECISIONS = "float32,bfloat16,int8,int4"


def anonymous_bytes() -> int:
    """Anonymous memory of this process."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def load(folder: Path, precision: str) -> dict[str, float]:
    """Load a model in this process: seconds, bytes of the model, most anonymous bytes beyond those from before."""
    musicgen.load("mini", "cpu", precision)  # brings what is imported
    before, most, ended = anonymous_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.001):
            most = max(most, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    model = musicgen.load(folder, "cpu", precision)
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return {"seconds": round(seconds, 2), "model_mb": round(size / 1e6), "peak_mb": round((most - before) / 1e6)}


def measure(shape: str, precisions: list[str], folder: Path) -> list[dict[str, Any]]:
    """A row for each precision, each from a process of its own."""
    write_weights(shape, folder, half=True)
    rows = []
    for precision in precisions:
        command = [sys.executable, "-m", "benchmarks.loading", "--load", str(folder), precision]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append({"precision": precision, **json.loads(said)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="small", choices=SHAPES)
    parser.add_argument("--precision", default=PRECISIONS, help=f"with commas (default: {PRECISIONS})")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(Path(options.load[0]), options.load[1])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.shape, options.precision.split(","), Path(folder))
    text = json.dumps(
        {
            "command": f"python -m benchmarks.loading --shape {options.shape}",
            "shape": options.shape,
            "machine": machine.describe("cpu", torch.get_num_threads()),
            "results": rows,
        },
        indent=1,
    )
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
