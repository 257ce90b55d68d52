"""Results as a table: Markdown, CSV, LaTeX; measured rows with their intervals, published ones marked as such."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from musicgen.errors import InputError

from . import published
from .metrics.score import Score
from .results import Results
from .scorers import METRICS

ARROWS = {"lower": "↓", "higher": "↑", "neither": ""}
BOUNDS = ("references", "references, shuffled")


@dataclass(frozen=True)
class Line:
    """A row: a measured system's scores, or published numbers and their source."""

    system: str
    scores: dict[str, Score]
    published: dict[str, float]
    source: str


def lines(results: Sequence[Results]) -> tuple[list[str], list[Line]]:
    """(metrics, rows) of results of one suite; published rows last."""
    if not results:
        raise InputError("no results to print")
    suites = sorted({each.suite for each in results})
    if len(suites) > 1:
        raise InputError(f"results of several suites ({', '.join(suites)}) do not belong in one table")
    metrics = list(dict.fromkeys(metric for each in results for metric in each.metrics))
    if {"fad_vggish_tf", "fad_vggish_torch"} <= set(metrics):
        raise InputError("fad_vggish_tf and fad_vggish_torch are two scales: print two tables")
    _same_weights(results, metrics)
    rows: list[Line] = []
    for each in results:
        for system in each.systems:
            scores = {score.metric: score for score in system.scores}
            line = Line(system.name, scores, {}, f"measured, n = {len(each.ids)}")
            if line not in rows:
                rows.append(line)
    for row in published.rows(suites[0]):
        values = {metric: row.values[metric] for metric in metrics if metric in row.values}
        if values:
            rows.append(Line(row.system, {}, values, f"published: {row.source}"))
    return metrics, rows


def markdown(results: Sequence[Results]) -> str:
    """With intervals, and below the table what stands behind the numbers."""
    metrics, rows = lines(results)
    head = ["system", *(f"{METRICS[name].title} {ARROWS[METRICS[name].direction]}" for name in metrics), ""]
    body = [[row.system, *(_cell(row, name, "{} [{}, {}]") for name in metrics), row.source] for row in rows]
    table = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body]]
    return "\n".join([*table, "", *_notes(results)]) + "\n"


def as_csv(results: Sequence[Results]) -> str:
    """One line a system and metric: value, interval, n, excluded, direction, version, seed, protocol, weights, source."""
    metrics, rows = lines(results)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            "system",
            "metric",
            "value",
            "low",
            "high",
            "n",
            "excluded",
            "direction",
            "version",
            "seed",
            "protocol",
            "weights",
            "source",
        ]
    )
    for row in rows:
        for name in metrics:
            score = row.scores.get(name)
            if score is not None:
                weights = " ".join(f"{network}={sha256}" for network, sha256 in score.weights.items())
                facts = [
                    score.n,
                    len(score.excluded),
                    score.direction,
                    score.version,
                    score.seed,
                    score.protocol,
                    weights,
                ]
                writer.writerow([row.system, name, score.value, score.low, score.high, *facts, row.source])
            elif name in row.published:
                blank = [""] * 7
                writer.writerow([row.system, name, row.published[name], "", "", *blank, row.source])
    return buffer.getvalue()


def latex(results: Sequence[Results]) -> str:
    """A tabular for booktabs; published rows in italics, with a dagger."""
    metrics, rows = lines(results)
    arrows = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "neither": ""}
    out = [r"\begin{tabular}{l" + "r" * len(metrics) + "}", r"\toprule"]
    titles = [_escaped(METRICS[name].title) + arrows[METRICS[name].direction] for name in metrics]
    out += [" & ".join(["System", *titles]) + r" \\", r"\midrule"]
    for row in rows:
        cells = [_escaped(_cell(row, name, "{}")) for name in metrics]
        for place, name in enumerate(metrics):
            score = row.scores.get(name)
            if score is not None and score.low is not None and score.high is not None:
                cells[place] += f" {{\\footnotesize [{_number(score.low)}, {_number(score.high)}]}}"
        system = _escaped(row.system)
        if row.published:
            system, cells = rf"\textit{{{system}}}$^\dagger$", [rf"\textit{{{cell}}}" for cell in cells]
        out.append(" & ".join([system, *cells]) + r" \\")
    out += [r"\bottomrule", r"\end{tabular}"]
    if any(row.published for row in rows):
        out.append(r"% $^\dagger$ published, not measured here")
    return "\n".join([*out, *(f"% {note}" for note in _notes(results) if note)]) + "\n"


RENDER = {"markdown": markdown, "csv": as_csv, "latex": latex}


def worst(results: Sequence[Results], count: int) -> str:
    """The clips that hurt each system most, by each metric that has a value for single clips."""
    out = []
    for each in results:
        for system in each.systems:
            for score in system.scores:
                ranked = sorted(score.clips, key=score.clips.__getitem__, reverse=score.direction == "lower")[:count]
                if ranked:
                    clips = ", ".join(f"{name} {_number(score.clips[name])}" for name in ranked)
                    out.append(f"{system.name}: {score.metric}: {clips}")
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
        notes.append(f"{each.suite}: {len(each.ids)} clips, {len(each.excluded)} excluded; 95 % intervals over clips.")
        notes += [f"excluded {name}: {why}" for name, why in list(each.excluded.items())[:10]]
        if len(each.excluded) > 10:
            notes.append(f"… and {len(each.excluded) - 10} more, in the results' file")
        seen: dict[str, str] = {}
        for system in each.systems:
            for score in system.scores:
                seen |= dict(score.weights)
            notes += [f"{system.name}: {name} {why}" for name, why in list(system.flags.items())[:5]]
        notes += [f"weights {name}: sha256 {sha256[:16]}…" for name, sha256 in sorted(seen.items())]
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
    return [line for note in notes for line in (note, "")]


def _cell(row: Line, metric: str, form: str) -> str:
    score = row.scores.get(metric)
    if score is None:
        return _number(row.published[metric]) if metric in row.published else "–"
    if score.low is None or score.high is None or form == "{}":
        return _number(score.value)
    return form.format(_number(score.value), _number(score.low), _number(score.high))


def _number(value: float) -> str:
    """Two places; small numbers three digits, at most four places."""
    if abs(value) >= 1:
        return f"{value:.2f}"
    if abs(value) >= 0.1:
        return f"{value:.3f}"
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def _escaped(text: str) -> str:
    for character in "&%_#$":
        text = text.replace(character, "\\" + character)
    return text.replace("–", "--")
