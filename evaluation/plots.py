"""Results as pictures: a panel a metric, a bar a system with its interval; and how the clips of each system are spread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicgen import audio, extras

from . import table
from .results import Results
from .scorers import METRICS

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")


def draw(results: Sequence[Results], folder: Path) -> list[Path]:
    """`scores.png` and, where metrics have values for single clips, `clips.png`."""
    metrics, rows = table.lines(results)
    measured = [row for row in rows if row.scores]
    scores = _figure(len(metrics))
    for axis, name in zip(_axes(scores, len(metrics)), metrics, strict=True):
        shown = [(place, row.scores[name]) for place, row in enumerate(measured) if name in row.scores]
        for place, score in shown:
            below, above = (0.0, 0.0)
            if score.low is not None and score.high is not None:
                below, above = max(0.0, score.value - score.low), max(0.0, score.high - score.value)
            colour = COLOURS[place % len(COLOURS)]
            axis.barh(place, score.value, color=colour, height=0.7)
            axis.errorbar(score.value, place, xerr=[[below], [above]], color="#333", capsize=3, linewidth=1)
        axis.set_yticks(range(len(measured)), [row.system for row in measured])
        axis.invert_yaxis()
        better = "" if METRICS[name].direction == "neither" else f" ({METRICS[name].direction} is better)"
        axis.set_title(f"{METRICS[name].title}{better}", fontsize=10)
    files = [_save(scores, folder / "scores.png")]
    single = [name for name in metrics if METRICS[name].kind != "set"]
    if single:
        spread = _figure(len(single))
        for axis, name in zip(_axes(spread, len(single)), single, strict=True):
            systems = [row for row in measured if name in row.scores and row.scores[name].clips]
            values = [list(row.scores[name].clips.values()) for row in systems]
            if values:
                axis.boxplot(values, orientation="horizontal", tick_labels=[row.system for row in systems])
            axis.invert_yaxis()
            axis.set_title(f"{METRICS[name].title}, clip by clip", fontsize=10)
        files.append(_save(spread, folder / "clips.png"))
    return files


def _figure(panels: int) -> Any:
    figure = extras.load("matplotlib.figure", "evaluation", "the plot")
    rows = -(-panels // 2)
    return figure.Figure(figsize=(12, 3 * rows), layout="constrained")


def _axes(figure: Any, panels: int) -> list[Any]:
    rows, columns = -(-panels // 2), min(2, panels)
    return [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]


def _save(figure: Any, file: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    audio.write_bytes(file, buffer.getvalue())
    return file
