"""How a benchmark prints its result and stores it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicgen.statistics import Interval


def publish(result: Mapping[str, Any], path: Path | None) -> None:
    """Print a result as JSON, and write it to a file unless `path` is None."""
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if path is not None:
        path.write_text(text)


def rounded(interval: Interval | None) -> list[float] | None:
    """Estimate, low and high end of an interval, to four decimals; None for none."""
    if interval is None:
        return None
    return [round(value, 4) for value in (interval.estimate, interval.low, interval.high)]
