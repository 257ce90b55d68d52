"""Write the raw tables as CSV: ratings, preferences, trials, raters, events. Raters are pseudonyms."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--out", type=Path, help="folder (default: export/ in the study)")


def run(arguments: argparse.Namespace) -> None:
    from ..analysis import exports, ratings_csv

    with opened(arguments) as (study, database):
        with database.read() as connection:
            tables = exports.raw_tables(connection, database, study)
        folder = arguments.out or study.path / "export"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            (folder / f"{name}.csv").write_text(ratings_csv.to_csv(rows), encoding="utf-8", newline="")
            print(f"{folder / name}.csv: {len(rows)} rows")
