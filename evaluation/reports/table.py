"""Results as a table in Markdown, CSV or LaTeX: measured rows with intervals, rows from papers marked as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicgen import statistics, table_text
from musicgen.errors import InputError, one_line
from musicgen.text_format import counted

from ..metrics import set_interval
from ..metrics.registry import METRICS
from ..metrics.score import Direction, Score
from . import paper_results
from .results import BOUNDS, Results

INFINITY = "infinity"
"""The detail of a FAD that has a column of its own."""
OUTLIERS = 10
"""Songs that are named at most."""
ARROWS: dict[Direction, str] = {"lower": "↓", "higher": "↑", "neither": ""}


@dataclass(frozen=True)
class Column:
    """A metric, or one of its details.

    Attributes:
        name: of the metric; in CSV with the detail behind it.
        title: in the head.
        direction: which way is better.
        detail: the detail that the column shows in place of the value, "" for the value.
    """

    name: str
    title: str
    direction: Direction
    detail: str = ""

    def better(self) -> str:
        """ "lower is better", or "" for a descriptive number."""
        return "" if self.direction == "neither" else f"{self.direction} is better"


@dataclass(frozen=True)
class Row:
    """A system.

    Attributes:
        system: its name.
        scores: metric → measured score.
        reported: metric → number in a paper.
        source: of the numbers.
    """

    system: str
    scores: dict[str, Score]
    reported: dict[str, float]
    source: str


def table_of(results: Sequence[Results]) -> tuple[list[Column], list[Row]]:
    """Columns and rows of the results of one suite, rows from papers last.

    Raises:
        InputError: there are no results, or some are not comparable: other suites, weights, versions or scales.
    """
    if not results:
        raise InputError("no results to print")
    suites = sorted({each.suite for each in results})
    if len(suites) > 1:
        raise InputError(f"results of several suites ({', '.join(suites)}) do not belong in one table")
    metrics = list(dict.fromkeys(metric for each in results for metric in each.metrics))
    if {"fad_vggish_tf", "fad_vggish_torch"} <= set(metrics):
        raise InputError("fad_vggish_tf and fad_vggish_torch are two scales: print two tables")
    _same_weights(results, metrics)
    rows: list[Row] = []
    for each in results:
        for system in each.systems:
            scores = {score.metric: score for score in system.scores}
            row = Row(system.name, scores, {}, f"measured, n = {len(each.ids)}")
            if row not in rows:
                rows.append(row)
    for reported in paper_results.paper_rows(suites[0]):
        values = {metric: reported.values[metric] for metric in metrics if metric in reported.values}
        if values:
            rows.append(Row(reported.system, {}, values, f"published: {reported.source}"))
    return [column for name in metrics for column in (_column(name, rows), *_detail_columns(name, rows))], rows


def _detail_columns(name: str, rows: Sequence[Row]) -> list[Column]:
    """FAD∞ beside its FAD, where a system has clips enough for it."""
    shown = any(INFINITY in row.scores[name].details for row in rows if name in row.scores)
    plain = _column(name, rows)
    return [Column(name, plain.title.replace("FAD", "FAD∞", 1), plain.direction, INFINITY)] if shown else []


def _column(name: str, rows: Sequence[Row]) -> Column:
    """The title of a metric, which a plug-in that is not loaded may have registered."""
    if name in METRICS:
        return Column(name, METRICS[name].title, METRICS[name].direction)
    directions: list[Direction] = [row.scores[name].direction for row in rows if name in row.scores]
    return Column(name, name, directions[0] if directions else "neither")


def markdown(results: Sequence[Results]) -> str:
    """A Markdown table with intervals, and notes: exclusions, weights, comparisons."""
    columns, rows = table_of(results)
    head = ["system", *(f"{column.title} {ARROWS[column.direction]}" for column in columns), ""]
    body = [[row.system, *(_cell(row, column, "{} [{}, {}]") for column in columns), row.source] for row in rows]
    notes = [line for note in _notes(results) for line in (table_text.markdown_paragraph(note), "")]
    return "\n".join([table_text.markdown_table([head, *body]), *notes]) + "\n"


def as_csv(results: Sequence[Results]) -> str:
    """CSV, a line per system and metric: value, interval, n, excluded, direction, version, seed, protocol, weights, source."""
    columns, rows = table_of(results)
    header = ["system", "metric", "value", "low", "high", "n", "excluded", "direction", "version", "seed", "protocol",
              "weights", "source"]  # fmt: skip
    lines: list[list[Any]] = []
    for row in rows:
        for column in columns:
            name = column.name
            score = row.scores.get(name)
            if score is not None and column.detail:
                if column.detail in score.details:
                    value = score.details[column.detail]
                    provenance = _provenance(score, "")
                    lines.append([row.system, f"{name}_{column.detail}", value, "", "", *provenance, row.source])
            elif score is not None:
                weights = " ".join(f"{network}={sha256}" for network, sha256 in score.weights.items())
                provenance = _provenance(score, weights)
                lines.append([row.system, name, score.value, score.low, score.high, *provenance, row.source])
            elif name in row.reported and not column.detail:
                blank = [""] * 7
                lines.append([row.system, name, row.reported[name], "", "", *blank, row.source])
    return table_text.write_csv(header, lines, end="\n")


def _provenance(score: Score, weights: str) -> list[Any]:
    return [score.n, len(score.excluded), score.direction, score.version, score.seed, score.protocol, weights]


def latex(results: Sequence[Results]) -> str:
    """A LaTeX tabular for booktabs; rows from papers in italics, with a dagger."""
    columns, rows = table_of(results)
    arrows = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "neither": ""}
    out = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    titles = [table_text.latex(column.title) + arrows[column.direction] for column in columns]
    out += [" & ".join(["System", *titles]) + r" \\", r"\midrule"]
    for row in rows:
        cells = [table_text.latex(_cell(row, column, "{}")) for column in columns]
        for index, column in enumerate(columns):
            score = row.scores.get(column.name)
            if score is not None and not column.detail and score.low is not None and score.high is not None:
                cells[index] += f" {{\\footnotesize [{_number(score.low)}, {_number(score.high)}]}}"
        system = table_text.latex(row.system)
        if row.reported:
            system, cells = rf"\textit{{{system}}}$^\dagger$", [rf"\textit{{{cell}}}" for cell in cells]
        out.append(" & ".join([system, *cells]) + r" \\")
    out += [r"\bottomrule", r"\end{tabular}"]
    if any(row.reported for row in rows):
        out.append(r"% $^\dagger$ published, not measured here")
    return "\n".join([*out, *map(table_text.latex_comment, _notes(results))]) + "\n"


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}
"""Name of a format → its function."""


def worst_clips(results: Sequence[Results], count: int) -> str:
    """The `count` worst clips of each system, by each metric that has values for single clips, as text."""
    out = []
    for each in results:
        for system in each.systems:
            for score in system.scores:
                ranked = sorted(score.clips, key=score.clips.__getitem__, reverse=score.direction == "lower")[:count]
                if ranked:
                    clips = ", ".join(f"{name} {_number(score.clips[name])}" for name in ranked)
                    out.append(one_line(f"{system.name}: {score.metric}: {clips}"))
    return "\n".join(out) + "\n"


def _same_weights(results: Sequence[Results], metrics: Sequence[str]) -> None:
    for metric in metrics:
        scores = [
            score for each in results for system in each.systems for score in system.scores if score.metric == metric
        ]
        if len({tuple(sorted(score.weights.items())) for score in scores}) > 1:
            raise InputError(f"{metric} was computed with several weights: such numbers do not belong in one table")
        if len({score.version for score in scores}) > 1:
            raise InputError(f"{metric} was computed by several versions: score again")


def _notes(results: Sequence[Results]) -> list[str]:
    notes = []
    for each in results:
        notes.append(
            f"{each.suite}: {counted(len(each.ids), 'clip')}, {len(each.excluded)} excluded; 95 % intervals over clips."
        )
        notes += [f"excluded {name}: {why}" for name, why in list(each.excluded.items())[:10]]
        if len(each.excluded) > 10:
            notes.append(f"… and {len(each.excluded) - 10} more, in the results file")
        weights: dict[str, str] = {}
        for system in each.systems:
            for score in system.scores:
                weights |= dict(score.weights)
            notes += [f"{system.name}: {name} {why}" for name, why in list(system.flags.items())[:5]]
        notes += [f"{metric} is missing: {reason}" for metric, reason in each.missing.items()]
        notes += [*_without_intervals(each), *(note for metric in each.metrics for note in _remarks(each, metric))]
        notes += [f"weights {name}: sha256 {sha256[:16]}…" for name, sha256 in sorted(weights.items())]
        for row in each.comparisons:
            p = "" if row.adjusted is None else f", p = {row.adjusted:.4f} (Holm)"
            interval = "" if row.low is None or row.high is None else f" [{_number(row.low)}, {_number(row.high)}]"
            notes.append(f"{row.metric}: {row.first} − {row.second} = {_number(row.difference)}{interval}{p}")
        for system in each.systems:
            for score in system.scores:
                if "shuffled" in score.details and system.name not in BOUNDS:
                    notes.append(
                        f"{score.metric}: {system.name}: own caption {_number(score.value)}, shuffled caption "
                        f"{_number(score.details['shuffled'])}, p = {score.details['p_shuffled']:.4f}"
                    )
    return notes


def _without_intervals(results: Results) -> list[str]:
    """The metrics whose clips are too few for an interval, those with as many clips in one note."""
    too_few: dict[int, list[str]] = {}
    for metric in results.metrics:
        score = next((found for system in results.systems if (found := system.score(metric)) is not None), None)
        if score is not None and score.low is None and score.n < set_interval.MIN_CLIPS:
            too_few.setdefault(score.n, []).append(metric)
    return [
        f"{', '.join(metrics)}: {counted(n, 'clip')} {'is' if n == 1 else 'are'} too few for an interval: "
        f"{statistics.MIN_CLIPS} are needed for a mean over clips, {set_interval.MIN_CLIPS} for a distance between sets"
        for n, metrics in too_few.items()
    ]


def _remarks(results: Results, metric: str) -> list[str]:
    """Notes on a metric's column: fewer clips than in the table, and outliers."""
    scores = [score for system in results.systems if (score := system.score(metric)) is not None]
    if not scores:
        return []
    n, remarks = scores[0].n, []
    if n < len(results.ids):
        own = {name: why for name, why in scores[0].excluded.items() if name not in results.excluded}
        first = "".join(f" ({name}: {why})" for name, why in list(own.items())[:1])
        remarks.append(f"{metric}: n = {n}, {counted(len(own), 'more clip')} excluded{first}")
    if metric in METRICS and METRICS[metric].names_outliers:
        remarks += [
            f"{metric}: {system.name}: far from the references: {found}"
            for system in results.systems
            if (score := system.score(metric)) is not None and (found := _outliers(score))
        ]
    return remarks


