"""Plots as SVG: intervals, histograms, correlations of raters. They are drawn here, so that the report needs no plotting
library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from .ratings import DEFAULT_SCALE, SMALL_SCALE
from .results import SystemScore
from .screening_rules import MIN_OVERLAP

WIDTH = 760
LEFT = 170
ROW = 34
TOP = 28


def intervals(scores: Sequence[SystemScore], scale: tuple[float, float] = DEFAULT_SCALE) -> str:
    """Mean of each system with three intervals: CrowdMOS (thick), bootstrap and plain (thin, below).

    Args:
        scores: of one question.
        scale: lower and upper end.
    """
    low, high = _range(scores, scale)
    parts = [_axis(low, high, len(scores))]
    for row, score in enumerate(scores):
        y = TOP + row * ROW + ROW / 2
        parts.append(_name(score.system, y))
        mean, half, plain, boot = score.score.mean, score.score.half_width, score.plain, score.bootstrap
        bars = [
            ("model", "CrowdMOS", -4, None if half is None else (mean - half, mean + half)),
            ("boot", "bootstrap", 4, None if boot is None else (boot.low, boot.high)),
            ("plain", "plain", 9, None if plain is None else (mean - plain, mean + plain)),
        ]
        for kind, name, offset, ends in bars:
            if ends is not None:
                title = f"{name} {ends[0]:.2f} to {ends[1]:.2f}"
                parts.append(_bar(_x(ends[0], low, high), _x(ends[1], low, high), y + offset, kind, title))
        parts.append(f'<circle class="dot" cx="{_x(mean, low, high):.1f}" cy="{y - 4:.1f}" r="5"/>')
        parts.append(f'<text class="value" x="{WIDTH - 4}" y="{y + 1:.1f}" text-anchor="end">{mean:.2f}</text>')
    return _svg(parts, len(scores), "Means with intervals")


def distributions(scores: Sequence[SystemScore], scale: tuple[float, float] = DEFAULT_SCALE) -> str:
    """Histogram of each system's ratings: a bin for each grade of a scale of few whole grades, otherwise 20 bins.

    Args:
        scores: of one question.
        scale: lower and upper end.
    """
    low, high = scale
    bins, grades = 20, False
    if high - low <= SMALL_SCALE and all(
        value == int(value) for score in scores for value in (low, high, *score.values)
    ):
        bins, grades, scale = int(high - low) + 1, True, (low - 0.5, high + 0.5)
    parts = [_axis(*scale, len(scores))]
    for row, score in enumerate(scores):
        base = TOP + (row + 1) * ROW - 4
        parts.append(_name(score.system, base - ROW / 2 + 4))
        counts, edges = np.histogram(np.clip(score.values, *scale), bins=bins, range=scale)
        for count, start, end in zip(counts, edges, edges[1:], strict=False):
            tall = (ROW - 8) * count / max(1, counts.max())
            left, right = _x(start, *scale), _x(end, *scale)
            name = f"{start + 0.5:g}" if grades else f"{start:g} to {end:g}"
            parts.append(
                f'<rect class="count" x="{left + 1:.1f}" y="{base - tall:.1f}" width="{right - left - 2:.1f}" '
                f'height="{tall:.1f}"><title>{name}: {count}</title></rect>'
            )
    return _svg(parts, len(scores), "Distributions of the ratings")


def rater_correlations(correlations: Mapping[str, tuple[float, int]], excluded: Sequence[str]) -> str:
    """Each rater's correlation with the others: dots for raters who were kept, crosses for excluded ones.

    Args:
        correlations: rater -> (r, number of shared clips).
        excluded: raters.
    """
    found = sorted((r, rater) for rater, (r, shared) in correlations.items() if shared >= MIN_OVERLAP)
    parts = [_axis(-1, 1, 3, "{:.1f}")]
    height = 3 * ROW - 20
    for rank, (r, rater) in enumerate(found):
        x, y = _x(r, -1, 1), TOP + 10 + height * (rank + 0.5) / max(1, len(found))
        title = f"<title>{escape(rater)}: r = {r:.2f}</title>"
        if rater in excluded:
            parts.append(f'<path class="out" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8">{title}</path>')
        else:
            parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{title}</circle>')
    parts.append(_name("raters", TOP + 1.5 * ROW))
    return _svg(parts, 3, "Correlation of each rater with the others")


def _range(scores: Sequence[SystemScore], scale: tuple[float, float]) -> tuple[float, float]:
    ends: list[float] = []
    for score in scores:
        half = max(score.score.half_width or 0.0, score.plain or 0.0)
        ends += [score.score.mean - half, score.score.mean + half]
        if score.bootstrap is not None:
            ends += [score.bootstrap.low, score.bootstrap.high]
    low, high = min(ends, default=scale[0]), max(ends, default=scale[1])
    # The ends of the axis are whole hundredths of the scale.
    part = (scale[1] - scale[0]) / 100
    margin = max(2 * part, 0.06 * (high - low))
    return float(np.floor((low - margin) / part)) * part, float(np.ceil((high + margin) / part)) * part


def _x(value: float, low: float, high: float) -> float:
    right = WIDTH - 70
    return float(np.clip(LEFT + (value - low) / (high - low) * (right - LEFT), LEFT, right))


def _axis(low: float, high: float, rows: int, form: str = "{:.4g}") -> str:
    step = next((s for s in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 25, 50) if (high - low) / s <= 9), 100)
    ticks = np.arange(np.ceil(low / step) * step, high + step / 1000, step)
    bottom = TOP + rows * ROW
    lines = [
        f'<line class="grid" x1="{_x(t, low, high):.1f}" x2="{_x(t, low, high):.1f}" y1="{TOP - 6}" y2="{bottom}"/>'
        f'<text class="tick" x="{_x(t, low, high):.1f}" y="{TOP - 11}" text-anchor="middle">{form.format(t + 0.0)}</text>'
        for t in ticks
    ]
    return "".join(lines)


def _name(text: str, y: float) -> str:
    return f'<text class="name" x="{LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'


def _bar(x1: float, x2: float, y: float, kind: str, title: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"><title>{escape(title)}</title></line>'


def _svg(parts: Sequence[str], rows: int, label: str) -> str:
    height = TOP + rows * ROW + 8
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
