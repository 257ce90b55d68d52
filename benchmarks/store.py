"""Printing and storing the result of a benchmark."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicgen import audio
from musicgen.statistics import Interval


def publish(result: Mapping[str, Any], path: Path | None, text: str | None = None) -> None:
    """Print a result, and store it.

    Args:
        result: JSON values.
        path: The file, which appears whole or not at all, its folder if need be; None stores nothing.
        text: Printed in place of the JSON, such as a table.
    """
    print(json.dumps(result, indent=1) if text is None else text)
    if path is not None:
        write(result, path)


def write(result: Mapping[str, Any], path: Path) -> None:
    """Store a result without printing it, such as one that is going to have further rows."""
    audio.write_bytes(path, (json.dumps(result, indent=1) + "\n").encode())


def command(module: str) -> str:
    """The command that measures: this module of `benchmarks`, with the arguments of this process but for `--json FILE`."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        place = arguments.index("--json")
        del arguments[place : place + 2]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *arguments])


def rounded(interval: Interval | None) -> list[float] | None:
    """Estimate, low and high end of an interval, to four decimals; None for none."""
    if interval is None:
        return None
    return [round(value, 4) for value in (interval.estimate, interval.low, interval.high)]
