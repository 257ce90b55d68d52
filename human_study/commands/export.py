"""Write the raw tables as CSV: ratings, preferences, abx, trials, raters, questionnaires, events. Raters are pseudonymised."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.text_format import counted

from .common import add_study, opened_for_reading, output_folder, write_private


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--output", "--out", type=Path, metavar="FOLDER", help="folder (default: export/ in the study)")


def run(arguments: argparse.Namespace) -> None:
    from ..analysis import exports, ratings_csv

    with opened_for_reading(arguments) as (study, database):
        with database.read() as connection:
            tables = exports.raw_tables(connection, database, study)
        folder = output_folder(arguments.output or study.path / "export", arguments.output is not None)
        for name, rows in tables.items():
            write_private(folder / f"{name}.csv", ratings_csv.to_csv(rows, exports.COLUMNS[name]))
            print(f"{folder / name}.csv: {counted(len(rows), 'row')}")
