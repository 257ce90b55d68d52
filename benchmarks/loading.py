"""python -m benchmarks.loading: memory and time of loading a model in each precision.

A random model of a published shape, stored in float16, is loaded in a separate process whose anonymous memory is sampled;
memory of modules imported before is subtracted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks import machine, store
from benchmarks.anonymous_memory import peak_of
from benchmarks.systems import SHAPES, write_weights

PRECISIONS = "float32,bfloat16,int8,int4"


def load(folder: Path, precision: str) -> dict[str, float]:
    """Load a model in this process: seconds, bytes of the model, most anonymous bytes beyond those from before."""
    musicgen.load("mini", "cpu", precision)  # brings what is imported
    start = time.perf_counter()
    model, most = peak_of(lambda: musicgen.load(folder, "cpu", precision))
    seconds = time.perf_counter() - start
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return {"seconds": round(seconds, 2), "model_mb": round(size / 1e6), "peak_mb": round(most / 1e6)}


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
    result = {
        "command": store.command("loading"),
        "shape": options.shape,
        "machine": machine.describe("cpu", torch.get_num_threads()),
        "results": rows,
    }
    store.publish(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
