"""Results as tables: the paper's (mean ± CI95 for each system and question), and one for each kind of result.

A table is a list of rows of text, the header first. Written as Markdown, CSV or LaTeX.
"""

from __future__ import annotations

from typing import Any

from musicgen import table_text

from .ratings import DEFAULT_SCALE
from .results import StudyResults, SystemScore

Rows = list[list[str]]


def paper(result: StudyResults) -> Rows:
    """The paper's table: systems are rows, questions are columns."""
    names = list(dict.fromkeys(score.question for score in result.scores))
    found = {(score.system, score.question): score for score in result.scores}
    rows = [["system", *(heading(result, name) for name in names)]]
    for system in dict.fromkeys(score.system for score in sorted(result.scores, key=_place)):
        rows.append([system, *(_cell(found.get((system, name))) for name in names)])
    return rows


def heading(result: StudyResults, question: str) -> str:
    """Name of a question, with its scale where that is not 0 to 100."""
    low, high = result.scales[question]
    return question if (low, high) == DEFAULT_SCALE else f"{question} ({low:g} to {high:g})"


def scores(result: StudyResults) -> Rows:
    """All numbers behind the paper's table."""
    head = ["question", "system", "mean", "CI95 CrowdMOS", "CI95 plain", "bootstrap low", "bootstrap high", "ratings",
            "raters", "items", "var samples", "var raters", "var rest"]  # fmt: skip
    return [head] + [
        [
            s.question, s.system, _number(s.score.mean), _number(s.score.half_width), _number(s.plain),
            _number(s.bootstrap.low if s.bootstrap else None), _number(s.bootstrap.high if s.bootstrap else None),
            str(s.score.ratings), str(s.score.workers), str(s.score.samples), _number(s.score.sample_variance, 1),
            _number(s.score.worker_variance, 1), _number(s.score.residual_variance, 1),
        ]
        for s in result.scores
    ]  # fmt: skip


def comparisons(result: StudyResults) -> Rows:
    """Paired tests between systems."""
    head = ["question", "first", "second", "items", "difference", "CI95 low", "CI95 high", "p permutation", "p Wilcoxon",
            "p Holm"]  # fmt: skip
    return [head] + [
        [
            c.question, c.first, c.second, str(c.items), f"{c.difference:+.2f}",
            _number(c.interval.low if c.interval else None), _number(c.interval.high if c.interval else None),
            _p(c.permutation), _p(c.wilcoxon), _p(c.adjusted),
        ]
        for c in result.comparisons
    ]  # fmt: skip


def preferences(result: StudyResults) -> Rows:
    """A/B pairs."""
    head = ["question", "first", "second", "first better", "second better", "no difference", "share of first", "CI95 low",
            "CI95 high", "p sign test", "p Holm"]  # fmt: skip
    return [head] + [
        [p.question, p.first, p.second, str(p.wins_first), str(p.wins_second), str(p.ties), _number(p.share, 3),
         _number(p.low, 3), _number(p.high, 3), _p(p.p), _p(p.adjusted)]
        for p in result.preferences
    ]  # fmt: skip


def matches(result: StudyResults) -> Rows:
    """ABX pairs."""
    head = ["question", "first", "second", "raters", "answers", "right", "share", "CI95 low", "CI95 high",
            "p binomial", "p Holm", "d'"]  # fmt: skip
    return [head] + [
        [m.question, m.first, m.second, str(m.raters), str(m.trials), str(m.correct), _number(m.share, 3), _number(m.low, 3),
         _number(m.high, 3), _p(m.p), "–" if m.adjusted is None else _p(m.adjusted), _number(m.d_prime)]
        for m in result.matches
    ]  # fmt: skip


def steps(result: StudyResults) -> Rows:
    """The means after each step of the screening."""
    keys = list(result.screened.steps[0].means)
    head = ["step", "thresholds", "raters out", "ratings out", "raters left", *(" ".join(key) for key in keys)]
    return [head] + [
        [
            step.name, ", ".join(f"{name} {value}" for name, value in step.thresholds.items()),
            str(sum(e.rating is None for e in step.exclusions)), str(sum(e.rating is not None for e in step.exclusions)),
            str(step.raters_left), *(_number(step.means.get(key)) for key in keys),
        ]
        for step in result.screened.steps
    ]  # fmt: skip


def exclusions(result: StudyResults) -> Rows:
    """Every exclusion with step, rater and reason."""
    return [["step", "rater", "rating", "reason"]] + [
        [e.step, e.rater, " / ".join(e.rating.sample) if e.rating else "all", e.reason]
        for e in result.screened.exclusions
    ]


def agreements(result: StudyResults) -> Rows:
    """Krippendorff's alpha and the median correlation."""
    return [["question", "Krippendorff's alpha", "median r with the others"]] + [
        [a.question, _number(a.alpha, 3), _number(a.correlation, 3)] for a in result.agreements
    ]


def variants(result: StudyResults) -> Rows:
    """Means under each reading of the hidden-reference rule."""
    keys = list(result.reference_variants[0].means) if result.reference_variants else []
    return [["rule", "raters out", *(" ".join(key) for key in keys)]] + [
        [v.label, str(v.raters_out), *(_number(v.means.get(key)) for key in keys)] for v in result.reference_variants
    ]


def alone(result: StudyResults) -> Rows:
    """Number of raters that each rule would exclude from the unscreened data."""
    return [["step alone", "raters out"]] + [[name, str(count)] for name, count in result.alone.items()]


def markdown(rows: Rows) -> str:
    """A table as Markdown."""
    return table_text.markdown_table(rows)


def csv(rows: Rows) -> str:
    """A table as CSV."""
    return table_text.write_csv(rows[0], rows[1:])


def latex(rows: Rows) -> str:
    """A table as a booktabs tabular."""
    lines = [" & ".join(table_text.latex(cell) for cell in row) + r" \\" for row in rows]
    columns = "l" + "c" * (len(rows[0]) - 1)
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    ) + "\n"  # fmt: skip


def _cell(score: SystemScore | None) -> str:
    if score is None:
        return "–"
    half = score.score.half_width
    return f"{score.score.mean:.2f}" if half is None else f"{score.score.mean:.2f}±{half:.2f}"


def _place(score: SystemScore) -> int:
    return ("reference", "system", "anchor").index(score.role)


def _number(value: Any, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
