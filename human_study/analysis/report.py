"""The report: tables, plots and exclusions in one HTML file, without scripts."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from ..html_templates import render
from . import plots, tables
from .results import StudyResults

TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def html(result: StudyResults, name: str) -> str:
    """Render the report.

    Args:
        result: of `results.analyse`.
        name: of the study.
    """
    gone = {e.rater for e in result.screened.exclusions if e.rating is None}
    by_question = {
        question: [score for score in result.scores if score.question == question]
        for question in dict.fromkeys(score.question for score in result.scores)
    }
    figures = [
        (
            tables.heading(result, question),
            Markup(plots.intervals(scores, result.scales[question])),
            Markup(plots.distributions(scores, result.scales[question])),
        )
        for question, scores in by_question.items()
    ]
    first = result.screened.steps[0]
    return render(
        TEMPLATE,
        name=name,
        raters=first.raters_left,
        raters_left=result.screened.steps[-1].raters_left,
        ratings=first.ratings_left,
        ratings_left=result.screened.steps[-1].ratings_left,
        comparisons=len(result.screened.data.preferences) + len(result.screened.data.matches),
        paper=tables.paper(result),
        figures=figures,
        raters_figure=Markup(plots.rater_correlations(result.correlations, sorted(gone))),
        sections=[
            ("Scores", "The interval of the CrowdMOS model, a plain and a bootstrap interval.", tables.scores(result)),
            ("Comparisons", "Items are paired; Holm's correction is within a question.", tables.comparisons(result)),
            ("Preferences", "Pages without a preference are left out of the share.", tables.preferences(result)),
            (
                "ABX",
                "Chance is 0.5. The interval (Clopper and Pearson) and the one-sided test are exact for independent answers.",
                tables.matches(result),
            ),
            ("Agreement", "", tables.agreements(result)),
            ("Screening, step by step", "The means after each step.", tables.steps(result)),
            ("The hidden-reference rule", "The means under each reading of the paper's rule.", tables.variants(result)),
            ("Each step alone", "On the unscreened data, with default thresholds.", tables.alone(result)),
            ("Exclusions", "", tables.exclusions(result)),
        ],
    )


def write(result: StudyResults, name: str, folder: Path) -> list[Path]:
    """Write the report and its tables.

    Args:
        result: of `results.analyse`.
        name: of the study.
        folder: made where it is missing.

    Returns:
        Paths of the files, report.html first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paper = tables.paper(result)
    contents = {
        "report.html": html(result, name),
        "table.md": tables.markdown(paper),
        "table.csv": tables.csv(paper),
        "table.tex": tables.latex(paper),
        "scores.csv": tables.csv(tables.scores(result)),
        "comparisons.csv": tables.csv(tables.comparisons(result)),
        "preferences.csv": tables.csv(tables.preferences(result)),
        "abx.csv": tables.csv(tables.matches(result)),
        "screening.csv": tables.csv(tables.steps(result)),
        "exclusions.csv": tables.csv(tables.exclusions(result)),
    }
    for file, text in contents.items():
        (folder / file).write_text(text, encoding="utf-8", newline="")
    return [folder / file for file in contents]
