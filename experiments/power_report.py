"""The text of the command `power`."""

from __future__ import annotations

from pathlib import Path

from experiments import power, report
from experiments.metric_names import title
from experiments.plan import Plan
from musicgen import table_text
from musicgen.errors import InputError


def text(plan: Plan, folder: Path, seeds: int, wanted: float) -> str:
    """What a plan's claims need, and how long its rows train.

    Args:
        plan: The experiment.
        folder: Of its results at one scale.
        seeds: For which the smallest difference is given.
        wanted: The power.

    Raises:
        InputError: No claim has two seeds of both rows.
    """
    rows = report.read(folder, plan)
    found = power.of_claims(plan, rows, seeds, wanted)
    if not found:
        raise InputError(f"{folder}: no claim of {plan.title!r} has results of two seeds: run it first")
    head = ("claim", "metric", "difference", "sd", "sd, at most", "seeds", "core-minutes", f"decided by {seeds} seeds")
    table = [head] + [
        (
            one.claim.text, title(one.claim.metric), f"{one.difference:.3g}", f"{one.deviation:.3g}",
            f"{one.cautious:.3g}", f"over {power.MOST_SEEDS}" if one.seeds is None else str(one.seeds),
            "–" if one.minutes is None else f"{one.minutes:.0f}", f"{one.detectable:.3g}",
        )
        for one in found
    ]  # fmt: skip
    times = [("row", "steps", "s a step", "steps, equal time", "loss", "steps to the lowest loss, at least")] + [
        (
            one.row, str(one.steps), f"{one.seconds:.3f}", str(one.equal_time), f"{one.loss:.3f}",
            "–" if one.to_lowest is None else str(one.to_lowest),
        )
        for one in power.of_rows(rows)
    ]  # fmt: skip
    return (
        f"{plan.title}: seeds whose interval excludes 0 with a chance of {wanted:g} if the true difference is the one "
        f"measured\n\n{table_text.columns(table)}\n\nTraining, at best over the stored seeds\n\n{table_text.columns(times)}"
    )
