"""python -m benchmarks.startup: time from the start of the command to a clip of one second in its file, with the embedded
mini."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import instructions, machine, store

ARGUMENTS = ["generate", "lofi", "--model", "mini", "--duration", "1", "--force"]


def once(folder: Path) -> tuple[float, float]:
    """Seconds that passed, and seconds of processor time, children of the command included."""
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "musicgen", *ARGUMENTS, "--output", str(folder / "clip.wav")]
    subprocess.run(command, check=True, capture_output=True)
    passed, after = time.perf_counter() - start, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return round(passed, 2), round(processor, 2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=5, help="counted runs, after one that fills the caches (default: 5)"
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    instructions.add_option(parser)
    options = parser.parse_args()
    instructions.apply(options)
    with tempfile.TemporaryDirectory() as place:
        once(Path(place))
        runs = [once(Path(place)) for _ in range(options.runs)]
    seconds, processor = (statistics.median(each) for each in zip(*runs, strict=True))
    result: dict[str, Any] = {
        "command": store.command("startup"),
        "measured": "musicgen " + " ".join(ARGUMENTS),
        "n": options.runs,
        "machine": machine.describe("cpu", os.cpu_count() or 1),
        "results": {"seconds": seconds, "processor_seconds": processor, "runs": runs},
    }
    store.publish(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
