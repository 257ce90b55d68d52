"""Plots of an experiment's results: rows with their intervals, curves of the losses, memorisation over prompt length."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from experiments import claims
from experiments.metric_names import title
from experiments.plan import Plan

COLOURS = ("#4f46e5", "#f59e0b", "#059669", "#dc2626", "#0891b2", "#7c3aed")
Rows = dict[str, list[dict[str, Any]]]
"""Row → its runs."""


def plot(plan: Plan, rows: Rows) -> bytes:
    """PNG with a panel for each metric: rows with their intervals, every seed as a mark."""
    from matplotlib.figure import Figure

    names, width = list(rows), 3.2 * len(plan.metrics)
    height = 0.45 * len(rows) + 1.4
    whole = Figure(figsize=(width, height + (3.2 if plan.curves else 0)), layout="constrained")
    figure: Any = whole
    if plan.curves:
        halves: Any = whole.subfigures(2, 1, height_ratios=[height, 3.2])
        figure, below = halves
        _curves(below, rows)
    for axes, metric in zip(figure.subplots(1, len(plan.metrics), squeeze=False)[0], plan.metrics, strict=True):
        for place, name in enumerate(names):
            if not claims.has(rows[name], metric):
                continue
            mean, low, high = claims.mean_and_interval(rows[name], metric)
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color="#4f46e5", capsize=3)
            each = claims.values(rows[name], metric)
            axes.plot(each, [place] * len(each), "|", color="#94a3b8", markersize=9)
        axes.set_yticks(range(len(names)), names if axes.get_subplotspec().is_first_col() else [""] * len(names))
        axes.invert_yaxis()
        axes.set_title(title(metric), fontsize=9)
        axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    whole.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _curves(figure: Any, rows: Rows) -> None:
    """Training and held-out losses over steps, a line for each seed."""
    left, right = figure.subplots(1, 2)
    for number, (name, runs) in enumerate(rows.items()):
        for run in runs:
            style = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.2}
            label = name if run is runs[0] else None
            left.plot(*zip(*run["losses"], strict=True), label=label, **style)
            held_out = [(one["step"], one["loss"]) for one in run["validations"]]
            right.plot(*zip(*held_out, strict=True), marker="o", markersize=3, label=label, **style)
    for axes, text in ((left, "training"), (right, "held out")):
        axes.set_title(text, fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylabel("cross-entropy (nats)")
        axes.grid(alpha=0.3)
    right.legend(frameon=False, fontsize=8)


def plot_memorisation(rows: Rows) -> bytes:
    """PNG with a panel for each number of repetitions: exact (lines) and partial (dashes) matches over prompt length."""
    from matplotlib.figure import Figure

    groups = list(next(iter(rows.values()))[0]["memorisation"])
    figure = Figure(figsize=(3.4 * len(groups), 3.2), layout="constrained")
    for axes, times in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for number, (name, runs) in enumerate(rows.items()):
            for kind, style in (("exact", "-"), ("partial", "--")):
                points = [(float(prompt), share) for prompt, share, _ in shares(runs, times, kind)]
                axes.plot(*zip(*points, strict=True), style, color=COLOURS[number], label=f"{name}, {kind}")
        axes.set_title(f"planted {times} time{'' if times == '1' else 's'}", fontsize=9)
        axes.set_xlabel("prompt (s)")
        axes.set_ylabel("share of examples")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def shares(runs: Sequence[dict[str, Any]], times: str, kind: str) -> list[tuple[str, float, int]]:
    """Exact or partial matches of examples planted this number of times: (prompt, share, examples) over all seeds."""
    found = []
    for prompt in runs[0]["memorisation"][times]:
        cells = [run["memorisation"][times][prompt] for run in runs]
        examples = sum(cell["examples"] for cell in cells)
        found.append((prompt, sum(cell[kind] for cell in cells) / examples, examples))
    return found
