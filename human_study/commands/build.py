"""Build a study folder from STUDY.yaml: clips of equal length and loudness, blind file names, a report of the levels."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.text_format import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="STUDY.yaml")
    parser.add_argument(
        "--output", "--out", type=Path, metavar="FOLDER", help="the study folder (default: STUDY beside STUDY.yaml)"
    )


def run(arguments: argparse.Namespace) -> None:
    from ..analysis import screening
    from ..design import prepare, study_settings
    from ..web import page_routes

    parsed = study_settings.read(arguments.study)
    for step in parsed.screening or ():
        screening.check_step(step)
    page_routes.check_languages(parsed.languages)
    out = arguments.output or arguments.study.with_suffix("")
    study = prepare.build(parsed, out)
    pages = sum(page.kind == "rating" for page in study.pages.values())
    size = f"{counted(len(study.clips), 'clip')}, {counted(pages, 'page')}"
    print(f"{study.path}: {size}, {study.target_lufs:.2f} LUFS (levels.html)")
    ratings = pages * parsed.raters_per_sample
    print(f"page ratings needed: {ratings}, about {counted(-(-ratings // parsed.trials_per_rater), 'rater')}")
