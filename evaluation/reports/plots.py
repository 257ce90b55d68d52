"""Plots of results: bars with intervals, a panel per metric; and box plots of the clips' values."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicgen import audio, extras
from musicgen.errors import one_line

from ..metrics.registry import METRICS
from . import table
from .results import Results

PACKAGE = "matplotlib"
"""What draws them. Of the extra "evaluation"."""
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")


def draw_plots(results: Sequence[Results], folder: Path) -> list[Path]:
    """Write `scores.png` and, if metrics have values for single clips, `clips.png`.

    Args:
        results: of one suite.
        folder: where the files go.

    Returns:
        The files.

    Raises:
        InputError: the results are not comparable, or matplotlib is not installed.
    """
    columns, rows = table.table_of(results)
    columns = [column for column in columns if not column.detail]
    measured = [row for row in rows if row.scores]
    scores = _figure(len(columns))
    for axis, column in zip(_axes(scores, len(columns)), columns, strict=True):
        bars = [(index, row.scores[column.name]) for index, row in enumerate(measured) if column.name in row.scores]
        for index, score in bars:
            below, above = (0.0, 0.0)
            if score.low is not None and score.high is not None:
                below, above = max(0.0, score.value - score.low), max(0.0, score.high - score.value)
            colour = COLOURS[index % len(COLOURS)]
            axis.barh(index, score.value, color=colour, height=0.7)
            axis.errorbar(score.value, index, xerr=[[below], [above]], color="#333", capsize=3, linewidth=1)
        axis.set_yticks(range(len(measured)), [_label(row.system) for row in measured])
        axis.invert_yaxis()
        better = column.better()
        title = _label(column.title)
        axis.set_title(f"{title} ({better})" if better else title, fontsize=10)
    files = [_save(scores, folder / "scores.png")]
    per_clip = [column for column in columns if _has_values_of_clips(column.name)]
    if per_clip:
        distributions = _figure(len(per_clip))
        for axis, column in zip(_axes(distributions, len(per_clip)), per_clip, strict=True):
            systems = [row for row in measured if column.name in row.scores and row.scores[column.name].clips]
            values = [list(row.scores[column.name].clips.values()) for row in systems]
            if values:
                axis.boxplot(values, orientation="horizontal", tick_labels=[_label(row.system) for row in systems])
            axis.invert_yaxis()
            axis.set_title(f"{_label(column.title)}, clip by clip", fontsize=10)
        files.append(_save(distributions, folder / "clips.png"))
    return files


def _label(text: str) -> str:
    """Plain text in one line: between two dollars matplotlib reads a formula, and fails where there is none."""
    return one_line(text).replace("$", r"\$")


def _has_values_of_clips(name: str) -> bool:
    if name not in METRICS:
        return True
    return METRICS[name].kind != "set" or METRICS[name].names_outliers


def _figure(panels: int) -> Any:
    figure = extras.load(f"{PACKAGE}.figure", "evaluation", "the plot")
    rows = -(-panels // 2)
    return figure.Figure(figsize=(12, 3 * rows), layout="constrained")


def _axes(figure: Any, panels: int) -> list[Any]:
    rows, columns = -(-panels // 2), min(2, panels)
    return [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]


def _save(figure: Any, file: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    audio.write_bytes(file, buffer.getvalue())
    return file