def _outliers(score: Score) -> str:
    """The clips that are worse than the outer quartile by over 1.5 times the quartiles' distance (Tukey 1977), worst first."""
    sign = -1 if score.direction == "higher" else 1
    values = {name: sign * value for name, value in score.clips.items()}
    low, high = np.quantile(list(values.values()), [0.25, 0.75])
    found = [
        name
        for name in sorted(values, key=values.__getitem__, reverse=True)
        if values[name] > high + 1.5 * (high - low)
    ]
    more = f" and {len(found) - OUTLIERS} more" if len(found) > OUTLIERS else ""
    return ", ".join(f"{name} ({_number(score.clips[name])})" for name in found[:OUTLIERS]) + more


def _cell(row: Row, column: Column, form: str) -> str:
    score = row.scores.get(column.name)
    if column.detail:
        return _number(score.details[column.detail]) if score is not None and column.detail in score.details else "–"
    if score is None:
        return _number(row.reported[column.name]) if column.name in row.reported else "–"
    if score.low is None or score.high is None or form == "{}":
        return _number(score.value)
    return form.format(_number(score.value), _number(score.low), _number(score.high))


def _number(value: float) -> str:
    """Two decimals; three for numbers below 1, four for those below 0.1."""
    if abs(value) >= 1:
        return f"{value:.2f}"
    if abs(value) >= 0.1:
        return f"{value:.3f}"
    return f"{value:.4f}".replace("-0.0000", "0.0000")
