"""Throughput: how many clips per hour a system generates at its best batch size."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from benchmarks.race import Contestant, Race

HOUR = 3600.0


def measure(race: Race, duration: float, batches: Sequence[int], runs: int) -> list[dict[str, Any]]:
    """Time each batch of each system, in turns.

    A system is not asked for a larger batch after one that gave it fewer clips an hour than the batch before.

    Args:
        race: The systems.
        duration: Seconds of each clip.
        batches: Clips at a time, in rising order.
        runs: Counted runs of each batch.

    Returns:
        A row for each system and batch: "system", "precision", "batch", "seconds" (of all runs) and "clips_an_hour" (median).
    """
    rows: list[dict[str, Any]] = []
    best: dict[Contestant, float] = {}
    rising = set(race.running)
    for batch in tqdm(sorted(batches), desc="batches", file=sys.stderr):
        seconds: dict[Contestant, list[float]] = {one: [] for one in race.running if one in rising}
        for run in range(runs + 1):
            for one in [one for one in race.running if one in seconds]:
                taken = race.run(one, duration if run else min(1.0, duration), batch)  # the first run warms up
                if taken is not None and run:
                    seconds[one].append(taken)
        for one, taken_by in seconds.items():
            if len(taken_by) < runs:
                continue
            clips = HOUR * batch / statistics.median(taken_by)
            rows.append(
                {
                    "system": one[0],
                    "precision": one[1],
                    "batch": batch,
                    "seconds": taken_by,
                    "clips_an_hour": round(clips, 1),
                }
            )
            if clips < best.get(one, 0.0):
                rising.discard(one)
            best[one] = max(clips, best.get(one, 0.0))
    return rows


def at_best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The row with the most clips per hour of each system and precision, the fastest first."""
    best: dict[Contestant, Mapping[str, Any]] = {}
    for row in rows:
        one = row["system"], row["precision"]
        if one not in best or row["clips_an_hour"] > best[one]["clips_an_hour"]:
            best[one] = row
    return sorted(best.values(), key=lambda row: -row["clips_an_hour"])


def table(rows: Sequence[Mapping[str, Any]], failures: Mapping[str, str]) -> str:
    """Markdown."""
    lines = ["| system | precision | best batch | clips an hour |", "|---|---|---|---|"]
    lines += [
        f"| {row['system']} | {row['precision']} | {row['batch']} | {row['clips_an_hour']:,.0f} |"
        for row in at_best(rows)
    ]
    lines += [f"{name}: {why}" for name, why in failures.items()]
    return "\n".join(lines)
